"""Time limit of a run."""

import logging
import time
from collections.abc import Callable
from typing import Any

from ignite import distributed as idist
from ignite._core import clock
from ignite._core.logs import tell
from ignite.engine import Engine, together

__all__ = ["TimeLimit"]


class TimeLimit:
    """Terminates an engine when a number of seconds has passed since this object was created.

    Add it to ``Events.ITERATION_COMPLETED`` after all other handlers of that event, so that a
    checkpoint covers the whole iteration. The limit should leave time for the last iteration and
    for saving. The clock is monotonic: changes of the system time have no effect.

    Args:
        limit_sec: limit in seconds, at least 1; None for no limit.
        checkpoint: called once with the engine before it is terminated, such as a ``Checkpoint``.

    Raises:
        TypeError: ``limit_sec`` is neither an integer nor None, or ``checkpoint`` is not callable.
        ValueError: ``limit_sec`` is not positive.

    Distributed:
        Added on all ranks, they stop in the same iteration, when the first reaches the limit; each
        call exchanges this through the store of the process group. Use
        ``Events.ITERATION_COMPLETED(every=50)`` to do so less often. Added on some ranks only, each
        of them decides alone.

    Example:
        >>> from ignite.engine import Events
        >>> trainer = Engine(lambda engine, batch: None)
        >>> _ = trainer.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(3600))
        >>> trainer.run([1, 2, 3]).iteration
        3
    """

    decides_together = True

    def __init__(
        self,
        limit_sec: int | None = 28800,
        *,
        checkpoint: Callable[[Engine[Any, Any]], Any] | None = None,
    ) -> None:
        if limit_sec is not None and (
            isinstance(limit_sec, bool) or not isinstance(limit_sec, int)
        ):
            raise TypeError(f"Argument limit_sec should be an integer, but given {limit_sec!r}")
        if limit_sec is not None and limit_sec <= 0:
            raise ValueError(
                f"Argument limit_sec should be a positive integer, but given {limit_sec}"
            )
        if checkpoint is not None and not callable(checkpoint):
            raise TypeError(f"Argument checkpoint should be callable, but given {checkpoint!r}")
        self.limit_sec = limit_sec
        self.checkpoint = checkpoint
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self._started = clock.now()

    @property
    def start_time(self) -> float:
        """When the time started, in seconds since the epoch, as ``time.time()``; settable."""
        return time.time() - (clock.now() - self._started)

    @start_time.setter
    def start_time(self, value: float) -> None:
        self._started = clock.now() - (time.time() - value)

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Terminates the engine if the limit is reached."""
        is_up = self.limit_sec is not None and clock.now() - self._started > self.limit_sec
        if not together.any_process(engine, self, is_up) or engine.should_terminate:
            return
        text = "Reached the time limit: %s sec. Stop training"
        tell(self.logger, idist.get_rank(), text, self.limit_sec)
        if self.checkpoint is not None:
            self.checkpoint(engine)
        engine.will_resume = True  # Checkpoint.of must not mark the run as finished
        engine.terminate()
