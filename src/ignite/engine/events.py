"""The events of a run, with filters, and the state of an engine.

A run of an engine fires these events::

    STARTED
    for each epoch:
        EPOCH_STARTED
        for each batch:
            GET_BATCH_STARTED
            [DATALOADER_STOP_ITERATION        the data are exhausted and iterated over again]
            GET_BATCH_COMPLETED
            ITERATION_STARTED
            state.output = process_function(engine, state.batch)
            ITERATION_COMPLETED
        [TERMINATE_SINGLE_EPOCH               after terminate_epoch()]
        EPOCH_COMPLETED
    [TERMINATE                                after terminate(), or max_iters inside an epoch]
    COMPLETED

``INTERRUPT`` is fired when ``interrupt()`` takes effect, ``EXCEPTION_RAISED`` when an exception is
raised in a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from ignite._core.calls import deprecated
from ignite.engine import _filters
from ignite.engine._filters import Filter
from ignite.engine._handlers import RemovableEventHandle
from ignite.engine._state import State

__all__ = [
    "CallableEventWithFilter",
    "EventEnum",
    "Events",
    "EventsList",
    "RemovableEventHandle",
    "State",
]


class CallableEventWithFilter:
    """An event, possibly with a filter that selects the firings at which a handler is called.

    Events are equal if their names are, and so are their hashes: filters are ignored, and an event
    equals its name.

    Args:
        value: value of the event; for members of an :class:`EventEnum`, the value in the enum.
        event_filter: ``filter(engine, count) -> bool``, or None for each firing. ``count`` is the
            epoch or the iteration of the event, or the number of its firings.
        name: name of the event; the enum sets it for its members.

    Example:
        >>> Events.ITERATION_COMPLETED(every=100)
        Events.ITERATION_COMPLETED(every=100)
        >>> Events.EPOCH_COMPLETED(every=5, last=True) == Events.EPOCH_COMPLETED
        True
    """

    _name_: str

    def __init__(
        self, value: str, event_filter: Filter | None = None, name: str | None = None
    ) -> None:
        self.filter = event_filter
        self._owner = (
            type(self).__name__ if issubclass(type(self), Enum) else "Events"
        )  # what the repr begins with
        if not hasattr(self, "_value_"):
            self._value_ = value
        if name is not None or not hasattr(self, "_name_"):
            self._name_ = name if name is not None else str(value)

    @property
    def name(self) -> str:
        """The name of the event, which identifies it."""
        return self._name_

    @property
    def value(self) -> Any:
        """The value of the event."""
        return self._value_

    def __call__(
        self,
        event_filter: Filter | None = None,
        every: int | None = None,
        once: int | Sequence[int] | None = None,
        before: int | None = None,
        after: int | None = None,
        *,
        last: bool = False,
        every_seconds: float | None = None,
    ) -> CallableEventWithFilter:
        """Returns this event with a filter; the event itself does not change.

        Pass one of ``event_filter``, ``once``, ``every_seconds``, or any of ``every``, ``before``,
        ``after``; ``last`` can be added to each of them, or used alone. ``&`` combines two filtered
        forms of one event.

        Args:
            event_filter: ``filter(engine, count) -> bool``.
            every: each multiple of this count. With ``before`` or ``after``: each ``every``-th
                count of the window, from its first.
            once: only this count, or these counts.
            before: counts below this one.
            after: counts above this one.
            last: also the last firing of the run. If the run ends before its planned end, the
                handler is called just before TERMINATE or COMPLETED.
            every_seconds: minimum time between two calls. Clocks differ between processes: use it
                only for handlers that concern their own process.

        Raises:
            ValueError: there is no condition, conditions cannot be combined, or a value is out of
                range.
            TypeError: ``event_filter`` is not callable.
        """
        condition = _filters.make_filter(
            event_filter, every, once, before, after, last, every_seconds
        )
        return self._with(condition)

    def _with(self, condition: Filter | None) -> CallableEventWithFilter:
        event = CallableEventWithFilter(self.value, condition, self.name)
        event._owner = self._owner
        return event

    @staticmethod
    def every_event_filter(every: int) -> Filter:
        """A filter for each multiple of ``every``."""
        return _filters.window_filter(every, None, None) or CallableEventWithFilter._always

    @staticmethod
    def once_event_filter(once: list[int]) -> Filter:
        """A filter for the counts in ``once``."""
        return _filters.once_filter(once)

    @staticmethod
    def before_and_after_event_filter(
        before: int | None = None, after: int | None = None
    ) -> Filter:
        """A filter for counts strictly between ``after`` and ``before``."""
        if before is None and after is None:
            return CallableEventWithFilter._always
        return _filters.window_filter(None, before, after) or CallableEventWithFilter._always

    @staticmethod
    def every_before_and_after_event_filter(
        every: int, before: int | None = None, after: int | None = None
    ) -> Filter:
        """A filter for each ``every``-th count between ``after`` and ``before``, from the first on."""
        return _filters.window_filter(every, before, after or 0) or CallableEventWithFilter._always

    @staticmethod
    @deprecated("0.5.0", reasons=("An event without a filter needs none.",))
    def default_event_filter(engine: Any, event: int) -> bool:
        """Returns True."""
        return True

    @staticmethod
    def _always(engine: Any, count: int) -> bool:
        return True

    def __or__(self, other: Any) -> EventsList:
        """Combines events: a handler is called at each."""
        joined: EventsList = EventsList() | self | other
        return joined

    def __and__(self, other: Any) -> CallableEventWithFilter:
        """This event, if the filters of both are true."""
        if not isinstance(other, CallableEventWithFilter):
            return NotImplemented
        if self != other:
            raise ValueError(
                f"& should join two filters on the same event, but given {self!r} and {other!r}"
            )
        conditions = tuple(event.filter for event in (self, other) if event.filter is not None)
        return self._with(
            conditions[0]
            if len(conditions) == 1
            else _filters.Combined(all, conditions)
            if conditions
            else None
        )

    def __invert__(self) -> CallableEventWithFilter:
        """This event, if its filter is not true."""
        if self.filter is None:
            raise ValueError(
                f"~ should be put on an event with a filter, but given {self!r}, which has none"
            )
        return self._with(_filters.Not(self.filter))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, CallableEventWithFilter):
            return self._name_ == other._name_
        if isinstance(other, str):
            return self._name_ == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._name_)

    def __repr__(self) -> str:
        words = "" if self.filter is None else f"({_filters.words(self.filter)})"
        return f"{self._owner}.{self._name_}{words}"


CallableEvents = (
    CallableEventWithFilter  # the name in Ignite 0.3, for class MyEvents(CallableEvents, Enum)
)


class EventEnum(CallableEventWithFilter, Enum):
    """Base class for custom events, with filters like those of :class:`Events`.

    Example:
        >>> class BatchEvents(EventEnum):
        ...     LOSS_COMPUTED = "loss_computed"
        >>> BatchEvents.LOSS_COMPUTED(every=2)
        BatchEvents.LOSS_COMPUTED(every=2)
    """


class Events(EventEnum):
    """The events that every engine fires; the module's docstring shows their order."""

    EPOCH_STARTED = "epoch_started"
    """An epoch begins; ``state.epoch`` is its number, from 1."""
    EPOCH_COMPLETED = "epoch_completed"
    """An epoch has ended."""
    STARTED = "started"
    """A run begins, or resumes from a loaded or stopped state."""
    COMPLETED = "completed"
    """A run has ended; the last event of a run."""
    ITERATION_STARTED = "iteration_started"
    """A batch is fetched, ``state.iteration`` is its number, from 1; the process function is called next."""
    ITERATION_COMPLETED = "iteration_completed"
    """The process function has returned; ``state.output`` is its output."""
    EXCEPTION_RAISED = "exception_raised"
    """An exception is raised; handlers get it as an argument, and handle it if none of them raises."""
    GET_BATCH_STARTED = "get_batch_started"
    """The next batch is about to be fetched; ``state.iteration`` is the number of completed iterations."""
    GET_BATCH_COMPLETED = "get_batch_completed"
    """The next batch is in ``state.batch``."""
    DATALOADER_STOP_ITERATION = "dataloader_stop_iteration"
    """The data are exhausted and about to be iterated over again."""
    TERMINATE = "terminate"
    """The run ends before its planned end."""
    TERMINATE_SINGLE_EPOCH = "terminate_single_epoch"
    """The epoch ends before its planned end; handlers get ``iter_counter``, the number of its iterations."""
    INTERRUPT = "interrupt"
    """The run pauses; the next ``run`` continues at this point."""


class EventsList:
    """Events combined with ``|``: a handler is called at each.

    The same event twice means two calls.

    Example:
        >>> both = Events.STARTED | Events.COMPLETED
        >>> len(both), both[0]
        (2, Events.STARTED)
    """

    def __init__(self) -> None:
        self._events: list[CallableEventWithFilter] = []

    def __getitem__(self, item: int) -> CallableEventWithFilter:
        return self._events[item]

    def __iter__(self) -> Iterator[CallableEventWithFilter]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def __or__(self, other: Any) -> EventsList:
        """Returns a new list with ``other``, an event or a list of events, appended."""
        if not isinstance(other, CallableEventWithFilter | EventsList):
            raise TypeError(
                f"Argument event should be Events or CallableEventWithFilter, but given {other!r}"
            )
        joined = EventsList()
        joined._events = [
            *self._events,
            *([other] if isinstance(other, CallableEventWithFilter) else other),
        ]
        return joined

    def __repr__(self) -> str:
        return " | ".join(map(repr, self._events)) or "EventsList()"
