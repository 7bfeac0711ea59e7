"""How metrics attach to engines: over one span each, by a twin over a second one, and as ingredients of others."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ignite.engine import Engine, Events, EventsList
from ignite.metrics._sharing import new_token, reduction_of, span_key
from ignite.metrics._usage import EpochWise, MetricUsage, check_usage, names_of

AnyEngine = Engine[Any, Any]


@dataclass(eq=False, slots=True)
class Attachment:
    """How a metric is attached to one engine."""

    usage: MetricUsage
    token: int = field(default_factory=new_token)
    """Tells the metric from others in what they share."""
    users: set[int] = field(default_factory=set)
    """Ids of the metrics that need it fed: itself, and those that it is an ingredient of."""
    is_withdrawn: bool = False
    """Whether it was detached, and is fed for the others only."""


class Attaching:
    """Attaching and detaching, for metrics."""

    started: Callable[[AnyEngine], None]
    iteration_completed: Callable[[AnyEngine], None]
    completed: Callable[..., None]
    reset: Callable[[], None]

    def attach(self, engine: AnyEngine, name: str, usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Lets ``engine`` feed the metric, and put its value into ``engine.state.metrics[name]``.

        A metric that is attached under several names is updated once. One that is attached over several spans has a
        twin for each but the first, and accumulates separately.

        Args:
            engine: gives the outputs.
            name: under which the value is found.
            usage: over which span; an epoch by default.

        Raises:
            TypeError: ``usage`` is neither a usage nor the name of one.
            ValueError: there is no usage of this name.
        """
        usage = check_usage(usage)
        for event in (*self._events(usage), usage.COMPLETED):
            _check_registered(engine, event)
        member = self._member_for(engine, usage)
        member._feed(engine, usage)
        entries = [entry for event in names_of(usage.COMPLETED) for entry in engine._tables[event].entries]
        # A second time under the same name would compute the same value again.
        if not any(entry.handler == member.completed and entry.args == (name,) for entry in entries):
            engine.add_event_handler(usage.COMPLETED, member.completed, name)
            reduction = reduction_of(engine, usage)
            if reduction is not None:
                reduction.published.add((id(member), name))

    def detach(self, engine: AnyEngine, usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Ends what ``attach`` with this usage has begun, under all names. Values stay where they are.

        The metric goes on being fed as long as another one is computed from it.
        """
        usage = check_usage(usage)
        member = self._member(engine, usage)
        if member._is_taken(engine, usage):
            return
        _remove(engine, member.completed, usage.COMPLETED)
        reduction = reduction_of(engine, usage)
        if reduction is not None:
            reduction.withdraw(member)
        member._starve(engine, usage)
        if engine in member._attachments:
            member._attachments[engine].is_withdrawn = True
        self._twins.get(engine, {}).pop(span_key(usage), None)

    def is_attached(self, engine: AnyEngine, usage: str | MetricUsage = EpochWise()) -> bool:  # noqa: B008
        """Whether ``engine`` computes the metric with this usage."""
        usage = check_usage(usage)
        member = self._member(engine, usage)
        if member._is_taken(engine, usage):
            return False
        return engine.has_event_handler(member.completed, usage.COMPLETED) and member._is_fed(engine, usage)

    def _feed(self, engine: AnyEngine, usage: MetricUsage, user: Any = None) -> None:
        """Lets ``engine`` feed the metric, for itself or for one that is computed from it."""
        for event, handler in self._feeding(usage):
            if not engine.has_event_handler(handler, event):
                engine.add_event_handler(event, handler)
        attachment = self._attachments.setdefault(engine, Attachment(usage))
        attachment.users.add(id(self if user is None else user))
        attachment.is_withdrawn = False
        reduction = reduction_of(engine, usage)
        if reduction is not None:
            reduction.add(self)

    def _starve(self, engine: AnyEngine, usage: MetricUsage, user: Any = None) -> None:
        """Ends what ``_feed`` has begun, unless somebody else needs the metric."""
        if not self._is_over(engine, usage):
            return
        attachment = self._attachments[engine]
        attachment.users.discard(id(self if user is None else user))
        if attachment.users:
            return
        for event, handler in self._feeding(usage):
            _remove(engine, handler, event)
        self._leave(engine, attachment)
        del self._attachments[engine]
        reduction = reduction_of(engine, usage)
        if reduction is not None:
            reduction.remove(self)

    def _is_fed(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        return all(engine.has_event_handler(handler, event) for event, handler in self._feeding(usage))

    def _is_withdrawn(self, engine: AnyEngine) -> bool:
        return engine in self._attachments and self._attachments[engine].is_withdrawn

    def _leave(self, engine: AnyEngine, attachment: Attachment) -> None:
        """Ends what the metric shares with others of ``engine``."""

    def _feeding(self, usage: MetricUsage) -> list[tuple[Any, Callable[..., None]]]:
        return [(usage.STARTED, self.started), (usage.ITERATION_COMPLETED, self.iteration_completed)]

    def _events(self, usage: MetricUsage) -> list[Any]:
        """At which events it is fed."""
        return [event for event, _ in self._feeding(usage)]

    def _member_for(self, engine: AnyEngine, usage: MetricUsage) -> Self:
        """The member for this span, which is made if it is not there."""
        member = self._member(engine, usage)
        if member._is_taken(engine, usage):
            member = self._twin()
            self._twins.setdefault(engine, {})[span_key(usage)] = member
        return member

    def _member(self, engine: AnyEngine, usage: MetricUsage) -> Self:
        """This metric, or the twin of it that ``engine`` feeds over the span of ``usage``."""
        found: Self = self._twins.get(engine, {}).get(span_key(usage), self)
        return found

    def _is_over(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        """Whether ``engine`` feeds this metric over this span."""
        attachment = self._attachments.get(engine)
        return attachment is not None and span_key(attachment.usage) == span_key(usage)

    def _is_taken(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        """Whether ``engine`` feeds this metric over another span, so that it cannot accumulate over this one, too."""
        return engine in self._attachments and not self._is_over(engine, usage)

    def _twin(self) -> Self:
        """A metric with the same arguments, that has seen nothing."""
        twin = copy.deepcopy(self, self._functions())
        twin.reset()
        return twin

    def _begins_anew_with(self, engine: AnyEngine) -> bool:
        """Whether each run of ``engine`` resets the metric, so that its state need not outlive one."""
        attachment = self._attachments.get(engine)
        return attachment is not None and attachment.usage.STARTED in (Events.STARTED, Events.EPOCH_STARTED)

    def _functions(self) -> dict[int, Any]:
        """What a twin has in common with the metric, such as a loss module: id -> object."""
        return dict(_kept(vars(self)))

    @property
    def _attachments(self) -> weakref.WeakKeyDictionary[AnyEngine, Attachment]:
        found: weakref.WeakKeyDictionary[AnyEngine, Attachment]
        found = vars(self).setdefault("_attached", weakref.WeakKeyDictionary())
        return found

    @property
    def _twins(self) -> weakref.WeakKeyDictionary[AnyEngine, dict[Any, Any]]:
        found: weakref.WeakKeyDictionary[AnyEngine, dict[Any, Any]]
        found = vars(self).setdefault("_twinned", weakref.WeakKeyDictionary())
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to engines: copies of the metric are not attached."""
        return {name: value for name, value in vars(self).items() if name not in ("_attached", "_twinned")}


def _kept(value: Any) -> Iterator[tuple[int, Any]]:
    """The callable objects in a metric's attributes, also in those of metrics among them."""
    if isinstance(value, Attaching):
        yield from _kept(vars(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _kept(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _kept(item)
    elif callable(value):
        yield id(value), value


def _check_registered(engine: AnyEngine, event: Any) -> None:
    """Raises ValueError if ``engine`` does not know the event, before anything has been added."""
    for one in event if isinstance(event, EventsList) else [event]:
        engine._table_of(one)


def _remove(engine: AnyEngine, handler: Callable[..., None], event: Any) -> None:
    """Takes a handler off an event, or off each of several, where it is there."""
    for one in event if isinstance(event, EventsList) else [event]:
        if engine.has_event_handler(handler, one):
            engine.remove_event_handler(handler, one)
