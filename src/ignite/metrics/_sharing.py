"""What the metrics of one engine share: outputs read once, statistics accumulated once, one reduction for all.

A *feed* belongs to a span (a usage) and a way to read outputs; its *slots* hold the statistics. A metric that begins a
span claims a slot for each statistic that it needs, and holds the slot, not the statistic, until its next span. Who
comes first at an event does the work of all, and is told from the others by tokens: when a token comes again, a new
event has begun. So nothing depends on which metrics there are, nor on the order in which their handlers are called.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ignite.engine import Engine, EventsList
from ignite.metrics._usage import MetricUsage
from ignite.metrics.statistics import Reading, Statistic

if TYPE_CHECKING:
    from ignite.metrics._view import View

_tokens = itertools.count()


@dataclass(eq=False, slots=True)
class Round:
    """Tells the first of several callers from the others, each time that they are called."""

    tokens: set[Hashable] = field(default_factory=set)

    def is_first(self, token: Hashable) -> bool:
        """Whether a new round begins with this caller."""
        if self.tokens and token not in self.tokens:
            self.tokens.add(token)
            return False
        self.tokens = {token}
        return True


@dataclass(eq=False, slots=True)
class Slot:
    """A statistic, and who shares it."""

    statistic: Statistic
    users: Round = field(default_factory=Round)
    names: dict[int, str] = field(default_factory=dict)
    """Token of each user -> what it is called, for descriptions."""
    tick: int = -1
    """Of the feed, when it was last updated."""

    def claim(self, token: int, name: str, wanted: Statistic) -> None:
        """Begins a span for one user; for the first, with a new statistic."""
        if self.users.is_first(token):
            self.statistic = wanted.fresh()
            self.names = {}
            self.tick = -1
        else:
            self.statistic.widen(wanted)
        self.names[token] = name


@dataclass(eq=False, slots=True)
class Feed:
    """Outputs read in one way, over one span."""

    engine: weakref.ref[Engine[Any, Any]]
    slots: dict[Hashable, Slot] = field(default_factory=dict)
    tick: int = 0
    """How many outputs were read."""
    iteration: int = -1
    """Of the engine, when the last one was read."""
    readings: list[Reading] = field(default_factory=list)
    """The last one, until all have seen it."""
    num_waiting: int = 0
    """How many have not."""
    num_users: int = 0

    def begin(self) -> None:
        """A user begins or ends a span: what was read before is gone."""
        self.readings = []
        self.iteration = -1
        self.num_users = len({token for slot in self.slots.values() for token in slot.users.tokens})

    def leave(self, token: int) -> None:
        """A user is detached."""
        for slot in self.slots.values():
            slot.users.tokens.discard(token)
            slot.names.pop(token, None)
        self.begin()


@dataclass(eq=False, slots=True)
class Binding:
    """The part of one metric in a feed."""

    feed: Feed
    slots: list[Slot]
    token: int
    tick: int
    """Of the feed, when the metric last had its turn."""

    @property
    def statistics(self) -> list[Statistic]:
        """What is accumulated for the metric in the current span."""
        return [slot.statistic for slot in self.slots]

    def take_turn(self, engine: Engine[Any, Any], view: View) -> list[Reading]:
        """The output of this iteration, read by the first who asks and let go with the last."""
        feed, iteration = self.feed, engine.state.iteration
        # Whoever has its second turn, or comes in another iteration, is the first to see a new output.
        if self.tick == feed.tick or iteration != feed.iteration:
            feed.tick += 1
            feed.iteration, feed.num_waiting, feed.readings = iteration, feed.num_users, []
            feed.readings = [Reading(output) for output in view._read(engine)]
        self.tick = feed.tick
        readings = feed.readings
        feed.num_waiting -= 1
        if feed.num_waiting <= 0:
            feed.readings = []
        return readings

    def update(self, engine: Engine[Any, Any], view: View) -> None:
        """Accumulates the output of this iteration, as far as nobody has done so."""
        readings = self.take_turn(engine, view)
        for reading in readings:
            view._inspect(reading)
        tick = self.tick
        for slot in self.slots:
            if slot.tick == tick:
                continue
            slot.tick = tick
            with torch.no_grad():
                for reading in readings:
                    slot.statistic.update(reading)


@dataclass(eq=False, slots=True)
class Reduction:
    """The metrics whose values are computed at one event, and what all processes hold together for them."""

    members: list[weakref.ref[Any]] = field(default_factory=list)
    callers: Round = field(default_factory=Round)
    combined: dict[Hashable, Any] = field(default_factory=dict)

    def add(self, metric: Any) -> None:
        """One more metric is computed at the event."""
        if not any(member() is metric for member in self.members):
            self.members.append(weakref.ref(metric))

    def remove(self, metric: Any) -> None:
        """A metric is detached."""
        self.members = [member for member in self.members if member() not in (metric, None)]

    def alive(self) -> list[Any]:
        """The metrics, in the order in which they were attached."""
        return [metric for metric in (member() for member in self.members) if metric is not None]


@dataclass(eq=False, slots=True)
class Board:
    """All that the metrics of one engine share."""

    feeds: dict[Hashable, Feed] = field(default_factory=dict)
    reductions: dict[Hashable, Reduction] = field(default_factory=dict)


_boards: weakref.WeakKeyDictionary[Engine[Any, Any], Board] = weakref.WeakKeyDictionary()


def board_of(engine: Engine[Any, Any]) -> Board:
    """The board of an engine, which goes with it."""
    if engine not in _boards:
        _boards[engine] = Board()
    return _boards[engine]


def new_token() -> int:
    """A number that nobody else has."""
    return next(_tokens)


def event_key(event: Any) -> Hashable:
    """An event with its filter, comparable."""
    if isinstance(event, EventsList):
        return tuple(event_key(one) for one in event)
    return (str(getattr(event, "_name_", event)), getattr(event, "filter", None))


def span_key(usage: MetricUsage) -> Hashable:
    """What a usage has in common with those that reset, update and compute at the same events."""
    return tuple(event_key(event) for event in (usage.STARTED, usage.ITERATION_COMPLETED, usage.COMPLETED))


def reduction_of(engine: Engine[Any, Any], usage: MetricUsage) -> Reduction | None:
    """Who is computed together; None if metrics are updated at the very event, one after the other."""
    if not names_of(usage.ITERATION_COMPLETED).isdisjoint(names_of(usage.COMPLETED)):
        return None
    return board_of(engine).reductions.setdefault(event_key(usage.COMPLETED), Reduction())


def names_of(event: Any) -> set[str]:
    """The names of an event, or of several joined with ``|``."""
    return {str(getattr(one, "_name_", one)) for one in (event if isinstance(event, EventsList) else [event])}


def bind(
    engine: Engine[Any, Any], span: Hashable, reading: Hashable, wanted: list[Statistic], token: int, name: str
) -> Binding:
    """Begins a span of a metric, with statistics shared with those that want the same.

    Args:
        engine: who feeds it.
        span: see :func:`span_key`.
        reading: how the metric reads outputs; equal for those that read alike.
        wanted: statistics as the metric would accumulate them by itself.
        token: the metric's, the same in each span.
        name: the metric's, for descriptions.
    """
    feed = board_of(engine).feeds.setdefault((span, reading), Feed(weakref.ref(engine)))
    slots = []
    for statistic in wanted:
        slot = feed.slots.setdefault(statistic.key, Slot(statistic))
        slot.claim(token, name, statistic)
        slots.append(slot)
    feed.begin()
    return Binding(feed, slots, token, feed.tick)
