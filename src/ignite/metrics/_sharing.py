"""What the metrics of one engine share: outputs read once, statistics accumulated once, one reduction for all.

A *feed* belongs to a span (a usage) and a transform of outputs; its *slots* hold the statistics. A metric that begins a
span claims a slot for each statistic that it needs, and holds the slot, not the statistic, until its next span. Who
comes first at an event does the work of all. So nothing depends on which metrics there are, nor on the order in which
their handlers are called; and whoever is updated or reset by hand, or detached, goes on with a copy.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, EventsList
from ignite.metrics._outputs import is_pair
from ignite.metrics._usage import MetricUsage, names_of
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
    """A statistic over one span, and who shares it."""

    statistic: Statistic
    users: set[int] = field(default_factory=set)
    """Tokens."""
    tick: int = -1
    """Of the feed, when it was last updated."""
    inspectors: dict[int, weakref.ref[View]] = field(default_factory=dict)
    """Token -> one of the users, of those that take not all that the statistic takes."""

    def inspect(self, reading: Reading) -> None:
        """Raises if an output does not fit one of those who share the statistic: then it is counted for none."""
        for inspector in self.inspectors.values():
            view = inspector()
            if view is not None:
                view._inspect(reading, self.statistic)


@dataclass(eq=False, slots=True)
class Feed:
    """Outputs after one transform, over one usage."""

    engine: weakref.ref[Engine[Any, Any]]
    slots: dict[Hashable, Slot] = field(default_factory=dict)
    """Of the span that has begun last."""
    users: set[int] = field(default_factory=set)
    """Tokens of all who are fed."""
    tick: int = 0
    """How many outputs were read."""
    iteration: int = -1
    """Of the engine, when the last one was read."""
    reading: Reading | None = None
    """The last output, until all have seen it."""
    is_pair: bool = False
    """Whether it is a pair of tensors, which all metrics take as it is; others each picks apart in its own way."""
    num_waiting: int = 0
    """How many have not seen it."""

    def read(self, output: Any, iteration: int) -> Reading:
        """A new output."""
        self.tick += 1
        self.iteration, self.num_waiting = iteration, len(self.users)
        self.is_pair = is_pair(output)
        self.reading = reading = Reading(output)
        return reading

    def claim(self, key: Hashable, token: int, wanted: Statistic) -> Slot:
        """The slot of a statistic for a user whose span begins: that of others whose span has just begun, or a new one.

        Whoever claims again has begun another span; a slot that has been updated belongs to one under way.
        """
        slot = self.slots.get(key)
        if slot is None or token in slot.users or slot.tick >= 0:
            slot = self.slots[key] = Slot(wanted.fresh())
        else:
            slot.statistic.widen(wanted)
        slot.users.add(token)
        return slot

    def leave(self, binding: Binding) -> None:
        """A user goes on by itself."""
        for slot in binding.slots:
            slot.inspectors.pop(binding.token, None)
        if binding.token in self.users:
            self.users.discard(binding.token)
            if binding.tick != self.tick:
                self.num_waiting -= 1
        if self.num_waiting <= 0:
            self.reading = None


@dataclass(eq=False, slots=True)
class Binding:
    """The part of one metric in a feed, over one span."""

    feed: Feed
    slots: list[Slot]
    token: int
    tick: int
    """Of the feed, when the metric last had its turn."""

    def add_inspector(self, view: View) -> None:
        """Outputs have to fit ``view``."""
        self.slots[0].inspectors[self.token] = weakref.ref(view)

    @property
    def statistics(self) -> list[Statistic]:
        """What is accumulated for the metric."""
        return [slot.statistic for slot in self.slots]

    def is_ahead(self, iteration: int) -> bool:
        """Whether the output of this iteration is accumulated, although the metric has not had its turn."""
        feed = self.feed
        is_counted = any(slot.tick == feed.tick for slot in self.slots)
        return is_counted and feed.iteration == iteration and self.tick != feed.tick

    def take_turn(self, engine: Engine[Any, Any], view: View) -> Reading | None:
        """The output of this iteration, read by the first who asks and let go with the last.

        None if the metric has had its turn in this iteration: it was called by hand.
        """
        feed, iteration = self.feed, engine.state.iteration
        reading = feed.reading
        if iteration != feed.iteration:
            reading = feed.read(view._output_transform(engine.state.output), iteration)
        elif self.tick == feed.tick:
            return None
        elif reading is None:  # it was let go too early, because of somebody who came late
            reading = feed.read(view._output_transform(engine.state.output), iteration)
        self.tick = feed.tick
        feed.num_waiting -= 1
        if feed.num_waiting <= 0:
            feed.reading = None
        return reading


@dataclass(eq=False, slots=True)
class Reduction:
    """The metrics whose values are computed at one event, and what all processes hold together for them."""

    members: list[weakref.ref[Any]] = field(default_factory=list)
    published: set[Hashable] = field(default_factory=set)
    """Who will ask for a value at the event: (id of the metric, name)."""
    callers: Round = field(default_factory=Round)
    combined: dict[Hashable, Any] = field(default_factory=dict)

    def add(self, metric: Any) -> None:
        """One more metric is computed at the event."""
        if not any(member() is metric for member in self.members):
            self.members.append(weakref.ref(metric))

    def remove(self, metric: Any) -> None:
        """A metric is detached."""
        self.members = [member for member in self.members if member() not in (metric, None)]

    def withdraw(self, metric: Any) -> None:
        """Nobody asks for the values of a metric any more."""
        self.published = {key for key in self.published if key[0] != id(metric)}  # type: ignore[index]

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


def bind(
    engine: Engine[Any, Any],
    span: Hashable,
    reading: tuple[Hashable, ...],
    wanted: list[Statistic],
    token: int,
) -> Binding:
    """Begins a span of a metric, with statistics shared with those that want the same.

    Args:
        engine: who feeds it.
        span: see :func:`span_key`.
        reading: how the metric reads outputs, its transform first; equal for those that read alike.
        wanted: statistics as the metric would accumulate them by itself.
        token: the metric's, the same in each span.
    """
    transform, *how = reading
    feeds = board_of(engine).feeds
    feed = feeds.get((span, transform)) or feeds.setdefault((span, transform), Feed(weakref.ref(engine)))
    slots = [feed.claim((statistic.key, *how), token, statistic) for statistic in wanted]
    feed.users.add(token)
    feed.iteration = -1  # iterations may count from the start again
    return Binding(feed, slots, token, feed.tick)


def bind_alone(engine: Engine[Any, Any], wanted: list[Statistic], token: int) -> Binding:
    """Begins a span of a metric that joins an engine under way, and has to count from there: it shares nothing."""
    feed = Feed(weakref.ref(engine), users={token})
    return Binding(feed, [Slot(statistic.fresh()) for statistic in wanted], token, feed.tick)
