"""What ``add_event_handler`` returns: a way to take the handler off again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignite.engine.engine import Engine
    from ignite.engine.events import CallableEventWithFilter, EventsList

__all__ = ["RemovableEventHandle"]


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


def _weak(handler: Callable[..., Any]) -> Callable[[], Callable[..., Any] | None]:
    try:
        return weakref.ref(handler)
    except TypeError:  # objects with slots and no __weakref__
        return lambda: handler
