"""Engines that run within each other in this thread, and how the inner ones are left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ignite.base import BoundaryRequest

__all__ = ["Preempted", "Unfinished", "entered", "outermost_engine", "within"]


class _Running(threading.local):
    def __init__(self) -> None:
        self.engines: list[Any] = []


_RUNNING = _Running()


@contextmanager
def entered(engine: Any) -> Iterator[None]:
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


def within(engine: Any) -> list[Any]:
    """Returns ``engine``, if it is running, and the engines that run within its handlers."""
    engines = _RUNNING.engines
    return engines[engines.index(engine) :] if engine in engines else []


def outermost_engine() -> Any:
    """See :func:`ignite.engine.extension.outermost_engine`."""
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
