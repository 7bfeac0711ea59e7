"""When a fault strikes: at an event, at a count, on a rank; and whether it did."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from ignite import distributed
from ignite.engine import CallableEventWithFilter, Engine, Events
from ignite.testing.faults import Fault

__all__ = ["Injection", "inject", "num_fired"]


def inject(
    engine: Engine[Any, Any],
    fault: Fault,
    *,
    at: Any = Events.ITERATION_COMPLETED,
    count: int | None = None,
    rank: int | None = None,
    marker: str | os.PathLike[str] | None = None,
    priority: float = 0,
) -> Injection:
    """Lets a fault strike when an engine fires an event.

    Args:
        engine: whose event it is.
        fault: what goes wrong.
        at: the event, with or without a filter.
        count: the iteration, epoch or firing of the event at which to strike, as
            ``at(once=count)``. Without it, the fault strikes each time.
        rank: of the only process to strike in; by default it strikes in all.
        marker: a file that gets one line just before each strike, so that another process can see
            (:func:`num_fired`) that this one did not die of something else.
        priority: the place among the event's handlers: the highest is first. By default in order of
            attachment.

    Returns:
        What ends it, as a ``with`` block does. At the end of the block, a fault that should have
        struck and has not is an AssertionError, so that a test cannot pass because nothing went
        wrong.

    Raises:
        ValueError: ``at`` has a filter, and ``count`` is given.

    Example:
        >>> from ignite.testing import Raise
        >>> trainer = Engine(lambda engine, batch: batch)
        >>> with inject(trainer, Raise(OSError("disk full")), at=Events.ITERATION_STARTED, count=2) as injection:
        ...     trainer.run([1, 2, 3])
        Traceback (most recent call last):
        OSError: disk full...
        >>> injection.fault.fired, trainer.state.iteration
        (1, 2)
    """
    if count is not None:
        if isinstance(at, CallableEventWithFilter) and at.filter is not None:
            raise ValueError(
                f"count should not be given with an event that has a filter, but given {count} and {at!r}"
            )
        at = at(once=count)
    return Injection(engine, fault, at, rank, None if marker is None else Path(marker), priority)


class Injection:
    """A fault that waits for its event; made by :func:`inject`.

    Attributes:
        fault: what strikes.
    """

    def __init__(
        self,
        engine: Engine[Any, Any],
        fault: Fault,
        event: Any,
        rank: int | None,
        marker: Path | None,
        priority: float,
    ) -> None:
        self.fault = fault
        self._engine = engine
        self._event = event
        self._rank = rank
        self._marker = marker
        self._num_before = fault.fired
        self._handle = engine.add_event_handler(event, self._strike, priority=priority)

    def remove(self) -> None:
        """Takes the fault off its event."""
        self._handle.remove()

    def __enter__(self) -> Injection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()
        if self.fault.fired > self._num_before or not self._is_here():
            return
        words = f"{type(self.fault).__name__} should have struck at {self._event!r}, but never did"
        if error is None:
            raise AssertionError(words)
        error.add_note(words)

    def _is_here(self) -> bool:
        return self._rank is None or self._rank == distributed.get_rank()

    def _strike(self) -> None:
        if not self._is_here():
            return
        self.fault.fired += 1
        if self._marker is not None:
            _mark(self._marker, self.fault, self._engine)
        self.fault.strike(self._engine)


def num_fired(marker: str | os.PathLike[str]) -> int:
    """How often faults have struck, in whatever process, that were injected with this marker file.

    Example:
        >>> num_fired("no_such_file")
        0
    """
    path = Path(marker)
    return len(path.read_text().splitlines()) if path.exists() else 0


def _mark(marker: Path, fault: Fault, engine: Engine[Any, Any]) -> None:
    line = {
        "fault": type(fault).__name__,
        "iteration": engine.state.iteration,
        "rank": distributed.get_rank(),
        "pid": os.getpid(),
    }
    # One write to a file opened for appending: whole lines, also of several processes.
    with marker.open("a") as stream:
        stream.write(json.dumps(line) + "\n")
