"""Injection of faults: at which event, count and rank a fault strikes, and whether it did."""

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
    """Makes a fault strike when an engine fires an event.

    Args:
        engine: the engine of the event.
        fault: the fault.
        at: the event, with or without a filter.
        count: the iteration, epoch or firing of the event at which to strike, as
            ``at(once=count)``. By default, the fault strikes each time.
        rank: the only rank to strike on; by default all ranks.
        marker: a file to which one line is appended before each strike, so that another process can
            check with :func:`num_fired` that this process did not end for another reason.
        priority: priority among the handlers of the event; the highest is called first.

    Returns:
        A handle that removes the fault, also as a context manager. A ``with`` block raises
        AssertionError at its end if the fault has not struck, so that a test cannot pass because
        nothing went wrong.

    Raises:
        ValueError: ``at`` has a filter, and ``count`` is given.

    Example:
        >>> from ignite.testing import Raise
        >>> trainer = Engine(lambda engine, batch: batch)
        >>> fault = Raise(OSError("disk full"))
        >>> with inject(trainer, fault, at=Events.ITERATION_STARTED, count=2) as injection:
        ...     trainer.run([1, 2, 3])
        Traceback (most recent call last):
        OSError: disk full...
        >>> injection.fault.fired, trainer.state.iteration
        (1, 2)
    """
    if count is not None:
        if isinstance(at, CallableEventWithFilter) and at.filter is not None:
            raise ValueError(
                f"count should be None for an event with a filter, but given {count} and {at!r}"
            )
        at = at(once=count)
    return Injection(engine, fault, at, rank, None if marker is None else Path(marker), priority)


class Injection:
    """An injected fault; created by :func:`inject`.

    Attributes:
        fault: the fault.
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
        """Removes the fault from the event."""
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
        message = f"{type(self.fault).__name__} should have struck at {self._event!r}, but did not"
        if error is None:
            raise AssertionError(message)
        error.add_note(message)

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
    """Returns how often faults with this marker file have struck, in all processes.

    Example:
        >>> num_fired("no_such_file")
        0
    """
    path = Path(marker)
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def _mark(marker: Path, fault: Fault, engine: Engine[Any, Any]) -> None:
    line = {
        "fault": type(fault).__name__,
        "iteration": engine.state.iteration,
        "rank": distributed.get_rank(),
        "pid": os.getpid(),
    }
    # A single write in append mode, so that several processes write complete lines.
    with marker.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
