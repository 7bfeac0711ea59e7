"""The events of an engine: registers events, adds and removes handlers, fires events and calls their handlers."""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ignite._core.calls import name_of
from ignite.engine._filters import LastGate
from ignite.engine._handlers import (
    NO_KWARGS,
    WITHOUT_ENGINE,
    Call,
    Registration,
    Table,
    Tables,
    is_event,
    key_of,
)
from ignite.engine._state import State
from ignite.engine._trace import Meter, Step, Watcher
from ignite.engine.events import (
    CallableEventWithFilter,
    EventEnum,
    Events,
    EventsList,
    RemovableEventHandle,
)

if TYPE_CHECKING:
    from ignite._core.rng import RandomState
    from ignite.base import BoundaryRequest, RunContext, RunSaver
    from ignite.engine._cursor import Cursor

F = TypeVar("F", bound=Callable[..., Any])
AnyEvent = str | CallableEventWithFilter


class Emitter:
    """Fires events and calls their handlers.

    Declares what the modules that look into an engine, such as a dry run, need of it.
    """

    state: State
    logger: logging.Logger
    run: Callable[..., State]
    _process_function: Callable[..., Any]
    _cursor: Cursor
    _frames: list[RunContext]
    _keeper: RunSaver | None
    _resumption: Any
    _is_running: bool
    _attention: bool
    """Whether the running loop must check requests or changed handlers before it continues."""

    def __init__(self) -> None:
        self.last_event_name: AnyEvent | None = None
        self._tables = Tables()
        self._watcher: Watcher | None = None
        self._meters: tuple[Meter, ...] = ()
        self._attention = False
        is_watched = self._is_watched
        for event in Events:
            self._tables.add_event(event, (), is_watched)

    def register_events(
        self, *event_names: str | Enum | float, event_to_attr: dict[Any, str] | None = None
    ) -> None:
        """Registers events, so that handlers can be added to them and ``fire_event`` can fire them.

        Filters such as ``every=`` count the firings of an event, unless ``event_to_attr`` names an
        attribute of the state that counts it, which the program must then increment.

        Args:
            *event_names: names, or members of an :class:`EventEnum`. Members of a plain ``Enum``
                and numbers, which Ignite accepted up to 0.3, can have no filters.
            event_to_attr: maps events to names of attributes, which are created with value 0 if
                they are missing.

        Raises:
            TypeError: an event is of another type.
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
            raise ValueError(
                f"Expected event_to_attr to be dictionary, but given {event_to_attr!r}"
            )
        for i, event in enumerate(event_names):
            if not is_event(event):
                raise TypeError(
                    f"Value at {i} of event_names should be a str or EventEnum, but given {event!r}"
                )
        old = [
            event for event in event_names if not isinstance(event, str | CallableEventWithFilter)
        ]
        if old:
            warnings.warn(
                f"Events should be strings or members of an EventEnum, but given {old[0]!r}. Such "
                "events work as in Ignite up to 0.3, but can have no filters: let the enum derive "
                "from ignite.engine.EventEnum",
                DeprecationWarning,
                stacklevel=2,
            )
        for event in event_names:
            known = self._tables.get(key_of(event))
            if known is not None and _is_other(known.event, event):
                warnings.warn(
                    f"{event!r} should have a unique name, because events are identified by name, but "
                    f"{known.event!r} has it, too: its handlers are called at both",
                    stacklevel=2,
                )
        wrappers, is_watched = tuple(meter.handler for meter in self._meters), self._is_watched
        for event in event_names:
            self._tables.add_event(event, wrappers, is_watched)
        self._attention = True
        for event, attribute in (event_to_attr or {}).items():
            self.state._own_event_to_attr[key_of(event)] = attribute
            if not hasattr(self.state, attribute):
                setattr(self.state, attribute, 0)

    def has_registered_events(self, event: Any) -> bool:
        """Whether ``event``, with or without a filter, is registered."""
        return self._tables.find(event) is not None

    def add_event_handler(
        self, event_name: Any, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> RemovableEventHandle:
        """Adds ``handler`` to an event.

        The handler is called with the engine, if its signature accepts it, then with the arguments
        of the event (the exception for EXCEPTION_RAISED), then with ``args`` and ``kwargs``.
        Handlers of an event are called in the order in which they were added.

        Args:
            event_name: an event, with or without a filter, or several combined with ``|``.
            handler: any callable.
            *args: positional arguments of the handler.
            **kwargs: keyword arguments of the handler. ``priority`` is not passed on, unless the
                handler has a parameter of this name: handlers with a higher priority are called
                first; the default is 0.

        Returns:
            A handle that removes the handler.

        Raises:
            ValueError: the event is not registered, or the handler does not accept the arguments.
            TypeError: ``handler`` is not callable, or ``priority`` is not a number.

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
        events, is_watched = _events_in(event_name), self._is_watched
        self._tables.add(events, handler, args, kwargs, is_watched, self.logger)
        self._attention = True
        return RemovableEventHandle(event_name, handler, self)

    def on(self, event_name: Any, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """Adds the decorated function to an event and returns it unchanged; see :meth:`add_event_handler`."""

        def add(handler: F) -> F:
            self.add_event_handler(event_name, handler, *args, **kwargs)
            return handler

        return add

    def has_event_handler(self, handler: Callable[..., Any], event_name: Any | None = None) -> bool:
        """Whether ``handler`` is on the event, whatever its filter, or on any event if none is given."""
        return self._tables.has(
            handler, self._tables if event_name is None else _events_in(event_name)
        )

    @property
    def registered_events(self) -> list[Any]:
        """All registered events, in the order of their registration."""
        return [table.event for table in self._tables.values()]

    def handlers_of(self, event_name: Any | None = None) -> list[Registration]:
        """Lists the handlers of an event in the order of their calls.

        Args:
            event_name: an event, or several combined with ``|``; filters are ignored. By default,
                the handlers of all events.

        Returns:
            One :class:`ignite.engine.extension.Registration` for each time a handler was added:
            ``handler``, ``args``, ``kwargs``, ``event`` (with its filter) and ``priority``.

        Raises:
            ValueError: the event is not registered.

        Example:
            >>> from ignite.engine import Engine, Events
            >>> engine = Engine(lambda engine, batch: None)
            >>> _ = engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), print, "done")
            >>> [(entry.handler, entry.args) for entry in engine.handlers_of(Events.EPOCH_COMPLETED)]
            [(<built-in function print>, ('done',))]
        """
        if event_name is None:
            return self._tables.entries()
        return self._tables.entries_of(_events_in(event_name), self.logger)

    def remove_event_handler(self, handler: Callable[..., Any], event_name: Any) -> None:
        """Removes all registrations of ``handler`` for an event, regardless of their filters.

        Raises:
            ValueError: the event is not registered, or has no such handler.
        """
        table = self._tables.find(event_name)
        if table is None:
            raise ValueError(f"Input event name '{event_name}' does not exist")
        if not table.remove(handler):
            raise ValueError(
                f"Input handler '{handler}' is not found among registered event handlers of "
                f"{event_name}"
            )
        table.refresh(self._is_watched)
        self._attention = True

    def fire_event(self, event_name: Any) -> None:
        """Calls the handlers of an event.

        Raises:
            ValueError: the event is not registered.
            Whatever a handler raises.
        """
        self._tables.find_all([event_name], self.logger)
        before = self.last_event_name
        try:
            self._fire_event(event_name)
        finally:
            if self._is_running:  # the outer event continues, or its handler has raised
                self.last_event_name = before

    def _fire_event(self, event_name: Any, *event_args: Any, **event_kwargs: Any) -> None:
        """Fires a registered event; subclasses may override it to observe all events."""
        self.last_event_name = event_name
        self._attention = True
        is_plain = isinstance(event_name, CallableEventWithFilter)
        name = event_name._name_ if is_plain else key_of(event_name)
        if self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug(
                "%s | %s, Firing handlers for event %s",
                self.state.epoch,
                self.state.iteration,
                event_name,
            )
        table, count = self._tables[name], self._count_firing(name)
        call: Any = call_each if name == "EXCEPTION_RAISED" else call_handlers
        if self._watcher is not None:
            self._watcher.call(call, table.calls, self, event_name, count, event_args, event_kwargs)
        elif table.calls:
            call(table.calls, self, event_name, count, event_args, event_kwargs)

    def _pass(self, event: Any) -> None:
        """Fires an event of the step; only counts it without handlers, and ignores it if it is not registered."""
        name = event._name_
        table = self._tables.get(name)
        if table is None:
            return
        counts = self.state._event_counts
        if table.active:
            self._fire_event(event)
        elif name in counts:  # the usual case, without a call
            counts[name] += 1
        else:
            self._count_firing(name)

    def _count_firing(self, name: str) -> int:
        """Returns the count of an event that is being fired: that of its attribute, or one more than before."""
        state = self.state
        attribute = state._own_event_to_attr.get(name) or state.event_to_attr.get(name)
        if attribute is not None:
            count: int = getattr(state, attribute)
            return count
        count = state._event_counts[name] = state._event_counts.get(name, 0) + 1
        return count

    def _counts_matter(self, name: str) -> bool:
        """Whether a handler of the event has a filter."""
        return name in self._tables and any(
            getattr(e.event, "filter", None) for e in self._tables[name].entries
        )

    def _watch(self, watcher: Watcher | None) -> None:
        self._watcher = watcher
        self._refresh_tables()

    @contextmanager
    def _watched_by(self, watcher: Watcher) -> Iterator[None]:
        """Makes ``watcher`` call the handlers within a ``with`` block."""
        before = self._watcher
        self._watch(watcher)
        try:
            yield
        finally:
            self._watch(before)

    @contextmanager
    def measured(self, meter: Meter) -> Iterator[None]:
        """Wraps the step, the data and the handlers by ``meter`` within a ``with`` block.

        Args:
            meter: a :class:`ignite.engine.extension.Meter`, which is called once for each part.

        Example:
            >>> from ignite.engine import Engine
            >>> from ignite.engine.extension import Meter
            >>> class Louder(Meter):
            ...     def step(self, step):
            ...         return lambda engine, batch: print("step", step(engine, batch))
            >>> engine = Engine(lambda engine, batch: batch)
            >>> with engine.measured(Louder()):
            ...     _ = engine.run([1])
            step 1
        """
        self._measure((*self._meters, meter))
        try:
            yield
        finally:
            self._measure(tuple(one for one in self._meters if one is not meter))

    def _measure(self, meters: tuple[Meter, ...]) -> None:
        self._meters = meters
        self._tables.wrap(tuple(meter.handler for meter in meters))

    def _measured_step(self) -> Step:
        """Returns the step function, wrapped by the meters."""
        step: Step = self._process_function
        for meter in self._meters:
            step = meter.step(step)
        return step

    def _refresh_tables(self) -> None:
        self._tables.refresh(self._is_watched)
        self._attention = True

    @property
    def _is_watched(self) -> bool:
        """Whether every event has to be fired, even if it has no handlers."""
        overridden = type(self)._fire_event is not Emitter._fire_event
        logs_events = self.logger.isEnabledFor(logging.DEBUG)
        return overridden or logs_events or self._watcher is not None

    @property
    def _event_handlers(
        self,
    ) -> Mapping[Any, list[tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]]]:
        """The handlers of events in Ignite's form: ``(handler, args, kwargs)``, a weak engine first in ``args``."""
        me = weakref.ref(self)
        return {
            table.event: [
                (e.handler, (me, *e.args) if e.takes_engine else e.args, e.kwargs)
                for e in table.entries
            ]
            for table in self._tables.values()
            if table.calls
        }

    @property
    def _allowed_events(self) -> list[Any]:
        """``registered_events`` under Ignite's name."""
        return self.registered_events


def _events_in(event_name: Any) -> list[Any]:
    return list(event_name) if isinstance(event_name, EventsList) else [event_name]


def _is_other(known: Any, event: Any) -> bool:
    """Whether two events of one name differ: members of two enums with different values."""
    both = isinstance(known, EventEnum) and isinstance(event, EventEnum)
    return both and (type(known) is not type(event)) and known.value != event.value


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

    def __init__(self, request: BoundaryRequest, random: RandomState | None) -> None:
        super().__init__("the run was asked to stop")
        self.request = request
        self.random = random
        """The random states at the start of the interrupted handler."""
        self.unfinished: Unfinished | None = None
        """The interrupted event of the trainer; set by the dispatch."""


def call_handlers(
    calls: Iterable[Call],
    engine: Any,
    event: Any,
    count: int,
    event_args: tuple[Any, ...] = (),
    event_kwargs: Mapping[str, Any] = NO_KWARGS,
) -> None:
    """Calls the handlers of an event, in order.

    A handler that is added to the event during a firing is called in the same firing, last.
    Removing takes effect from the next firing on.

    Args:
        calls: the handlers of the event.
        engine: the engine that fires.
        event: the event, for the note on an exception.
        count: the epoch or iteration of the event, or the number of its firings, for filters.
        event_args: arguments of the event, e.g. the exception for EXCEPTION_RAISED.
        event_kwargs: keyword arguments of the event; they override those of the handler.

    Raises:
        Whatever a handler raises, unchanged, with a note that names the handler. Handlers after it
        are not called.
    """
    handler = None
    in_full = bool(event_args or event_kwargs)
    try:
        for handler, style, every, due, passes, entry in calls:
            if (
                (every and count % every)
                or (due is not None and count not in due)
                or (passes is not None and not passes(engine, count))
            ):
                continue
            if not style and not in_full:
                handler(engine)
            elif style == WITHOUT_ENGINE and not in_full:
                handler()
            else:
                _call_in_full(handler, entry, engine, event_args, event_kwargs)
    except BaseException as error:
        if isinstance(error, Preempted):
            _record_interrupted_handler(error, engine, event, entry)
        elif handler is not None:
            add_note(error, f"in handler {name_of(entry.handler)} of {event!r} ({count})")
        raise


def _call_in_full(
    handler: Callable[..., Any],
    entry: Registration,
    engine: Any,
    event_args: tuple[Any, ...],
    event_kwargs: Mapping[str, Any],
) -> None:
    args, kwargs = entry.args, entry.kwargs
    if entry.takes_payload:
        args, kwargs = (*event_args, *args), {**kwargs, **event_kwargs}
    if entry.takes_engine:
        args = (engine, *args)
    handler(*args, **kwargs)


def _record_interrupted_handler(
    cut: Preempted, engine: Any, event: Any, entry: Registration
) -> None:
    """Records which handler of the trainer was interrupted."""
    if cut.request.trainer is engine:
        name = key_of(event)
        handlers = (
            entry.handler,
            getattr(entry.handler, "__wrapped__", None),
        )  # watchers wrap handlers
        entries = enumerate(engine._tables[name].entries)
        num_done = next(
            i for i, known in entries if known.args is entry.args and known.handler in handlers
        )
        cut.unfinished = Unfinished(name, num_done)


def call_each(
    calls: Iterable[Call],
    engine: Any,
    event: Any,
    count: int,
    event_args: tuple[Any, ...] = (),
    event_kwargs: Mapping[str, Any] = NO_KWARGS,
) -> None:
    """Calls the handlers of an event, in order, even after one of them has raised.

    Raises:
        The first exception of a handler, after all have been called. An exception that is no
        ``Exception``, such as KeyboardInterrupt, is raised at once, unless it is an argument of the
        event.
    """
    raised: BaseException | None = None
    for call in list(calls):
        try:
            call_handlers([call], engine, event, count, event_args, event_kwargs)
        except BaseException as error:
            if not isinstance(error, Exception) and error not in event_args:
                raise
            raised = raised or error
    if raised is not None:
        try:
            raise raised
        finally:
            del raised  # the traceback refers to this frame: a reference cycle


def add_note(error: BaseException, text: str) -> None:
    """Adds a note on where ``error`` was raised, once, even if it passes through several engines."""
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def owed_calls(table: Table) -> list[Call]:
    """Returns calls of handlers with ``last=True`` that were not called at what was the last firing."""
    gates = ((call, call[-1].condition.passes) for call in table.calls)
    owed = [call for call, gate in gates if isinstance(gate, LastGate) and gate.is_owed]
    return [(handler, style, 0, None, None, entry) for handler, style, *_, entry in owed]
