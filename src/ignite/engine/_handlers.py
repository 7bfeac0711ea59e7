"""Handlers of events: registered in tables, and removed by handles.

Signatures and filters are evaluated when a handler is added, so that a call costs as little as
possible. :mod:`ignite.engine._emitter` calls them.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from enum import Enum
from numbers import Real
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite._core.calls import (
    accepts,
    describe_signature,
    name_of,
    signature_of,
    source_location,
)
from ignite.engine._filters import FOR_EVER, Combined, DueAt, Filter, Last, LastGate, bind

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

__all__ = [
    "NO_KWARGS",
    "WITHOUT_ENGINE",
    "Added",
    "Call",
    "Condition",
    "Payload",
    "Registration",
    "RemovableEventHandle",
    "Table",
    "Tables",
    "can_take",
    "compile_filter",
    "is_event",
    "key_of",
    "objects_behind",
    "quiet_up_to",
    "register",
]

NO_KWARGS: Mapping[str, Any] = {}
_PLACEHOLDER = object()

# Ways to call a handler, the most common first.
WITH_ENGINE, WITHOUT_ENGINE, IN_FULL = range(3)


class Payload(NamedTuple):
    """Names of the arguments that an event passes to its handlers, besides the engine."""

    args: tuple[str, ...] = ()
    kwargs: tuple[str, ...] = ()


_PAYLOADS = {
    "EXCEPTION_RAISED": Payload(args=("exception",)),
    "TERMINATE_SINGLE_EPOCH": Payload(kwargs=("iter_counter",)),
}
_NO_PAYLOAD = Payload()


def is_event(value: Any) -> bool:
    """Whether a value can be an event."""
    if isinstance(value, str | Enum | Real):
        return not isinstance(value, bool)
    return hasattr(value, "filter") and hasattr(value, "_name_")


def key_of(event: Any) -> str:
    """Returns the unique name of an event, also of members of a plain enum and of numbers."""
    if isinstance(event, str):
        return event
    if hasattr(event, "filter"):
        name: str = event._name_
        return name
    if isinstance(event, Enum):
        return f"{type(event).__module__}.{type(event).__qualname__}.{event._name_}"
    return f"number {event}"


class Condition(NamedTuple):
    """A filter in the form that the dispatch tests: cheapest part first, each None or 0 if it does not apply."""

    every: int = 0
    due: range | frozenset[int] | None = None
    passes: Filter | None = None

    @property
    def is_arithmetic(self) -> bool:
        """Whether the counts at which it is true are known in advance, and are not simply all."""
        return self.passes is None and (self.every != 0 or self.due is not None)

    def next_due(self, count: int) -> int:
        """Returns the first count from ``count`` on at which an arithmetic condition is true; FOR_EVER if none is."""
        if self.every:
            return -(-count // self.every) * self.every
        if isinstance(self.due, range):
            first, step = self.due.start, self.due.step
            after = first + max(0, -((first - count) // step)) * step
            return after if after < self.due.stop else FOR_EVER
        return min((due for due in self.due or () if due >= count), default=FOR_EVER)


class Registration(NamedTuple):
    """One handler on one event.

    It does not refer to the engine, which passes itself when it fires: without a reference cycle,
    deleting an engine frees what its handlers refer to.
    """

    handler: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    takes_engine: bool
    takes_payload: bool
    style: int
    condition: Condition
    event: Any
    """The event with its filter."""
    priority: float

    @property
    def takes_only_engine(self) -> bool:
        """Whether the handler is called with the engine and nothing else."""
        return self.style == WITH_ENGINE

    def compile(self) -> Call:
        """Returns the form that the dispatch uses: a plain tuple, which unpacks several times faster."""
        return (self.handler, self.style, *self.condition, self)


Call = tuple[
    Callable[..., Any], int, int, "range | frozenset[int] | None", "Filter | None", Registration
]

Wrapper = Callable[[Any, Registration, Callable[..., Any]], Callable[..., Any]]
"""``wrapper(event, registration, handler)`` returns what is called instead of ``handler``."""


class Table:
    """The handlers of one event, in the order in which they are called."""

    __slots__ = ("_needs_each", "active", "calls", "event", "is_busy", "payload", "wrappers")

    def __init__(self, event: Any, payload: Payload) -> None:
        self.event = event
        self.payload = payload
        self.calls: list[Call] = []
        self.wrappers: tuple[Wrapper, ...] = ()
        self.active = False
        """Whether the event must be fired, because it has handlers, or all events are watched."""
        self.is_busy = False
        """Whether it must be fired each time, and not only at the counts of :meth:`next_due`."""
        self._needs_each = False

    @property
    def entries(self) -> list[Registration]:
        return [call[-1] for call in self.calls]

    def wrap(self, wrappers: tuple[Wrapper, ...]) -> None:
        """Wraps the handlers from the next firing on."""
        self.wrappers = wrappers
        self._replace([self._compile(entry) for entry in self.entries])

    def _compile(self, entry: Registration) -> Call:
        handler = entry.handler
        for wrapper in self.wrappers:
            handler = wrapper(self.event, entry, handler)
        return (handler, *entry.compile()[1:])

    def _replace(self, calls: list[Call]) -> None:
        self.calls = calls
        self._needs_each = any(not call[-1].condition.is_arithmetic for call in calls)

    def add(self, registration: Registration) -> None:
        """Adds a handler.

        A current firing calls it, too, unless its priority is higher than that of another one, or
        it is on the event already: a handler that adds itself would never end.
        """
        calls, call = self.calls, self._compile(registration)
        is_last = not calls or calls[-1][-1].priority >= registration.priority
        if is_last and all(known[-1].handler != registration.handler for known in calls):
            calls.append(call)
            self._replace(calls)
            return
        priorities = (known[-1].priority < registration.priority for known in calls)
        position = next((i for i, is_lower in enumerate(priorities) if is_lower), len(calls))
        self._replace([*calls[:position], call, *calls[position:]])

    def remove(self, handler: Callable[..., Any]) -> bool:
        """Removes a handler from the next firing on; returns whether it was there."""
        kept = [call for call in self.calls if call[-1].handler != handler]
        found = len(kept) < len(self.calls)
        self._replace(kept)
        return found

    def drop(self, ids: Container[int]) -> None:
        """Removes the registrations with these ids, as in :meth:`remove`."""
        self._replace([call for call in self.calls if id(call[-1]) not in ids])

    def refresh(self, is_watched: bool) -> None:
        """Updates what the loop tests in each iteration."""
        self.active = is_watched or bool(self.calls)
        self.is_busy = is_watched or self._needs_each

    def next_due(self, count: int) -> int:
        """Returns the first count from ``count`` on at which a handler is due; FOR_EVER if none is."""
        return min((call[-1].condition.next_due(count) for call in self.calls), default=FOR_EVER)


class Tables(dict[str, Table]):
    """The tables of an engine, by the name of the event, in the order of registration."""

    def add_event(self, event: Any, wrappers: tuple[Wrapper, ...], is_watched: bool) -> None:
        """Adds the table of an event, unless it has one."""
        name = key_of(event)
        if name not in self:
            self[name] = Table(event, _PAYLOADS.get(name, _NO_PAYLOAD))
            self[name].wrappers = wrappers
            self[name].refresh(is_watched)

    def find(self, event: Any) -> Table | None:
        """Returns the table of an event, with or without a filter; None if it is not registered."""
        return self.get(key_of(event)) if is_event(event) else None

    def find_all(self, events: Iterable[Any], logger: logging.Logger) -> list[Table]:
        """Returns the tables of events.

        Raises:
            ValueError: an event is not registered.
        """
        found = []
        for event in events:
            table = self.find(event)
            if table is None:
                logger.error("attempt to use an unknown event: %s", event)
                raise ValueError(
                    f"Event {event} is not a valid event for this Engine. Register it with "
                    f"register_events, or use one of: {', '.join(self)}"
                )
            found.append(table)
        return found

    def add(
        self,
        events: Sequence[Any],
        handler: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        is_watched: bool,
        logger: logging.Logger,
    ) -> None:
        """Adds a handler to all events, or, if an event is not registered or does not fit, to none.

        Raises:
            ValueError, TypeError: as in :meth:`find_all` and :func:`register`.
            TypeError: ``priority`` in ``kwargs`` is not a number.
        """
        is_priority = "priority" in kwargs and not _has_parameter(handler, "priority")
        priority = kwargs.pop("priority") if is_priority else 0
        if not isinstance(priority, int | float):
            raise TypeError(f"priority should be a number, but given {priority!r}")
        tables = self.find_all(events, logger)
        registrations = [
            register(table, event, handler, args, kwargs, priority)
            for table, event in zip(tables, events, strict=True)
        ]
        for table, registration in zip(tables, registrations, strict=True):
            table.add(registration)
            table.refresh(is_watched)
            logger.debug("Added handler for event %s", registration.event)

    def entries(self) -> list[Registration]:
        """Returns the handlers of all events."""
        return [entry for table in self.values() for entry in table.entries]

    def entries_of(self, events: Iterable[Any], logger: logging.Logger) -> list[Registration]:
        """Returns the handlers of events; raises as :meth:`find_all`."""
        return [entry for table in self.find_all(events, logger) for entry in table.entries]

    def has(self, handler: Callable[..., Any], events: Iterable[Any]) -> bool:
        """Whether a handler is on one of the events, whatever its filter."""
        tables = [table for event in events if (table := self.find(event)) is not None]
        return any(entry.handler == handler for table in tables for entry in table.entries)

    def drop(self, ids: Container[int]) -> None:
        """Removes the registrations with these ids from all events."""
        for table in self.values():
            table.drop(ids)

    def refresh(self, is_watched: bool) -> None:
        """Updates what the loop tests in each iteration."""
        for table in self.values():
            table.refresh(is_watched)

    def wrap(self, wrappers: tuple[Wrapper, ...]) -> None:
        """Wraps the handlers of all events from the next firing on."""
        for table in self.values():
            table.wrap(wrappers)


def register(
    table: Table,
    event: Any,
    handler: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    priority: float,
) -> Registration:
    """Determines how ``handler`` is called at ``event``.

    It is called with the engine first if its signature accepts that, and with the arguments of the
    event if it accepts or requires them.

    Raises:
        TypeError: ``handler`` is not callable.
        ValueError: its signature does not accept the arguments.
    """
    if not callable(handler):
        raise TypeError(f"handler should be callable, but given {handler!r}")
    payload_args = (_PLACEHOLDER,) * len(table.payload.args)
    payload_kwargs = dict.fromkeys(table.payload.kwargs, _PLACEHOLDER)
    attempts = [(True, True), (False, True)]
    if payload_kwargs:  # keyword arguments are optional
        attempts += [(True, False), (False, False)]
    for takes_engine, takes_payload in attempts:
        engine_args = (_PLACEHOLDER,) if takes_engine else ()
        event_args = payload_args if takes_payload else ()
        event_kwargs = payload_kwargs if takes_payload else {}
        if can_take(handler, (*engine_args, *event_args, *args), {**kwargs, **event_kwargs}):
            break
    else:
        raise ValueError(_misfit(handler, table, args, kwargs))
    is_plain = not (args or kwargs or table.payload.args or table.payload.kwargs)
    style = IN_FULL if not is_plain else WITH_ENGINE if takes_engine else WITHOUT_ENGINE
    condition = compile_filter(getattr(event, "filter", None), table.event)
    return Registration(
        handler, args, kwargs, takes_engine, takes_payload, style, condition, event, priority
    )


def can_take(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a handler or a step can be called with these arguments; True if its signature is unknown."""
    plain, num_bound = (None, 0) if kwargs else _plain_function(function)
    if plain is None:
        return accepts(function, *args, **kwargs)
    # Arithmetic, because a signature takes as long as an iteration of the loop.
    code, num = plain.__code__, len(args) + num_bound
    if code.co_kwonlyargcount > len(plain.__kwdefaults__ or ()):
        return False
    most = num if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    return code.co_argcount - len(plain.__defaults__ or ()) <= num <= most


def _plain_function(one: Any) -> tuple[FunctionType | None, int]:
    """Returns the function of a callable, if its code tells the signature, and how many arguments are bound."""
    found, num_bound = one, 0
    if isinstance(one, MethodType):
        found, num_bound = one.__func__, 1
    elif not isinstance(one, FunctionType | type):
        found, num_bound = getattr(type(one), "__call__", None), 1  # noqa: B004 - the function itself
        if hasattr(one, "__signature__") or hasattr(one, "__wrapped__"):
            return None, 0
    if not isinstance(found, FunctionType):
        return None, 0
    is_plain = vars(found).keys().isdisjoint(("__wrapped__", "__signature__"))
    return (found, num_bound) if is_plain else (None, 0)


def _has_parameter(func: Callable[..., Any], name: str) -> bool:
    """Whether ``func`` has an explicit parameter ``name`` that can be passed by keyword."""
    plain, _ = _plain_function(func)
    if plain is not None and name not in plain.__code__.co_varnames:
        return False
    try:
        parameter = signature_of(func).parameters.get(name)
    except ValueError:
        return False
    return parameter is not None and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


def compile_filter(condition: Filter | None, event: str) -> Condition:
    """Returns the condition that the dispatch tests for one handler of ``event``."""
    if condition is None:
        return Condition()
    if isinstance(condition, DueAt):
        counts = condition.counts
        if isinstance(counts, range) and counts.start == 0 and counts.stop == FOR_EVER:
            return Condition(every=counts.step)
        return Condition(due=counts)
    passes = bind(condition, event)
    is_union = isinstance(condition, Combined) and condition.operator is any
    parts = condition.parts if isinstance(condition, Combined) and is_union else (condition,)
    return Condition(passes=LastGate(passes) if Last() in parts else passes)


def quiet_up_to(
    iteration: int, requested: Table, ready: Table, begun: Table, completed: Table
) -> int:
    """Returns the last iteration from ``iteration`` on before one in which a handler is due."""
    return min(
        requested.next_due(iteration),
        ready.next_due(iteration),
        begun.next_due(iteration + 1) - 1,
        completed.next_due(iteration + 1) - 1,
    )


def _misfit(
    handler: Callable[..., Any], table: Table, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    own = [
        *table.payload.args,
        *map(repr, args),
        *(f"{name}={value!r}" for name, value in kwargs.items()),
    ]
    calls = " or ".join(f"({', '.join(call)})" for call in (["engine", *own], own))
    place = source_location(handler)
    return (
        f"Error adding {name_of(handler)} to {table.event}: handler should accept {calls}, "
        f"but takes {describe_signature(handler)}" + (f" ({place})" if place else "")
    )


class RemovableEventHandle:
    """Removes a handler from its event, at once or at the end of a ``with`` block.

    It refers weakly to the handler and the engine.

    Args:
        event_name: the event, or list of events, of the handler.
        handler: the handler.
        engine: the engine of the event.

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
        event_name: Any,
        handler: Callable[..., Any],
        engine: Any,
    ) -> None:
        self.event_name = event_name
        self.handler = _weak(handler)
        self.engine = weakref.ref(engine)

    def remove(self) -> None:
        """Removes the handler.

        Does nothing if it is removed already, or if it or the engine is deleted.
        """
        handler, engine = self.handler(), self.engine()
        if handler is None or engine is None:
            return
        events: list[Any] = (
            list(self.event_name) if isinstance(self.event_name, Iterable) else [self.event_name]
        )
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


def objects_behind(handler: Any) -> Iterator[Any]:
    """Yields the object that a handler is, or is a method of, and the arguments of a partial."""
    while isinstance(handler, functools.partial):
        yield from (*handler.args, *handler.keywords.values())
        handler = handler.func
    if isinstance(handler, MethodType):
        yield handler.__self__
    elif not isinstance(handler, FunctionType):
        yield handler


class Added:
    """Records what is added to engines within ``with`` blocks, to remove it again.

    That includes handlers, run contexts and the run saver. Everything added outside of the blocks
    stays, also on the same events.

    Args:
        *engines: the engines to record.

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

    def __init__(self, *engines: Any) -> None:
        self._engines = engines
        self._new: list[Any] = []
        """Holds the objects, so that no id is reused."""

    def __enter__(self) -> Added:
        self._before = {id(one) for one in self._all()}
        return self

    def __exit__(self, *args: Any, **kwargs: Any) -> None:
        self._new += [one for one in self._all() if id(one) not in self._before]

    def _all(self) -> Iterator[Any]:
        for engine in self._engines:
            yield from engine._tables.entries()
            yield from engine._frames
            yield engine._keeper

    def take_off(self) -> None:
        """Removes what was added within the blocks."""
        new = {id(one) for one in self._new if one is not None}
        for engine in self._engines:
            engine._tables.drop(new)
            engine._frames[:] = [frame for frame in engine._frames if id(frame) not in new]
            if id(engine._keeper) in new:
                engine._keeper = None
            engine._refresh_tables()
        self._new.clear()
