"""Views: metrics that are computed from statistics.

A :class:`View` declares the statistics that it needs and computes its value from them. Views that
are attached to one engine share them, see :mod:`ignite.metrics._shared_statistics`. A view that is
updated or reset by hand, copied or detached continues with its own copy of the statistics. For the
reduction over processes, see :mod:`ignite.metrics._reduction`.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite import distributed
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics._outputs import as_pair
from ignite.metrics._reduction import combined
from ignite.metrics._saved_state import (
    IgniteStates,
    attributes_to_state,
    identity_of,
    load_statistics,
    statistics_to_state,
)
from ignite.metrics._shared_statistics import Subscription
from ignite.metrics.metric import Attachment, Metric
from ignite.metrics.statistics import Reading, Statistic
from ignite.metrics.statistics._statistic import (
    UnsharedReading,
    is_pair,
    leaves_inference_mode,
    update_all,
)


class View(IgniteStates, Metric):
    """A metric that is computed from statistics, which it shares with other metrics of its engine.

    Subclasses define ``_declare``, which returns the statistics to accumulate, and ``_value``,
    which computes the value from them. Attributes that ``_declare`` uses must be set before
    ``super().__init__()``.
    """

    _calls_user_code: ClassVar[bool] = False
    """Whether statistics call a user's function, so that autograd must be disabled.

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
    """An engine and its iteration that is already counted in a copy of shared statistics."""
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
        """Resets the values that a subclass has in addition to statistics."""

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
        # A fast path of _update_with for the usual case.
        if self._subscriptions:
            self._unsubscribe()
        if not self._inspects:
            self._own[0].update(UnsharedReading(output))
            return
        reading = Reading(output)
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
        is_alone = distributed.get_world_size() == 1
        reduced = current if is_alone else combined(current, self._synced)
        for statistic in reduced:
            self._check(statistic)
        if self._needs_examples and not any(statistic.num_examples for statistic in reduced):
            raise NotComputableError(
                f"{self._name()} must have at least one example before it can be computed."
            )
        value = _map_tensors(lambda tensor: tensor.to(self._device), self._value(*reduced))
        # A value reduced over processes is not cached: a process with new examples would wait in the
        # reduction for processes without any, which would return their cached value.
        self._cached_value = (versions, value) if reduced == current else None
        return _map_tensors(Tensor.clone, value)  # users may modify it, but not the cache

    def _check(self, statistic: Statistic) -> None:
        """Raises errors that ``update`` has deferred, to avoid synchronizing with an accelerator."""
        statistic.check()

    def _name(self) -> str:
        return type(self).__name__

    def _statistics_in_use(self) -> list[Statistic]:
        return self._subscriptions[-1].statistics if self._subscriptions else self._own

    @property
    def _merges_states(self) -> bool:  # type: ignore[override]
        return not self._saved_attributes()

    def _state(self) -> OrderedDict[str, Any]:
        """Returns the accumulated values, both as statistics and in the form of Ignite."""
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
        """Raises ValueError if the first statistic, which was loaded, does not match this metric."""

    # Sharing: see ignite.metrics._shared_statistics.

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
        reading = (
            None
            if subscription is None
            else subscription.next_reading(engine, self._output_transform)
        )
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
        """Updates the statistics that have not counted this iteration, with all readings or none."""
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
        """Returns the subscription of ``engine``, and makes ``compute`` use it."""
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
        """Returns ``subscription``, after enabling ``_inspect`` of this view to refuse outputs."""
        if self._inspects:
            subscription.shared[0].inspectors[subscription.user] = weakref.ref(self)
        return subscription

    def _reading_key(self) -> tuple[Hashable, ...] | None:
        """Returns a key that is equal for views that parse outputs in the same way.

        None if the view cannot share, because its class overrides a method on which sharing relies,
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
        """Stops sharing, and continues with a copy of the shared statistics."""
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
        """Returns copies of the statistics, without the values that only other metrics need."""
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
