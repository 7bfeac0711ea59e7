"""Which engines are running in this thread, the outermost first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignite.engine.engine import Engine


class _Running(threading.local):
    def __init__(self) -> None:
        self.engines: list[Engine[Any, Any]] = []


_RUNNING = _Running()


@contextmanager
def entered(engine: Engine[Any, Any]) -> Iterator[None]:
    """Counts ``engine`` among those that run; whoever measures the one that it runs within may measure it, too."""
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
    """``engine``, if it is running, and the engines that run within its handlers."""
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
