"""A stopwatch that events start and stop."""

from __future__ import annotations

from typing import Any

from ignite._core.clock import Stopwatch
from ignite.engine import Engine, Events

__all__ = ["Timer"]


class Timer:
    """Measures seconds, or seconds per step. It runs from when it is made.

    Args:
        average: whether :meth:`value` is per step.

    Attributes:
        running: whether it runs.
        step_count: how many steps there have been since it was reset.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> trainer = Engine(lambda engine, batch: None)
        >>> timer = Timer(average=True).attach(  # seconds per batch, without what happens between epochs
        ...     trainer,
        ...     start=Events.EPOCH_STARTED,
        ...     pause=Events.ITERATION_COMPLETED,
        ...     resume=Events.ITERATION_STARTED,
        ...     step=Events.ITERATION_COMPLETED,
        ... )
        >>> _ = trainer.run([0, 0, 0])
        >>> timer.step_count, timer.value() < 1
        (3.0, True)
    """

    def __init__(self, average: bool = False) -> None:
        self._average = average
        self._watch = Stopwatch()
        self.reset()

    @property
    def total(self) -> float:
        """Seconds, of all steps together."""
        return self._watch.elapsed()

    def attach(
        self,
        engine: Engine[Any, Any],
        start: Any = Events.STARTED,
        pause: Any = Events.COMPLETED,
        resume: Any = None,
        step: Any = None,
    ) -> Timer:
        """Lets events of ``engine`` work the timer.

        Args:
            engine: any engine.
            start: when to begin at zero.
            pause: when to pause.
            resume: when to go on, if at all.
            step: when a step is complete, if ever.

        Returns:
            The timer.
        """
        engine.add_event_handler(start, self.reset)
        engine.add_event_handler(pause, self.pause)
        if resume is not None:
            engine.add_event_handler(resume, self.resume)
        if step is not None:
            engine.add_event_handler(step, self.step)
        return self

    def reset(self, *args: Any) -> Timer:
        """Begins at zero."""
        self._watch.restart()
        self.step_count = 0.0
        self.running = True
        return self

    def pause(self, *args: Any) -> None:
        """Stops counting; does nothing if it has been stopped."""
        if self.running:
            self._watch.pause()
            self.running = False

    def resume(self, *args: Any) -> None:
        """Goes on counting; does nothing if it counts."""
        if not self.running:
            self._watch.resume()
            self.running = True

    def value(self) -> float:
        """Seconds so far; per step if the timer averages (with no step yet, as if there had been one)."""
        return self.total / max(self.step_count, 1.0) if self._average else self.total

    def step(self, *args: Any) -> None:
        """Counts a step."""
        self.step_count += 1.0
