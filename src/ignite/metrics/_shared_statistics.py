"""Metrics that are computed from statistics, and how the metrics of one engine share statistics.

A :class:`View` declares the statistics that it needs and computes its value from them. Attached
views with the same usage and output transform share one :class:`SharedOutputs`, which reads each
output once. Those that declare equal statistics share one :class:`SharedStatistic`: the first view
that is called in an iteration updates it, and the others skip the update. At the beginning of each
span (the time from one reset to the next, usually an epoch) each view gets a new
:class:`Subscription` to what it shares. A value therefore does not depend on which other metrics
are attached, nor on the order of their handlers. A view that is updated or reset by hand, copied or
detached continues with its own copy of the statistics. For the reduction over processes, see
:mod:`ignite.metrics._reduction`.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics._ignite_states import IgniteStates
from ignite.metrics._outputs import as_pair, identity
from ignite.metrics._reduction import combined
from ignite.metrics._saved_state import (
    attributes_to_state,
    identity_of,
    load_statistics,
    statistics_to_state,
)
from ignite.metrics.metric import Attachment, Metric
from ignite.metrics.statistics import Reading, Statistic
from ignite.metrics.statistics._statistic import is_pair, leaves_inference_mode, update_all


@dataclass(eq=False, slots=True)
class SharedStatistic:
    """A statistic over one span, and the views that share it."""

    statistic: Statistic
    users: set[Attachment] = field(default_factory=set)
    num_read: int = -1
    """``SharedOutputs.num_read`` at the last update; -1 before the first."""
    inspectors: dict[Attachment, weakref.ref[View]] = field(default_factory=dict)
    """The users that define ``_inspect``, and so refuse some outputs that the statistic accepts."""

    def inspect(self, reading: Reading) -> None:
        """Raises if one of the users refuses the output. It is then not counted for any of them."""
        for inspector in self.inspectors.values():
            view = inspector()
            if view is not None:
                view._inspect(reading, self.statistic)


@dataclass(eq=False, slots=True)
class SharedOutputs:
    """The outputs of an engine, for all views with the same usage and output transform.

    The first view that is called reads an output; the last one releases it.
    """

    engine: weakref.ref[Engine[Any, Any]]
    statistics: dict[Hashable, SharedStatistic] = field(default_factory=dict)
    """Key -> statistic of the latest span."""
    users: set[Attachment] = field(default_factory=set)
    num_read: int = 0
    """How many outputs have been read."""
    iteration: int = -1
    """The engine's iteration when the latest output was read."""
    reading: Reading | None = None
    """The latest output, until all users have seen it."""
    is_pair: bool = False
    """Whether it is a pair of tensors. Views may parse other outputs in their own ways."""
    num_waiting: int = 0
    """How many users have not seen it."""

    @classmethod
    def of(cls, engine: Engine[Any, Any], span: Hashable, transform: Hashable) -> SharedOutputs:
        """Returns those of ``engine`` for this span and transform, creating them on first use."""
        known = _outputs.setdefault(engine, {})
        if (span, transform) not in known:
            known[span, transform] = cls(weakref.ref(engine))
        return known[span, transform]

    def read(self, output: Any, iteration: int) -> Reading:
        """Replaces the latest output with a new one."""
        self.num_read += 1
        self.iteration, self.num_waiting = iteration, len(self.users)
        self.is_pair = is_pair(output)
        self.reading = reading = Reading(output)
        return reading

    def share(self, key: Hashable, user: Attachment, wanted: Statistic) -> SharedStatistic:
        """Returns the statistic for a user whose span begins.

        It is shared with users whose span has just begun, too. Otherwise it is new: a statistic
        that this user has already, or that has been updated, belongs to an earlier span.
        """
        shared = self.statistics.get(key)
        if shared is None or user in shared.users or shared.num_read >= 0:
            shared = self.statistics[key] = SharedStatistic(wanted.fresh())
        else:
            shared.statistic.widen(wanted)
        shared.users.add(user)
        return shared


_outputs: weakref.WeakKeyDictionary[Engine[Any, Any], dict[Hashable, SharedOutputs]] = (
    weakref.WeakKeyDictionary()
)


@dataclass(eq=False, slots=True)
class Subscription:
    """What one view shares with others over one span."""

    outputs: SharedOutputs
    shared: list[SharedStatistic]
    user: Attachment
    num_read: int
    """``outputs.num_read`` when the view last saw an output."""

    @classmethod
    def begun(
        cls,
        engine: Engine[Any, Any],
        user: Attachment,
        reading_key: tuple[Hashable, ...],
        wanted: list[Statistic],
    ) -> Subscription:
        """Begins a span with shared statistics.

        Args:
            engine: the engine that the view is attached to.
            user: the view's attachment to ``engine``.
            reading_key: equal for views that read outputs alike. The first item is the output
                transform.
            wanted: the statistics that the view declares.
        """
        transform, *parsing = reading_key
        outputs = SharedOutputs.of(engine, user.span, transform)
        shared = [outputs.share((statistic.key, *parsing), user, statistic) for statistic in wanted]
        outputs.users.add(user)
        outputs.iteration = -1  # a new run may count iterations from 1 again
        return cls(outputs, shared, user, outputs.num_read)

    @classmethod
    def alone(
        cls, engine: Engine[Any, Any], user: Attachment, wanted: list[Statistic]
    ) -> Subscription:
        """Begins a span in the middle of a run, without sharing."""
        outputs = SharedOutputs(weakref.ref(engine), users={user})
        return cls(
            outputs,
            [SharedStatistic(statistic.fresh()) for statistic in wanted],
            user,
            outputs.num_read,
        )

    def end(self) -> None:
        """Stops sharing."""
        outputs = self.outputs
        for shared in self.shared:
            shared.inspectors.pop(self.user, None)
        if self.user in outputs.users:
            outputs.users.discard(self.user)
            if self.num_read != outputs.num_read:
                outputs.num_waiting -= 1
        if outputs.num_waiting <= 0:
            outputs.reading = None

    @property
    def statistics(self) -> list[Statistic]:
        """The statistics that the view is computed from."""
        return [shared.statistic for shared in self.shared]

    def is_ahead(self, iteration: int) -> bool:
        """Returns whether the view was not called yet in an iteration that is counted already."""
        outputs = self.outputs
        is_counted = any(shared.num_read == outputs.num_read for shared in self.shared)
        return is_counted and outputs.iteration == iteration and self.num_read != outputs.num_read

    def next_reading(self, engine: Engine[Any, Any], view: View) -> Reading | None:
        """Returns the output of this iteration, or None if the view has seen it already.

        The view is called a second time in an iteration only if a user does so.
        """
        outputs, iteration = self.outputs, engine.state.iteration
        is_new = iteration != outputs.iteration
        if not is_new and self.num_read == outputs.num_read:
            return None
        reading = outputs.reading
        # It is None if it was released before this view, which was attached late, was called.
        if is_new or reading is None:
            output, transform = engine.state.output, view._output_transform
            reading = outputs.read(
                output if transform is identity else transform(output), iteration
            )
        self.num_read = outputs.num_read
        outputs.num_waiting -= 1
        if outputs.num_waiting <= 0:
            outputs.reading = None
        return reading


class View(IgniteStates, Metric):
    """A metric that is computed from statistics, which it shares with other metrics of its engine.

    Subclasses define ``_declare``, which returns the statistics to accumulate, and ``_value``,
    which computes the value from them. Attributes that ``_declare`` uses must be set before
    ``super().__init__()``.
    """

    _calls_user_code: ClassVar[bool] = False
    """Whether statistics call a function of the user, so that autograd has to be disabled.

    The functions of this package detach their inputs instead.
    """
    _takes_numbers: ClassVar[bool] = False
    """Whether an output that is a number or a single tensor is accepted unchanged."""
    _inspects: ClassVar[bool] = False
    """Whether the class overrides ``_inspect``."""
    _needs_examples: ClassVar[bool] = True
    """Whether ``compute`` raises if there is no example."""
    _ENGINE_ATTRIBUTES = (*Metric._ENGINE_ATTRIBUTES, "_subscriptions")
    _own: list[Statistic]
    """The statistics that ``update`` updates, and ``compute`` reads if there is no subscription."""
    _subscriptions: list[Subscription]
    """One for each engine that has begun a span. ``compute`` uses the last one."""
    _counted_iteration: tuple[weakref.ref[Engine[Any, Any]], int] | None
    """An engine and the iteration of it that is already counted in a copy of shared statistics."""
    _cached_value: tuple[list[tuple[Statistic, int]], Any] | None
    """The last value, with the statistics that it was computed from and their versions."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._inspects = cls._inspect is not View._inspect

    @abstractmethod
    def _declare(self) -> list[Statistic]:
        """Returns new statistics to accumulate, on the device ``self._accumulates_on``."""

    @abstractmethod
    def _value(self, *statistics: Any) -> Any:
        """Computes the value from the statistics of ``_declare`` without changing them."""

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        """Raises if the metric refuses an output that ``statistic``, its first one, accepts."""

    def _reset_extra_state(self) -> None:
        """Resets what a subclass keeps beside statistics."""

    def _prepare(self) -> None:
        View.reset(self)

    def reset(self) -> None:
        """Clears everything that was accumulated."""
        for subscription in self.__dict__.get("_subscriptions", ()):
            subscription.end()
        self._own, self._subscriptions, self._cached_value, self._counted_iteration = (
            leaves_inference_mode(self._declare)(),
            [],
            None,
            None,
        )
        self._reset_extra_state()

    def update(self, output: Any) -> None:
        """Updates the metric with the output of one batch. On errors, the metric is unchanged."""
        if len(self._own) > 1 or not is_pair(output):
            self._update_with([output])
            return
        reading = Reading(output)  # a fast path of _update_with for the usual case
        if self._subscriptions:
            self._unsubscribe()
        if self._inspects:
            self._inspect(reading, self._own[0])
        self._own[0].update(reading)

    def _update_with(self, outputs: list[Any]) -> None:
        """Updates the metric with all outputs, or with none if one of them is refused."""
        readings = [Reading(self._accepted(output)) for output in outputs]
        self._unsubscribe()
        for reading in readings:
            self._inspect(reading, self._own[0])
        update_all([(statistic, reading) for statistic in self._own for reading in readings])

    def _accepted(self, output: Any) -> Any:
        """Converts an argument of ``update`` into the form that the statistics read."""
        if is_pair(output):
            return output
        return self._read_output(self._pick(output) if isinstance(output, Mapping) else output)

    def _read_output(self, output: Any) -> Any:
        """Converts an output that is neither a mapping nor a pair of tensors, or raises."""
        return as_pair(output, type(self).__name__)

    def compute(self) -> Any:
        """Returns the value over everything since the last reset, on all processes.

        Raises:
            NotComputableError: the metric has not been updated.
        """
        current = self._statistics_in_use()
        versions = [(statistic, statistic.version) for statistic in current]
        if self._cached_value is not None and self._cached_value[0] == versions:
            return _map_tensors(Tensor.clone, self._cached_value[1])
        reduced = combined(current, self._synced)
        for statistic in reduced:
            self._check(statistic)
        if self._needs_examples and not any(statistic.num_examples for statistic in reduced):
            raise NotComputableError(
                f"{self._name()} must have at least one example before it can be computed."
            )
        value = _map_tensors(lambda tensor: tensor.to(self._device), self._value(*reduced))
        # Not cached if it is reduced over processes: a process with new examples would wait in the
        # reduction for processes without any, which would return their cached value.
        self._cached_value = (versions, value) if reduced == current else None
        return _map_tensors(Tensor.clone, value)  # users may change it; the cache must not

    def _check(self, statistic: Statistic) -> None:
        """Raises errors that ``update`` leaves for later so as not to wait for an accelerator."""
        statistic.check()

    def _name(self) -> str:
        return type(self).__name__

    def _statistics_in_use(self) -> list[Statistic]:
        return self._subscriptions[-1].statistics if self._subscriptions else self._own

    @property
    def _merges_states(self) -> bool:  # type: ignore[override]
        return not self._saved_attributes()

    def _state(self) -> OrderedDict[str, Any]:
        """Returns what was accumulated: as statistics, and once more as Ignite saves it."""
        state = statistics_to_state(self._own_copies(), identity_of(type(self), self._own))
        state.update(attributes_to_state(self, self._saved_attributes()))
        state.update(self._to_ignite())
        return state

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        states = [self._in_own_form(state) for state in states]
        own, extra_keys = leaves_inference_mode(self._declare)(), self._saved_attributes()
        if states:
            left_out = {*extra_keys, *self._ignite_names()}
            of_statistics = [
                {key: value for key, value in state.items() if key not in left_out}
                for state in states
            ]
            load_statistics(own, of_statistics, identity_of(type(self), self._own))
            self._check_loaded(own[0])
        extra: list[Mapping[str, Any]] = [
            OrderedDict((key, state[key]) for key in extra_keys) for state in states
        ]
        self.reset()
        self._own = own
        if extra_keys and extra:
            super()._set_state(extra)

    def _check_loaded(self, statistic: Any) -> None:
        """Raises ValueError if the first statistic, which was loaded, does not fit this metric."""

    # Sharing: see the top of this module.

    def started(self, engine: Engine[Any, Any]) -> None:
        """Begins a span, with shared statistics if possible."""
        attachment, reading_key = self._attachments.get(engine), self._reading_key()
        if attachment is None or reading_key is None:
            self.reset()
            return
        self._cached_value = self._counted_iteration = None
        self._reset_extra_state()
        subscription = self._inspecting(
            Subscription.begun(engine, attachment, reading_key, self._own)
        )
        others = [known for known in self._subscriptions if known.outputs.engine() is not engine]
        self._subscriptions = [*others, subscription]

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Accumulates the engine's output, unless another metric has done so in this iteration."""
        subscriptions = self._subscriptions
        subscription = subscriptions[-1] if subscriptions else None
        if subscription is None or subscription.outputs.engine() is not engine:
            subscription = self._find_subscription(engine)
        reading = None if subscription is None else subscription.next_reading(engine, self)
        if subscription is None or reading is None:
            self._update_alone(engine)
            return
        is_plain = subscription.outputs.is_pair or (
            self._takes_numbers and type(reading.output) in _NUMBERS
        )
        if not is_plain or self._calls_user_code:
            with torch.no_grad():
                self._update_shared(
                    [Reading(self._accepted(each)) for each in self._parse(reading.output)],
                    subscription,
                )
            return
        # A fast path of _update_shared: this is called for each metric in each iteration.
        shared, num_read = subscription.shared, subscription.num_read
        if len(shared) > 1:
            self._update_shared([reading], subscription)
        elif shared[0].num_read != num_read:
            if shared[0].inspectors:
                shared[0].inspect(reading)
            shared[0].num_read = num_read
            shared[0].statistic.update(reading)

    def _update_shared(self, readings: list[Reading], subscription: Subscription) -> None:
        """Updates the statistics that have not seen this iteration: with all readings, or none."""
        behind = [
            shared for shared in subscription.shared if shared.num_read != subscription.num_read
        ]
        for shared in behind:
            for reading in readings:
                shared.inspect(reading)
        for shared in behind:
            shared.num_read = subscription.num_read
        update_all([(shared.statistic, reading) for shared in behind for reading in readings])

    def _update_alone(self, engine: Engine[Any, Any]) -> None:
        """Accumulates an output without sharing, unless the view's copy has counted it already."""
        counted, self._counted_iteration = self._counted_iteration, None
        if counted is not None and counted[0]() is engine and counted[1] == engine.state.iteration:
            return
        if type(self).update is not View.update:
            super().iteration_completed(engine)
            return
        with torch.no_grad():
            self._update_with(self._read(engine))

    def _select_engine(self, engine: Engine[Any, Any]) -> None:
        self._find_subscription(engine)

    def _find_subscription(self, engine: Engine[Any, Any]) -> Subscription | None:
        """Returns the subscription of ``engine``, which ``compute`` uses from now on."""
        subscriptions = self._subscriptions
        for i, subscription in enumerate(subscriptions):
            if subscription.outputs.engine() is engine:
                subscriptions.append(subscriptions.pop(i))
                return subscription
        attachment = self._attachments.get(engine)
        if not subscriptions or attachment is None:
            return None
        # Attached to another engine, too, whose outputs must not be mixed with those of this one.
        subscriptions.append(self._inspecting(Subscription.alone(engine, attachment, self._own)))
        return subscriptions[-1]

    def _inspecting(self, subscription: Subscription) -> Subscription:
        """Returns ``subscription``, in which ``_inspect`` of this view can now refuse outputs."""
        if self._inspects:
            subscription.shared[0].inspectors[subscription.user] = weakref.ref(self)
        return subscription

    def _reading_key(self) -> tuple[Hashable, ...] | None:
        """Returns a key that is equal for views that read outputs alike.

        None if the view cannot share, because its class overrides a method that sharing relies on,
        or because its output transform is not hashable.
        """
        methods = ("update", "reset", "started", "iteration_completed", "_read", "_parse")
        if any(getattr(type(self), name) is not getattr(View, name) for name in methods):
            return None
        key = (
            self._output_transform,
            self.required_output_keys,
            self._skip_unrolling,
            type(self)._pick,
        )
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def describe_handler(self, engine: Engine[Any, Any], handler: str) -> str:
        """Names, for ``engine.describe()``, the statistics and the metrics that share them."""
        if handler != "iteration_completed":
            return ""
        notes = []
        for key, text in self._shared_keys(engine).items():
            others = [
                view
                for view in _views_of(engine)
                if view is not self and key in view._shared_keys(engine)
            ]
            names = ", ".join(dict.fromkeys(type(other).__name__ for other in others))
            notes.append(f"{text} shared with {names}" if names else text)
        return "; ".join(notes)

    def _shared_keys(self, engine: Engine[Any, Any]) -> dict[Hashable, str]:
        """Maps a key, equal for statistics that are shared, to a text for each statistic."""
        attachment, reading_key = self._attachments.get(engine), self._reading_key()
        if attachment is None or reading_key is None:
            return {}
        return {(attachment.span, reading_key, own.key): str(own) for own in self._own}

    def _unsubscribe(self) -> None:
        """Stops sharing, and continues with a copy of what was shared."""
        if not self._subscriptions:
            return
        subscription = self._subscriptions[-1]
        engine = subscription.outputs.engine()
        if engine is not None and subscription.is_ahead(engine.state.iteration):
            self._counted_iteration = (subscription.outputs.engine, engine.state.iteration)
        self._own = self._own_copies()
        for known in self._subscriptions:
            known.end()
        self._subscriptions = []

    def _on_detach(self, engine: Engine[Any, Any], attachment: Attachment) -> None:
        for subscription in [
            known for known in self._subscriptions if known.outputs.engine() is engine
        ]:
            if len(self._subscriptions) == 1:
                self._unsubscribe()
            else:
                subscription.end()
                self._subscriptions.remove(subscription)

    def __getstate__(self) -> dict[str, Any]:
        """Includes a copy of the shared statistics as the metric's own."""
        own = {
            "_own": self._own_copies(),
            "_subscriptions": [],
            "_cached_value": None,
            "_counted_iteration": None,
        }
        return {**super().__getstate__(), **own}

    def _own_statistic(self) -> Any:
        """Returns the first statistic, no longer shared, for a :class:`StatisticPart` to write to."""
        self._unsubscribe()
        return self._own[0]

    @contextmanager
    def _with_attributes(self, values: Mapping[str, Any]) -> Iterator[None]:
        kept = self._own, self._subscriptions
        self._own, self._subscriptions = self._own_copies(), []
        try:
            with super()._with_attributes(values):
                yield
        finally:
            self._own, self._subscriptions = kept

    def _own_copies(self) -> list[Statistic]:
        """Returns copies of the statistics, without what only other metrics need."""
        pairs = zip(self._statistics_in_use(), self._own, strict=True)
        return [found.narrowed(own) for found, own in pairs]


_NUMBERS = (float, int, Tensor)


def _views_of(engine: Engine[Any, Any]) -> list[View]:
    """Returns the views that are attached to an engine, each once."""
    owners = [getattr(entry.handler, "__self__", None) for entry in engine.handlers_of()]
    return list({id(owner): owner for owner in owners if isinstance(owner, View)}.values())


def _map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Applies ``function`` to the tensors in ``value``, also to those in tuples, lists and mappings."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple(_map_tensors(function, item) for item in value)
    if isinstance(value, list):
        return [_map_tensors(function, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _map_tensors(function, item) for key, item in value.items()}
    return value
