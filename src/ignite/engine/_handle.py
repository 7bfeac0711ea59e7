"""Ways to take handlers off again: one of them, or all that were added in a block."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignite.engine.engine import Engine
    from ignite.engine.events import CallableEventWithFilter, EventsList

__all__ = ["Added", "RemovableEventHandle"]


class RemovableEventHandle:
    """Takes a handler off its event, at once or at the end of a ``with`` block. Keeps neither handler nor engine alive.

    Args:
        event_name: the event, or list of events, that the handler was added to.
        handler: the handler.
        engine: the engine it was added to.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> engine = Engine(lambda engine, batch: batch)
        >>> with engine.add_event_handler(Events.COMPLETED, lambda: print("done")):
        ...     _ = engine.run([0])
        done
        >>> _ = engine.run([0])
    """

    def __init__(
        self,
        event_name: str | CallableEventWithFilter | EventsList,
        handler: Callable[..., Any],
        engine: Engine[Any, Any],
    ) -> None:
        self.event_name = event_name
        self.handler = _weak(handler)
        self.engine = weakref.ref(engine)

    def remove(self) -> None:
        """Takes the handler off. Does nothing if that has been done, or if the handler or the engine is gone."""
        handler, engine = self.handler(), self.engine()
        if handler is None or engine is None:
            return
        events: list[Any] = list(self.event_name) if isinstance(self.event_name, Iterable) else [self.event_name]
        for event in [self.event_name] if isinstance(self.event_name, str) else events:
            if engine.has_event_handler(handler, event):
                engine.remove_event_handler(handler, event)

    def __enter__(self) -> RemovableEventHandle:
        return self

    def __exit__(self, *args: Any, **kwargs: Any) -> None:
        self.remove()


class Added:
    """Notes what is added to engines within ``with`` blocks, to take it off again: handlers, frames and the checkpoint.

    What is added at other times stays, also to the same events.

    Args:
        *engines: the engines to watch.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> engine = Engine(lambda engine, batch: batch)
        >>> added = Added(engine)
        >>> with added:
        ...     _ = engine.add_event_handler(Events.STARTED, print, "begun")
        >>> added.take_off()
        >>> engine.has_event_handler(print)
        False
    """

    def __init__(self, *engines: Engine[Any, Any]) -> None:
        self._engines = engines
        self._new: list[Any] = []
        """Kept, so that no id is used twice."""

    def __enter__(self) -> Added:
        self._before = {id(one) for one in self._all()}
        return self

    def __exit__(self, *args: Any, **kwargs: Any) -> None:
        self._new += [one for one in self._all() if id(one) not in self._before]

    def _all(self) -> Iterator[Any]:
        for engine in self._engines:
            yield from (entry for table in engine._tables.values() for entry in table.entries)
            yield from engine._frames
            yield engine._keeper

    def take_off(self) -> None:
        """The engines have only what was there before, and what was added outside of the blocks."""
        new = {id(one) for one in self._new if one is not None}
        for engine in self._engines:
            for table in engine._tables.values():
                table.drop(new)
            engine._frames[:] = [frame for frame in engine._frames if id(frame) not in new]
            if id(engine._keeper) in new:
                engine._keeper = None
            engine._refresh_tables()
        self._new.clear()


def _weak(handler: Callable[..., Any]) -> Callable[[], Callable[..., Any] | None]:
    try:
        return weakref.ref(handler)
    except TypeError:  # objects with slots and no __weakref__
        return lambda: handler
