"""Stopwatch controlled by events."""

from __future__ import annotations

from typing import Any

from ignite._core.clock import Stopwatch
from ignite.engine import Engine, Events

__all__ = ["Timer"]


class Timer:
    """Measures seconds, or seconds per step. Starts when created.

    Args:
        average: whether :meth:`value` is per step.

    Attributes:
        running: whether the timer is running.
        step_count: number of steps since the last reset.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> trainer = Engine(lambda engine, batch: None)
        >>> timer = Timer(average=True).attach(  # seconds per batch, without time between epochs
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
        """Total seconds."""
        return self._watch.elapsed()

    def attach(
        self,
        engine: Engine[Any, Any],
        start: Any = Events.STARTED,
        pause: Any = Events.COMPLETED,
        resume: Any = None,
        step: Any = None,
    ) -> Timer:
        """Controls the timer by events of ``engine``.

        Args:
            engine: any engine.
            start: event that resets and starts the timer.
            pause: event that pauses it.
            resume: event that resumes it, if any.
            step: event that counts a step, if any.

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
        """Resets and starts the timer."""
        self._watch.restart()
        self.step_count = 0.0
        self.running = True
        return self

    def pause(self, *args: Any) -> None:
        """Pauses the timer; no effect if paused."""
        if self.running:
            self._watch.pause()
            self.running = False

    def resume(self, *args: Any) -> None:
        """Resumes the timer; no effect if running."""
        if not self.running:
            self._watch.resume()
            self.running = True

    def value(self) -> float:
        """Returns the seconds so far; with ``average``, the seconds per step.

        Before the first step, ``average`` has no effect.
        """
        return self.total / max(self.step_count, 1.0) if self._average else self.total

    def step(self, *args: Any) -> None:
        """Counts a step."""
        self.step_count += 1.0
