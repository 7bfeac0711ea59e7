"""Metrics that are computed from statistics, and how those that are attached to one engine share them.

A metric on this base is a *view*: it declares the statistics that it needs, and computes its value
from them. While it is attached, it does not accumulate alone. All views with the same usage and
output transform share one
:class:`SharedOutputs`, which reads each output once. Among them, views that declare equal statistics share one
:class:`SharedStatistic`: the first that is called in an iteration updates it, the others see that this has been done.
When a span (for most usages an epoch) begins, each view gets a :class:`Subscription`, and keeps it
until its next span. So no value depends on which other metrics are attached or in which order their
handlers are called. A view that is updated or reset by hand, copied or detached goes on with a copy
of what it shared. Reducing over processes is in
:mod:`ignite.metrics._reduction`.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics._outputs import as_pair, identity
from ignite.metrics._reduction import combined
from ignite.metrics._saved_state import (
    IDENTITY,
    check_state,
    load_statistics,
    plain_parts,
    statistics_to_state,
)
from ignite.metrics.metric import Attachment, Metric
from ignite.metrics.statistics import Reading, Statistic
from ignite.metrics.statistics._statistic import is_pair, leaves_inference_mode, update_all


@dataclass(eq=False, slots=True)
class SharedStatistic:
    """A statistic over one span, for all metrics that need it."""

    statistic: Statistic
    users: set[Attachment] = field(default_factory=set)
    num_read: int = -1
    """Which output, counted by ``SharedOutputs``, it was last updated with; -1 before the first."""
    inspectors: dict[Attachment, weakref.ref[View]] = field(default_factory=dict)
    """Those of its users that refuse some of the outputs that the statistic takes."""

    def inspect(self, reading: Reading) -> None:
        """Raises if one of the users refuses an output: then it is counted for none."""
        for inspector in self.inspectors.values():
            view = inspector()
            if view is not None:
                view._inspect(reading, self.statistic)


@dataclass(eq=False, slots=True)
class SharedOutputs:
    """The outputs of an engine after one transform, over one usage: read by the first metric, let go by the last."""

    engine: weakref.ref[Engine[Any, Any]]
    statistics: dict[Hashable, SharedStatistic] = field(default_factory=dict)
    """Those of the span that has begun last."""
    users: set[Attachment] = field(default_factory=set)
    num_read: int = 0
    """How many outputs have been read."""
    iteration: int = -1
    """Iteration of the engine whose output was read last."""
    reading: Reading | None = None
    """The last output, until all users have seen it."""
    is_pair: bool = False
    """Whether it is a pair of tensors, which all metrics take as it is; each reads other outputs in its own way."""
    num_waiting: int = 0
    """How many users have not seen it."""

    @classmethod
    def of(cls, engine: Engine[Any, Any], span: Hashable, transform: Hashable) -> SharedOutputs:
        """Those of an engine; created when first asked for."""
        known = _outputs.setdefault(engine, {})
        if (span, transform) not in known:
            known[span, transform] = cls(weakref.ref(engine))
        return known[span, transform]

    def read(self, output: Any, iteration: int) -> Reading:
        """Begins a new output."""
        self.num_read += 1
        self.iteration, self.num_waiting = iteration, len(self.users)
        self.is_pair = is_pair(output)
        self.reading = reading = Reading(output)
        return reading

    def share(self, key: Hashable, user: Attachment, wanted: Statistic) -> SharedStatistic:
        """The statistic for a user whose span begins: that of others whose span has just begun, or a new one.

        A user that asks again begins another span, and a statistic that has been updated belongs to
        one under way.
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
    """The part of one metric in shared outputs and statistics, over one span."""

    outputs: SharedOutputs
    shared: list[SharedStatistic]
    user: Attachment
    num_read: int
    """Which output of ``outputs`` the metric has seen last."""

    @classmethod
    def begun(
        cls,
        engine: Engine[Any, Any],
        user: Attachment,
        reading_key: tuple[Hashable, ...],
        wanted: list[Statistic],
    ) -> Subscription:
        """Begins a span, with statistics shared with the metrics that want the same.

        Args:
            engine: feeds the metric.
            user: how the metric is attached to ``engine``.
            reading_key: how the metric reads outputs, its transform first; equal for metrics that
                read alike.
            wanted: the statistics that the metric alone would accumulate.
        """
        transform, *how = reading_key
        outputs = SharedOutputs.of(engine, user.span, transform)
        shared = [outputs.share((statistic.key, *how), user, statistic) for statistic in wanted]
        outputs.users.add(user)
        outputs.iteration = -1  # iterations may count from the start again
        return cls(outputs, shared, user, outputs.num_read)

    @classmethod
    def alone(
        cls, engine: Engine[Any, Any], user: Attachment, wanted: list[Statistic]
    ) -> Subscription:
        """Begins a span in the middle of a run: the metric counts from here, and shares nothing."""
        outputs = SharedOutputs(weakref.ref(engine), users={user})
        return cls(
            outputs,
            [SharedStatistic(statistic.fresh()) for statistic in wanted],
            user,
            outputs.num_read,
        )

    def end(self) -> None:
        """The metric goes on by itself."""
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
        """What is accumulated for the metric."""
        return [shared.statistic for shared in self.shared]

    def is_ahead(self, iteration: int) -> bool:
        """Whether the output of this iteration has been accumulated before the metric was called."""
        outputs = self.outputs
        is_counted = any(shared.num_read == outputs.num_read for shared in self.shared)
        return is_counted and outputs.iteration == iteration and self.num_read != outputs.num_read

    def next_reading(self, engine: Engine[Any, Any], view: View) -> Reading | None:
        """The output of this iteration; None if the metric has seen it: it was called by hand."""
        outputs, iteration = self.outputs, engine.state.iteration
        is_new = iteration != outputs.iteration
        if not is_new and self.num_read == outputs.num_read:
            return None
        reading = outputs.reading
        if is_new or reading is None:  # None: dropped before a metric that was attached late saw it
            output, transform = engine.state.output, view._output_transform
            reading = outputs.read(
                output if transform is identity else transform(output), iteration
            )
        self.num_read = outputs.num_read
        outputs.num_waiting -= 1
        if outputs.num_waiting <= 0:
            outputs.reading = None
        return reading


class View(Metric):
    """A metric that is computed from statistics, which it shares with other metrics of the same engine.

    Subclasses say in ``_declare`` what has to be accumulated, and in ``_value`` what follows from
    it. Attributes that ``_declare`` uses have to be set before ``super().__init__()``.
    """

    _calls_user_code: ClassVar[bool] = False
    """Whether what is accumulated comes from a function of the user, that might track gradients.

    Ours detach inputs.
    """
    _takes_numbers: ClassVar[bool] = False
    """Whether an output that is a number or a tensor is taken as it is."""
    _inspects: ClassVar[bool] = False
    """Whether the class has an ``_inspect`` of its own."""
    _needs_examples: ClassVar[bool] = True
    """Whether computing without any example is an error."""
    _ENGINE_ATTRIBUTES = (*Metric._ENGINE_ATTRIBUTES, "_subscriptions")
    _own: list[Statistic]
    """What was accumulated by ``update``; one that is attached and in a span has what its subscription holds."""
    _subscriptions: list[Subscription]
    """Of the spans that engines feed; the one in use last."""
    _counted_iteration: tuple[weakref.ref[Engine[Any, Any]], int] | None
    """An engine, and its iteration whose output a copy of what was shared has already."""
    _cached_value: tuple[list[tuple[Statistic, int]], Any] | None
    """The last value, with the statistics and their versions that it was computed from."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._inspects = cls._inspect is not View._inspect

    @abstractmethod
    def _declare(self) -> list[Statistic]:
        """What has to be accumulated: new statistics, on ``self._accumulates_on``."""

    @abstractmethod
    def _value(self, *statistics: Any) -> Any:
        """The value, from the statistics of ``_declare`` as they stand; it leaves them as they are."""

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        """Raises if an output does not fit this metric, although its first statistic, which is given, would take it."""

    def _begin(self) -> None:
        """Called when nothing has been seen yet, for what a subclass remembers beside statistics."""

    def reset(self) -> None:
        """Forgets all that was seen."""
        for subscription in self.__dict__.get("_subscriptions", ()):
            subscription.end()
        self._own, self._subscriptions, self._cached_value, self._counted_iteration = (
            leaves_inference_mode(self._declare)(),
            [],
            None,
            None,
        )
        self._begin()

    def update(self, output: Any) -> None:
        """Takes in the output of one batch, or raises and stays as it was."""
        if len(self._own) > 1 or not is_pair(output):
            self._update_with([output])
            return
        reading = Reading(output)  # as _update_with, but this is what usually comes
        if self._subscriptions:
            self._unsubscribe()
        if self._inspects:
            self._inspect(reading, self._own[0])
        self._own[0].update(reading)

    def _update_with(self, outputs: list[Any]) -> None:
        """Takes in all outputs, or none of them."""
        readings = [Reading(self._accepted(output)) for output in outputs]
        self._unsubscribe()
        for reading in readings:
            self._inspect(reading, self._own[0])
        update_all([(statistic, reading) for statistic in self._own for reading in readings])

    def _accepted(self, output: Any) -> Any:
        """An output as statistics read it, of what ``update`` is given."""
        if is_pair(output):
            return output
        return self._read_output(self._pick(output) if isinstance(output, Mapping) else output)

    def _read_output(self, output: Any) -> Any:
        """Likewise, of one that is neither a mapping nor what all metrics take.

        Raises unless it fits.
        """
        return as_pair(output, type(self).__name__)

    def compute(self) -> Any:
        """The value over all that was seen, on all processes.

        Raises:
            NotComputableError: nothing was.
        """
        current = self._statistics_in_use()
        versions = [(statistic, statistic.version) for statistic in current]
        if self._cached_value is not None and self._cached_value[0] == versions:
            return _fresh(self._cached_value[1])
        together = combined(current, self._synced)
        for statistic in together:
            self._check(statistic)
        if self._needs_examples and not any(statistic.num_examples for statistic in together):
            raise NotComputableError(
                f"{self._name()} must have at least one example before it can be computed."
            )
        value = _moved(self._value(*together), self._device)
        # Not over several processes: one that computes anew would wait for others that have nothing
        # new.
        self._cached_value = (versions, value) if together == current else None
        return _fresh(value)

    def _check(self, statistic: Statistic) -> None:
        """Raises what ``update`` could not raise without waiting for an accelerator."""
        statistic.check()

    def _name(self) -> str:
        return type(self).__name__

    def _statistics_in_use(self) -> list[Statistic]:
        return self._subscriptions[-1].statistics if self._subscriptions else self._own

    _merges_states = True

    def _state(self) -> OrderedDict[str, Any]:
        return OrderedDict({IDENTITY: self._identity(), **statistics_to_state(self._own_copies())})

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        own = leaves_inference_mode(self._declare)()
        if states:
            known = {IDENTITY, *statistics_to_state(own)}
            for state in states:
                check_state(state, known, self._identity())
            load_statistics(own, states)
            self._check_loaded(own[0])
        self.reset()
        self._own = own

    def _identity(self) -> str:
        """Which metric accumulates this, and with which numbers and words: other metrics do not go on from it."""
        names = [
            kind.__name__
            for kind in type(self).__mro__
            if kind.__module__.partition(".")[0] == "ignite"
        ]
        return f"{names[0]}{plain_parts([statistic.key[2:] for statistic in self._own])}"

    def _check_loaded(self, statistic: Any) -> None:
        """Raises ValueError if this metric cannot go on from its first statistic, which was loaded."""

    # How it shares: see the top of this module.

    def started(self, engine: Engine[Any, Any]) -> None:
        """Called when a span begins: takes part in what is shared, or forgets."""
        attachment, reading_key = self._attachments.get(engine), self._reading_key()
        if attachment is None or reading_key is None:
            self.reset()
            return
        self._cached_value = self._counted_iteration = None
        self._begin()
        subscription = self._inspecting(
            Subscription.begun(engine, attachment, reading_key, self._own)
        )
        others = [known for known in self._subscriptions if known.outputs.engine() is not engine]
        self._subscriptions = [*others, subscription]

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Called with each output that counts: accumulates it, unless another metric has done so."""
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
        # As _update_shared, but this happens for each metric in each iteration.
        shared, num_read = subscription.shared, subscription.num_read
        if len(shared) > 1:
            self._update_shared([reading], subscription)
        elif shared[0].num_read != num_read:
            if shared[0].inspectors:
                shared[0].inspect(reading)
            shared[0].num_read = num_read
            shared[0].statistic.update(reading)

    def _update_shared(self, readings: list[Reading], subscription: Subscription) -> None:
        """Accumulates one or more outputs of an iteration, as far as nobody has done so: all of them or none."""
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
        """Accumulates an output by itself, unless a copy of what was shared has it already."""
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
        """The part in what the metrics of ``engine`` share, from now on the one that is computed from."""
        subscriptions = self._subscriptions
        for i, subscription in enumerate(subscriptions):
            if subscription.outputs.engine() is engine:
                subscriptions.append(subscriptions.pop(i))
                return subscription
        attachment = self._attachments.get(engine)
        if not subscriptions or attachment is None:
            return None
        # It feeds another engine, too, and must not take over from there.
        subscriptions.append(self._inspecting(Subscription.alone(engine, attachment, self._own)))
        return subscriptions[-1]

    def _inspecting(self, subscription: Subscription) -> Subscription:
        """The same, in which outputs have to fit this metric."""
        if self._inspects:
            subscription.shared[0].inspectors[subscription.user] = weakref.ref(self)
        return subscription

    def _reading_key(self) -> tuple[Hashable, ...] | None:
        """Equal for metrics that read outputs alike; None if a subclass goes its own way and nothing can be shared."""
        own_way = ("update", "reset", "started", "iteration_completed", "_read", "_parse")
        if any(getattr(type(self), name) is not getattr(View, name) for name in own_way):
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
        """For ``engine.describe()``: what is accumulated, and with which metrics it is shared."""
        if handler != "iteration_completed":
            return ""
        notes = []
        for key, words in self._shared_keys(engine).items():
            others = [
                view
                for view in _views_of(engine)
                if view is not self and key in view._shared_keys(engine)
            ]
            names = ", ".join(dict.fromkeys(type(other).__name__ for other in others))
            notes.append(f"{words} shared with {names}" if names else words)
        return "; ".join(notes)

    def _shared_keys(self, engine: Engine[Any, Any]) -> dict[Hashable, str]:
        """What tells the statistics of this metric from others of the engine -> what they are called."""
        attachment, reading_key = self._attachments.get(engine), self._reading_key()
        if attachment is None or reading_key is None:
            return {}
        return {(attachment.span, reading_key, own.key): str(own) for own in self._own}

    def _unsubscribe(self) -> None:
        """Goes on from what is shared, by itself."""
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
        """With a copy of what is shared as the metric's own."""
        own = {
            "_own": self._own_copies(),
            "_subscriptions": [],
            "_cached_value": None,
            "_counted_iteration": None,
        }
        return {**super().__getstate__(), **own}

    def _own_copies(self) -> list[Statistic]:
        """What is accumulated for this metric, as if it had been alone."""
        pairs = zip(self._statistics_in_use(), self._own, strict=True)
        return [found.narrowed(own) for found, own in pairs]


_NUMBERS = (float, int, Tensor)


def update_together(pairs: Iterable[tuple[Metric, Any]]) -> None:
    """Updates metrics, each with its output: all, or none if one raises.

    Views that read alike read once.
    """
    readings: list[tuple[Hashable, Any, Reading]] = []
    updates: dict[Any, Reading] = {}
    others: list[tuple[Any, Any]] = []
    for metric, output in pairs:
        key = metric._reading_key() if isinstance(metric, View) else None
        if not isinstance(metric, View) or key is None:
            others.append((metric, output))
            continue
        if metric._subscriptions:
            metric._unsubscribe()
        reading = next(
            (known for k, given, known in readings if given is output and k == key), None
        )
        if reading is None:
            reading = Reading(metric._accepted(output))
            readings.append((key, output, reading))
        metric._inspect(reading, metric._own[0])
        for statistic in metric._own:
            updates[statistic] = reading
    update_all([*others, *updates.items()])


def _views_of(engine: Engine[Any, Any]) -> list[View]:
    """The metrics that are attached to an engine, each once."""
    owners = [getattr(entry.handler, "__self__", None) for entry in engine.handlers_of()]
    return list({id(owner): owner for owner in owners if isinstance(owner, View)}.values())


def _moved(value: Any, device: torch.device) -> Any:
    """With tensors on ``device``, also those in a tuple or a dictionary."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def _fresh(value: Any) -> Any:
    """With copies of tensors, so that what is kept does not change with what users do to theirs."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple):
        return tuple(_fresh(item) for item in value)
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items()}
    return value
