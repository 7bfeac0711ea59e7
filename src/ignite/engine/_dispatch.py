"""Who is called at an event, and with what. Everything that can be settled is settled when a handler is added."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite._core.calls import accepts, describe_signature, name_of, place_of
from ignite.engine._boundary import Preempted, Unfinished
from ignite.engine._filters import FOR_EVER, Condition, Filter, LastGate, compile_filter
from ignite.engine._state import key_of

if TYPE_CHECKING:
    from ignite.engine._trace import Meter
    from ignite.engine.engine import Engine

NO_KWARGS: Mapping[str, Any] = {}
_PLACEHOLDER = object()

# Ways to call a handler, the commonest first.
WITH_ENGINE, WITHOUT_ENGINE, IN_FULL = range(3)


class Payload(NamedTuple):
    """What an event itself hands to its handlers, beside the engine."""

    args: tuple[str, ...] = ()
    kwargs: tuple[str, ...] = ()


class Registration(NamedTuple):
    """One handler on one event.

    It holds no engine: the engine that fires passes itself in, so that there is no reference cycle to break, and
    deleting an engine frees what its handlers hold.
    """

    handler: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    takes_engine: bool
    takes_payload: bool
    style: int
    condition: Condition
    event: Any
    """The event as the user gave it, with its filter."""
    priority: float

    @property
    def takes_only_engine(self) -> bool:
        """Whether the handler is called with the engine and nothing else."""
        return self.style == WITH_ENGINE

    def compile(self) -> Call:
        """What dispatch walks over: a plain tuple, which unpacks several times faster than a named one."""
        return (self.handler, self.style, *self.condition, self)


Call = tuple[Callable[..., Any], int, int, "range | frozenset[int] | None", "Filter | None", Registration]


class Table:
    """The handlers of one event, in the order in which they are called."""

    __slots__ = ("active", "calls", "event", "is_busy", "meters", "payload")

    def __init__(self, event: Any, payload: Payload) -> None:
        self.event = event
        self.payload = payload
        self.calls: list[Call] = []
        self.meters: tuple[Meter, ...] = ()
        self.active = False
        """Whether the event has to be fired: it has handlers, or somebody watches all events."""
        self.is_busy = False
        """Whether it has to be fired each time, and not only at counts that :meth:`next_due` can tell."""

    @property
    def entries(self) -> list[Registration]:
        return [call[-1] for call in self.calls]

    def measure(self, meters: tuple[Meter, ...]) -> None:
        """From the next firing on, what is called is what ``meters`` make of the handlers."""
        self.meters = meters
        self.calls = [self._compile(entry) for entry in self.entries]

    def _compile(self, entry: Registration) -> Call:
        handler = entry.handler
        for meter in self.meters:
            handler = meter.handler(self.event, entry, handler)
        return (handler, *entry.compile()[1:])

    def add(self, registration: Registration) -> None:
        calls, call = self.calls, self._compile(registration)
        if not calls or calls[-1][-1].priority >= registration.priority:
            if any(known[-1].handler == registration.handler for known in calls):
                self.calls = [*calls, call]  # from the next firing on: a handler that adds itself would never end
            else:
                calls.append(call)  # in place: a firing under way goes on to it
            return
        position = next(i for i, known in enumerate(calls) if known[-1].priority < registration.priority)
        self.calls = [*calls[:position], call, *calls[position:]]

    def remove(self, handler: Callable[..., Any]) -> bool:
        """Whether ``handler`` was there. Takes effect from the next firing: the list is replaced, not shortened."""
        kept = [call for call in self.calls if call[-1].handler != handler]
        found = len(kept) < len(self.calls)
        self.calls = kept
        return found

    def drop(self, ids: Container[int]) -> None:
        """Removes the registrations with these ids; takes effect as in :meth:`remove`."""
        self.calls = [call for call in self.calls if id(call[-1]) not in ids]

    def refresh(self, is_watched: bool) -> None:
        """Settles what the loop asks in each iteration."""
        self.active = is_watched or bool(self.calls)
        self.is_busy = is_watched or any(not entry.condition.is_arithmetic for entry in self.entries)

    def next_due(self, count: int) -> int:
        """The first count, from ``count`` on, at which a handler is due; FOR_EVER if none is."""
        return min((call[-1].condition.next_due(count) for call in self.calls), default=FOR_EVER)


def register(
    table: Table,
    event: Any,
    handler: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    priority: float,
) -> Registration:
    """Settles how ``handler`` will be called at ``event``.

    With the engine first if its signature has room for that, and with what the event hands over if it has, or must
    have, room for that.

    Raises:
        TypeError: ``handler`` cannot be called.
        ValueError: no way of calling fits the signature.
    """
    if not callable(handler):
        raise TypeError(f"handler should be callable, but given {handler!r}")
    payload_args = (_PLACEHOLDER,) * len(table.payload.args)
    payload_kwargs = dict.fromkeys(table.payload.kwargs, _PLACEHOLDER)
    attempts = [(True, True), (False, True)]
    if payload_kwargs:  # what comes by keyword may be left out
        attempts += [(True, False), (False, False)]
    for takes_engine, takes_payload in attempts:
        engine_args = (_PLACEHOLDER,) if takes_engine else ()
        event_args = payload_args if takes_payload else ()
        event_kwargs = payload_kwargs if takes_payload else {}
        if accepts(handler, *engine_args, *event_args, *args, **{**kwargs, **event_kwargs}):
            break
    else:
        raise ValueError(_misfit(handler, table, args, kwargs))
    is_plain = not (args or kwargs or table.payload.args or table.payload.kwargs)
    style = IN_FULL if not is_plain else WITH_ENGINE if takes_engine else WITHOUT_ENGINE
    condition = compile_filter(getattr(event, "filter", None), table.event)
    return Registration(handler, args, kwargs, takes_engine, takes_payload, style, condition, event, priority)


def call_handlers(
    calls: Iterable[Call],
    engine: Engine[Any, Any],
    event: Any,
    count: int,
    event_args: tuple[Any, ...] = (),
    event_kwargs: Mapping[str, Any] = NO_KWARGS,
) -> None:
    """Calls the handlers of an event, in order.

    A handler may add one to the event being fired: it is called in this same firing, last. Removing takes effect from
    the next firing on.

    Args:
        calls: the event's handlers.
        engine: who fires.
        event: what is fired, for the note on an exception.
        count: the epoch or iteration that the event belongs to, or how often it was fired, for filters.
        event_args: what the event hands over, e.g. the exception for EXCEPTION_RAISED.
        event_kwargs: likewise, by name; they win over the handler's own.

    Raises:
        Whatever a handler raises, at once and unchanged, with a note that names the handler. Those after it are not
        called.
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
            _note_place(error, engine, event, entry)
        elif handler is not None:
            add_note(error, f"in handler {name_of(entry.handler)} of {event!r} ({count})")
        raise


def _note_place(cut: Preempted, engine: Engine[Any, Any], event: Any, entry: Registration) -> None:
    """Says at which handler of the engine that was asked to stop the run was cut off."""
    if cut.request.trainer is engine:
        name = key_of(event)
        handlers = (entry.handler, getattr(entry.handler, "__wrapped__", None))  # a watcher wraps them
        entries = enumerate(engine._tables[name].entries)
        num_done = next(i for i, known in entries if known.args is entry.args and known.handler in handlers)
        cut.unfinished = Unfinished(name, num_done)


def quiet_up_to(iteration: int, requested: Table, ready: Table, begun: Table, completed: Table) -> int:
    """The last iteration after ``iteration`` before one in which a handler is due."""
    return min(
        requested.next_due(iteration),
        ready.next_due(iteration),
        begun.next_due(iteration + 1) - 1,
        completed.next_due(iteration + 1) - 1,
    )


def _call_in_full(
    handler: Callable[..., Any],
    entry: Registration,
    engine: Engine[Any, Any],
    event_args: tuple[Any, ...],
    event_kwargs: Mapping[str, Any],
) -> None:
    args, kwargs = entry.args, entry.kwargs
    if entry.takes_payload:
        args, kwargs = (*event_args, *args), {**kwargs, **event_kwargs}
    if entry.takes_engine:
        args = (engine, *args)
    handler(*args, **kwargs)


def call_each(
    calls: Iterable[Call],
    engine: Engine[Any, Any],
    event: Any,
    count: int,
    event_args: tuple[Any, ...] = (),
    event_kwargs: Mapping[str, Any] = NO_KWARGS,
) -> None:
    """Calls the handlers of an event, in order, each even if one before it raised.

    Raises:
        The first exception that a handler raised, when all have been called. One that is not an ``Exception``, such as
        KeyboardInterrupt, goes on at once, unless it is the one that was handed over.
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
            del raised  # the traceback holds this frame: a cycle that only the garbage collector would end


def add_note(error: BaseException, text: str) -> None:
    """Says where ``error`` came up, once: an exception may pass through several engines and be raised again."""
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def owed_calls(table: Table) -> list[Call]:
    """The handlers with ``last=True`` that were turned away at what has turned out to be the last firing."""
    gates = ((call, call[-1].condition.passes) for call in table.calls)
    owed = [call for call, gate in gates if isinstance(gate, LastGate) and gate.is_owed]
    return [(handler, style, 0, None, None, entry) for handler, style, *_, entry in owed]


def _misfit(handler: Callable[..., Any], table: Table, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    own = [*table.payload.args, *map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    calls = " or ".join(f"({', '.join(call)})" for call in (["engine", *own], own))
    place = place_of(handler)
    return (
        f"Error adding {name_of(handler)} to {table.event}: handler should accept {calls}, "
        f"but takes {describe_signature(handler)}" + (f" ({place})" if place else "")
    )
