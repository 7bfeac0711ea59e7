"""The half of an engine that has handlers: events are registered, handlers added and taken off, events fired."""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

from ignite._core.calls import has_parameter
from ignite.engine._handlers import Payload, Registration, Table, call_each, call_handlers, register
from ignite.engine._state import State, key_of
from ignite.engine.events import CallableEventWithFilter, EventEnum, Events, EventsList, RemovableEventHandle

if TYPE_CHECKING:
    from ignite.engine._trace import Meter, Watcher

F = TypeVar("F", bound=Callable[..., Any])
AnyEvent = str | CallableEventWithFilter

_PAYLOADS = {
    "EXCEPTION_RAISED": Payload(args=("exception",)),
    "TERMINATE_SINGLE_EPOCH": Payload(kwargs=("iter_counter",)),
}
_NO_PAYLOAD = Payload()


class Emitter:
    """Fires events and calls the handlers that were added to them."""

    state: State
    logger: logging.Logger
    _is_running: bool
    _attention: bool
    """Whether something has happened that a running loop has to look at before it goes on."""

    def __init__(self) -> None:
        self.last_event_name: AnyEvent | None = None
        self._tables: dict[str, Table] = {}
        self._watcher: Watcher | None = None
        self._meters: tuple[Meter, ...] = ()
        self._attention = False
        for event in Events:
            self._add_table(event)

    def register_events(self, *event_names: str | Enum | float, event_to_attr: dict[Any, str] | None = None) -> None:
        """Makes events known to this engine, so that handlers can be added to them and ``fire_event`` can fire them.

        Filters such as ``every=`` count how often an event is fired, unless ``event_to_attr`` names an attribute of the
        state that counts it, which is then the program's to increment.

        Args:
            *event_names: names, or members of an :class:`EventEnum`. Members of a plain ``Enum`` and numbers, which
                Ignite has taken up to 0.3, can have no filters.
            event_to_attr: from event to the name of the attribute; created on the state with value 0 if it is missing.

        Raises:
            TypeError: an event is neither.
            ValueError: ``event_to_attr`` is not a dictionary.

        Example:
            >>> from ignite.engine import Engine
            >>> engine = Engine(lambda engine, batch: engine.fire_event("halfway"))
            >>> engine.register_events("halfway")
            >>> @engine.on("halfway")
            ... def say():
            ...     print("halfway")
            >>> _ = engine.run([0])
            halfway
        """
        if not (event_to_attr is None or isinstance(event_to_attr, dict)):
            raise ValueError(f"Expected event_to_attr to be dictionary, but given {event_to_attr!r}")
        for i, event in enumerate(event_names):
            if not _is_event(event):
                raise TypeError(f"Value at {i} of event_names should be a str or EventEnum, but given {event!r}")
        old = [event for event in event_names if not isinstance(event, str | CallableEventWithFilter)]
        if old:
            warnings.warn(
                f"Events should be strings or members of an EventEnum, but given {old[0]!r}. Such events work as in "
                "Ignite up to 0.3, but can have no filters: let the enum derive from ignite.engine.EventEnum",
                DeprecationWarning,
                stacklevel=2,
            )
        for event in event_names:
            known = self._tables.get(key_of(event))
            if known is not None and _is_other(known.event, event):
                warnings.warn(
                    f"{event!r} should have a name of its own: events are told apart by name, and handlers of it are "
                    f"also called at {known.event!r}",
                    stacklevel=2,
                )
        for event in event_names:
            if key_of(event) not in self._tables:
                self._add_table(event)
        for event, attribute in (event_to_attr or {}).items():
            self.state._own_event_to_attr[key_of(event)] = attribute
            if not hasattr(self.state, attribute):
                setattr(self.state, attribute, 0)

    def has_registered_events(self, event: Any) -> bool:
        """Whether ``event``, with or without a filter, is known to this engine."""
        return _is_event(event) and key_of(event) in self._tables

    def add_event_handler(
        self, event_name: Any, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> RemovableEventHandle:
        """Adds ``handler`` to an event.

        The handler is called with the engine first if its signature has room for it, then with what the event hands
        over (the exception for EXCEPTION_RAISED), then with ``args`` and ``kwargs``. Handlers of an event are called in
        the order in which they were added.

        Args:
            event_name: an event, with or without a filter, or several joined with ``|``.
            handler: any callable.
            *args: passed on at each call.
            **kwargs: likewise; but ``priority``, a number, is kept, unless the handler has a parameter of that name:
                handlers with a higher one are called first, the rest (0) in the order of adding.

        Returns:
            A handle that takes the handler off again.

        Raises:
            ValueError: the event is not known to this engine, or the handler cannot be called like this.
            TypeError: ``handler`` cannot be called, or ``priority`` is not a number.

        Example:
            >>> from ignite.engine import Engine, Events
            >>> engine = Engine(lambda engine, batch: batch * 10)
            >>> _ = engine.add_event_handler(
            ...     Events.ITERATION_COMPLETED(every=2), lambda engine, unit: print(engine.state.output, unit), "cm"
            ... )
            >>> _ = engine.run([1, 2, 3, 4])
            20 cm
            40 cm
        """
        priority = 0 if "priority" not in kwargs or has_parameter(handler, "priority") else kwargs.pop("priority")
        if not isinstance(priority, int | float):
            raise TypeError(f"priority should be a number, but given {priority!r}")
        events = list(event_name) if isinstance(event_name, EventsList) else [event_name]
        tables = [self._table_of(event) for event in events]
        # All are settled before the first is added, so that an error leaves nothing behind.
        settled = [
            register(table, event, handler, args, kwargs, priority) for table, event in zip(tables, events, strict=True)
        ]
        for table, registration in zip(tables, settled, strict=True):
            table.add(registration)
            self._refresh(table)
            self.logger.debug("Added handler for event %s", registration.event)
        return RemovableEventHandle(event_name, handler, self)  # type: ignore[arg-type]

    def on(self, event_name: Any, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """Adds the decorated function to an event; see :meth:`add_event_handler`. The function stays what it was."""

        def add(handler: F) -> F:
            self.add_event_handler(event_name, handler, *args, **kwargs)
            return handler

        return add

    def has_event_handler(self, handler: Callable[..., Any], event_name: Any | None = None) -> bool:
        """Whether ``handler`` is on the event (filters do not count), or on any event if none is given."""
        if event_name is None:
            tables = list(self._tables.values())
        else:
            events = event_name if isinstance(event_name, EventsList) else [event_name]
            tables = [self._tables[key_of(event)] for event in events if self.has_registered_events(event)]
        return any(entry.handler == handler for table in tables for entry in table.entries)

    @property
    def registered_events(self) -> list[Any]:
        """The events that this engine knows, in the order of their registration."""
        return [table.event for table in self._tables.values()]

    def handlers_of(self, event_name: Any | None = None) -> list[Registration]:
        """Lists the handlers of an event in the order in which they are called.

        Args:
            event_name: an event, or several joined with ``|``; filters do not count. Without one, the handlers of all
                events are listed.

        Returns:
            One :class:`ignite.engine.extension.Registration` for each time a handler was added: ``handler``, ``args``,
            ``kwargs``, ``event`` (with its filter) and ``priority``.

        Raises:
            ValueError: the event is not known to this engine.

        Example:
            >>> from ignite.engine import Engine, Events
            >>> engine = Engine(lambda engine, batch: None)
            >>> _ = engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), print, "done")
            >>> [(entry.handler, entry.args) for entry in engine.handlers_of(Events.EPOCH_COMPLETED)]
            [(<built-in function print>, ('done',))]
        """
        if event_name is None:
            tables = list(self._tables.values())
        else:
            events = event_name if isinstance(event_name, EventsList) else [event_name]
            tables = [self._table_of(event) for event in events]
        return [entry for table in tables for entry in table.entries]

    def remove_event_handler(self, handler: Callable[..., Any], event_name: Any) -> None:
        """Takes ``handler`` off an event, as often as it is there, with whatever filters.

        Raises:
            ValueError: nothing was ever added to the event, or not this handler.
        """
        table = self._tables.get(key_of(event_name)) if self.has_registered_events(event_name) else None
        if table is None:
            raise ValueError(f"Input event name '{event_name}' does not exist")
        if not table.remove(handler):
            raise ValueError(f"Input handler '{handler}' is not found among registered event handlers of {event_name}")
        self._refresh(table)

    def fire_event(self, event_name: Any) -> None:
        """Calls the handlers of an event, now.

        Raises:
            ValueError: the event is not known to this engine.
            Whatever a handler raises.
        """
        self._table_of(event_name)
        before = self.last_event_name
        try:
            self._fire_event(event_name)
        finally:
            if self._is_running:  # the event at hand goes on, or is where the error has come up
                self.last_event_name = before

    def _fire_event(self, event_name: Any, *event_args: Any, **event_kwargs: Any) -> None:
        """Fires without asking whether the event is registered; subclasses may override it to see all events."""
        self.last_event_name = event_name
        self._attention = True
        name = key_of(event_name)
        if self._logs_events:
            self.logger.debug(
                "%s | %s, Firing handlers for event %s", self.state.epoch, self.state.iteration, event_name
            )
        table, count = self._tables[name], self.state._count_firing(name)
        call: Any = call_each if name == "EXCEPTION_RAISED" else call_handlers
        if self._watcher is not None:
            self._watcher.call(call, table.calls, self, event_name, count, event_args, event_kwargs)
        elif table.calls:
            call(table.calls, self, event_name, count, event_args, event_kwargs)

    def _pass(self, event: Any) -> None:
        """Fires an event of the step; if nobody listens, it is only counted, and if it is not registered, nothing."""
        table = self._tables.get(event._name_)
        if table is not None and table.active:
            self._fire_event(event)
        elif table is not None:
            self.state._count_firing(event._name_)

    def _counts_matter(self, name: str) -> bool:
        """Whether a filter looks at how often the event was fired."""
        return name in self._tables and any(getattr(e.event, "filter", None) for e in self._tables[name].entries)

    def _watch(self, watcher: Watcher | None) -> None:
        self._watcher = watcher
        self._refresh_tables()

    def _measure(self, meters: tuple[Meter, ...]) -> None:
        self._meters = meters
        for table in self._tables.values():
            table.measure(meters)

    def _refresh_tables(self) -> None:
        for table in self._tables.values():
            self._refresh(table)

    def _refresh(self, table: Table) -> None:
        table.refresh(self._is_watched)
        self._attention = True

    @property
    def _is_watched(self) -> bool:
        """Whether every event has to be fired, even if it has no handlers."""
        overridden = type(self)._fire_event is not Emitter._fire_event
        return overridden or self._logs_events or self._watcher is not None

    @property
    def _logs_events(self) -> bool:
        return self.logger.isEnabledFor(logging.DEBUG)

    @property
    def _event_handlers(self) -> Mapping[Any, list[tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]]]:
        """What is on which event, in Ignite's form, to look at: ``(handler, args, kwargs)``, a weak engine first."""
        me = weakref.ref(self)
        return {
            table.event: [(e.handler, (me, *e.args) if e.takes_engine else e.args, e.kwargs) for e in table.entries]
            for table in self._tables.values()
            if table.calls
        }

    @property
    def _allowed_events(self) -> list[Any]:
        """``registered_events`` under Ignite's name."""
        return self.registered_events

    def _add_table(self, event: Any) -> None:
        table = self._tables[key_of(event)] = Table(event, _PAYLOADS.get(key_of(event), _NO_PAYLOAD))
        table.measure(self._meters)
        self._refresh(table)

    def _table_of(self, event: Any) -> Table:
        if not self.has_registered_events(event):
            known = ", ".join(self._tables)
            self.logger.error("attempt to use an unknown event: %s", event)
            raise ValueError(
                f"Event {event} is not a valid event for this Engine. Register it with register_events, or use one of: "
                f"{known}"
            )
        return self._tables[key_of(event)]


def _is_event(value: Any) -> bool:
    return isinstance(value, str | CallableEventWithFilter | Enum | Real) and not isinstance(value, bool)


def _is_other(known: Any, event: Any) -> bool:
    """Whether two events of one name are different ones: members of two enums, with different values."""
    both = isinstance(known, EventEnum) and isinstance(event, EventEnum)
    return both and (type(known) is not type(event)) and known.value != event.value
