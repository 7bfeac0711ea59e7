"""Engines that run within each other in this thread, and how the inner ones are left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ignite.base import BoundaryRequest
    from ignite.engine.engine import Engine

__all__ = ["Preempted", "Unfinished", "entered", "outermost_engine", "within"]


class _Running(threading.local):
    def __init__(self) -> None:
        self.engines: list[Engine[Any, Any]] = []


_RUNNING = _Running()


@contextmanager
def entered(engine: Engine[Any, Any]) -> Iterator[None]:
    """Counts ``engine`` as running within a ``with`` block; meters of the engine around it may measure it, too."""
    meters = _RUNNING.engines[-1]._meters if _RUNNING.engines else ()
    _RUNNING.engines.append(engine)
    try:
        with ExitStack() as stack:
            for meter in meters:
                stack.enter_context(meter.nested(engine))
            yield
    finally:
        _RUNNING.engines.remove(engine)


def within(engine: Engine[Any, Any]) -> list[Engine[Any, Any]]:
    """Returns ``engine``, if it is running, and the engines that run within its handlers."""
    engines = _RUNNING.engines
    return engines[engines.index(engine) :] if engine in engines else []


def outermost_engine() -> Engine[Any, Any] | None:
    """Returns the running engine in whose handlers all other engines of this thread run; None if none runs.

    Example:
        >>> from ignite.engine import Engine
        >>> seen = []
        >>> inner = Engine(lambda engine, batch: seen.append(outermost_engine()))
        >>> outer = Engine(lambda engine, batch: inner.run([0]))
        >>> _ = outer.run([0])
        >>> seen == [outer], outermost_engine() is None
        (True, True)
    """
    return _RUNNING.engines[0] if _RUNNING.engines else None


class Unfinished(NamedTuple):
    """An event whose handlers have not all been called."""

    event: str
    num_done: int
    """Number of handlers that have returned."""


class Preempted(BaseException):
    """Leaves engines that run within a handler, so that the trainer can be saved and stopped.

    It is no ``Exception``, so that ``except Exception`` does not catch it. Handlers that replace
    something for an evaluation, such as the weights, should restore it in a ``finally``.
    """

    def __init__(self, request: BoundaryRequest) -> None:
        super().__init__("the run was asked to stop")
        self.request = request
        self.random = getattr(within(request.trainer)[1], "_random_at_start", None)
        self.unfinished: Unfinished | None = None
        """The interrupted event of the trainer; set by the dispatch."""
