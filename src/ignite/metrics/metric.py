"""The base class of all metrics: reset, update, compute; attached to engines, saved and loaded."""

from __future__ import annotations

import copy
import weakref
from abc import ABCMeta, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeAlias

import torch
from torch import Tensor

from ignite import distributed
from ignite.base import Serializable
from ignite.engine import Engine, Events, EventsList
from ignite.exceptions import NotComputableError
from ignite.metrics._arithmetic import Arithmetic
from ignite.metrics._outputs import identity, pick, unroll
from ignite.metrics._reduction import Synced, SyncGroup, reinit__is_reduced, sync_all_reduce
from ignite.metrics._saved_state import attributes_to_state, loaded
from ignite.metrics._usage import (
    BatchFiltered,
    BatchWise,
    EpochWise,
    MetricUsage,
    RunningBatchWise,
    RunningEpochWise,
    SingleEpochRunningBatchWise,
    check_usage,
    span_key,
)
from ignite.metrics.statistics._statistic import restorer_of, wide_dtype

AnyEngine: TypeAlias = Engine[Any, Any]

__all__ = [
    "BatchFiltered",
    "BatchWise",
    "EpochWise",
    "Metric",
    "MetricUsage",
    "RunningBatchWise",
    "RunningEpochWise",
    "SingleEpochRunningBatchWise",
    "reinit__is_reduced",
    "sync_all_reduce",
]

_STATE_KEY = "__metric_state_per_rank"


@dataclass(eq=False, slots=True)
class Attachment:
    """How a metric is attached to one engine; also stands for the metric where it shares with others."""

    usage: MetricUsage
    span: Hashable
    """Equal for attachments that reset, update and compute at the same events."""
    group: SyncGroup | None
    """The metrics reduced together with this one; None if it is computed after each batch."""
    is_direct: bool = False
    """Whether the metric itself is attached, and not only metrics that are computed from it."""
    users: set[Attachment] = field(default_factory=set)
    """Attachments of metrics that are computed from it."""
    is_detached: bool = False
    """Whether the metric was detached, and is fed for others only."""

    @classmethod
    def to(cls, engine: AnyEngine, usage: MetricUsage) -> Attachment:
        """Creates the attachment to an engine with a usage."""
        return cls(usage, span_key(usage), SyncGroup.of(engine, usage))

    def add(self, user: Attachment | None) -> None:
        """The metric is needed for ``user``; None stands for the metric itself."""
        if user is None:
            self.is_direct = True
        else:
            self.users.add(user)
        self.is_detached = False

    def remove(self, user: Attachment | None) -> bool:
        """The metric is no longer needed for ``user``. Returns whether it is needed for another."""
        if user is None:
            self.is_direct = False
        else:
            self.users.discard(user)
        return self.is_direct or bool(self.users)


class Metric(Arithmetic, Serializable, metaclass=ABCMeta):
    """Accumulates over batches and computes a value.

    Subclasses define ``reset``, ``update`` and ``compute``.

    Args:
        output_transform: turns ``engine.state.output`` into what ``update`` expects; it may also be
            a mapping that has ``required_output_keys``.
        device: where the metric accumulates. By default, the metrics of this package accumulate
            where outputs are, and give their values on the CPU; other subclasses find the CPU in
            ``self._device``.
        skip_unrolling: give outputs that are pairs of lists of tensors to ``update`` as they are.
            By default they are taken for batches of items of different sizes, and ``update`` is
            called for each pair of items.
        metrics_result_mode: where a result that is a mapping goes: "flatten" puts its items into
            ``state.metrics``, "named" the mapping under the metric's name, "both" both.

    Raises:
        TypeError: ``output_transform`` cannot be called.
        ValueError: ``metrics_result_mode`` or ``device`` is not one that metrics know.

    State:
        ``state_dict`` holds the attributes that the class lists in ``_state_dict_all_req_keys``, of
        each process: all of them have to call it.

    Example:
        >>> class Largest(Metric):
        ...     def reset(self):
        ...         self.largest = float("-inf")
        ...
        ...     def update(self, output):
        ...         self.largest = max(self.largest, output)
        ...
        ...     def compute(self):
        ...         return self.largest
        >>> engine = Engine(lambda engine, batch: batch)
        >>> Largest().attach(engine, "largest")
        >>> engine.run([3, 7, 5]).metrics
        {'largest': 7}
    """

    required_output_keys: tuple[str, ...] | None = ("y_pred", "y")
    """The keys that are taken, in this order, from an output that is a mapping; None if it must not be one."""

    higher_is_better: bool | None = None
    """Whether a higher value is a better one; None where that cannot be said, as of a matrix, a bias or a plain mean.
    What watches a metric asks it: early stopping of a ``Learner``, its best weights and best checkpoint, :class:`Best`.
    It may be set on an object, too."""

    _state_dict_all_req_keys: tuple[str, ...] = ()
    _is_metric: ClassVar[bool] = True
    _ENGINE_ATTRIBUTES: ClassVar[tuple[str, ...]] = ("_attached", "_span_instances")
    """Attributes that belong to engines: copies of the metric are without them."""
    _synced: Synced | None = None
    """What all processes hold, lent to the metric while it is computed together with others."""

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        metrics_result_mode: Literal["flatten", "named", "both"] = "both",
    ) -> None:
        if not callable(output_transform):
            raise TypeError(
                f"Argument output_transform should be callable, got {type(output_transform)}"
            )
        if device is not None and torch.device(device).type == "xla":
            raise ValueError(
                f"Cannot create metric on an XLA device. Use device='cpu' instead of {device!r}."
            )
        if metrics_result_mode not in ("flatten", "named", "both"):
            raise ValueError(
                f"metrics_result_mode should be 'flatten', 'named' or 'both', but given {metrics_result_mode!r}"
            )
        self._output_transform = output_transform
        self._device = torch.device(device or "cpu")
        self._accumulates_on = None if device is None else self._device
        self._skip_unrolling = skip_unrolling
        self._metrics_result_mode = metrics_result_mode
        self._double_dtype = wide_dtype(self._device)
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forgets all that was seen."""

    @abstractmethod
    def update(self, output: Any) -> None:
        """Takes in the output of one batch."""

    @abstractmethod
    def compute(self) -> Any:
        """The value over all that was seen.

        Raises:
            NotComputableError: nothing was.
        """

    def started(self, engine: Engine[Any, Any]) -> None:
        """Called when the span that the metric measures begins."""
        self.reset()

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Called with each output that counts: updates."""
        with torch.no_grad():
            for output in self._read(engine):
                self.update(output)

    def _read(self, engine: Engine[Any, Any]) -> list[Any]:
        """What ``update`` is to be called with for this iteration."""
        return self._parse(self._output_transform(engine.state.output))

    def _parse(self, output: Any) -> list[Any]:
        """What ``update`` is to be called with, of what the transform has made of an output."""
        if isinstance(output, Mapping):
            output = self._pick(output)
        return [output] if self._skip_unrolling else unroll(output)

    def _pick(self, output: Mapping[str, Any]) -> tuple[Any, ...]:
        """What ``update`` wants of an output that is a mapping."""
        return pick(output, self.required_output_keys, type(self).__name__)

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Called when the span ends: puts the value into ``engine.state.metrics``.

        A batch without an example, or without one that counts, has no value and leaves the last one
        there.
        """
        self._select_engine(engine)
        attachment = self._attachments.get(engine)
        group = None if attachment is None else attachment.group
        try:
            with nullcontext() if group is None else group.computing(self, (attachment, name)):
                result = self.compute()
        except NotComputableError as error:  # others than of nothing seen are of its subclasses
            if (
                attachment is None
                or not attachment.usage.is_of_batches
                or type(error) is not NotComputableError
            ):
                raise
        else:
            self._publish(engine, name, result)
        self._on_computed(engine)

    def _select_engine(self, engine: Engine[Any, Any]) -> None:
        """Computes from what ``engine`` has fed, if several engines feed the metric."""

    def _on_computed(self, engine: Engine[Any, Any]) -> None:
        """Called when the value over a span has been computed, of this metric or of one that it is an ingredient of."""

    def _publish(self, engine: Engine[Any, Any], name: str, result: Any) -> None:
        metrics = engine.state.metrics
        if isinstance(result, Mapping):
            if self._metrics_result_mode != "flatten" and name in result:
                raise ValueError(
                    f"Argument name '{name}' is conflicting with mapping keys: {list(result)}"
                )
            if self._metrics_result_mode != "named":
                metrics.update({key: _detached(value) for key, value in result.items()})
            if self._metrics_result_mode != "flatten":
                metrics[name] = result
        else:
            metrics[name] = _detached(result)

    @staticmethod
    def directions(engine: Engine[Any, Any]) -> dict[str, bool | None]:
        """Whether higher is better, for each value that metrics put into ``engine.state.metrics``; None if unknown.

        Example:
            >>> from ignite.metrics import Accuracy
            >>> engine = Engine(lambda engine, batch: batch)
            >>> Accuracy().attach(engine, "accuracy")
            >>> (1 - Accuracy()).attach(engine, "mistakes")
            >>> Metric.directions(engine)
            {'accuracy': True, 'mistakes': False}
        """
        found: dict[str, bool | None] = {}
        for entry in engine.handlers_of():
            metric = getattr(entry.handler, "__self__", None)
            if isinstance(metric, Metric) and entry.handler == metric.completed:
                found |= metric._directions(*entry.args)
        return found

    def _directions(self, name: str) -> dict[str, bool | None]:
        """Whether higher is better, of each value that the metric publishes when it is attached as ``name``."""
        return {name: self.higher_is_better}

    # Attaching: one span each, a instance for a second span, and as an ingredient of other metrics.

    def attach(self, engine: AnyEngine, name: str, usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Lets ``engine`` feed the metric, and put its value into ``engine.state.metrics[name]``.

        A metric that is attached under several names is updated once. One that is attached over
        several spans has a instance for each but the first, and accumulates separately.

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
            engine.handlers_of(event)  # raises for an unknown event, before anything is added
        instance = self._get_or_create_instance(engine, usage)
        instance._feed(engine, usage)
        entries = engine.handlers_of(usage.COMPLETED)
        # A second time under the same name would compute the same value again.
        if not any(
            entry.handler == instance.completed and entry.args == (name,) for entry in entries
        ):
            engine.add_event_handler(usage.COMPLETED, instance.completed, name)
            attachment = instance._attachments[engine]
            if attachment.group is not None:
                attachment.group.published.add((attachment, name))

    def detach(self, engine: AnyEngine, usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Ends what ``attach`` with this usage has begun, under all names.

        Values stay where they are.

        The metric goes on being fed as long as another one is computed from it.
        """
        usage = check_usage(usage)
        instance = self._instance_for(engine, usage)
        if instance._is_fed_over_another_span(engine, usage):
            return
        _remove(engine, instance.completed, usage.COMPLETED)
        attachment = instance._attachments.get(engine)
        if attachment is not None and attachment.group is not None:
            attachment.group.discard(attachment)
        instance._stop_feeding(engine, usage)
        if attachment is not None:
            attachment.is_detached = True
        self._instances_by_span.get(engine, {}).pop(span_key(usage), None)

    def is_attached(self, engine: AnyEngine, usage: str | MetricUsage = EpochWise()) -> bool:  # noqa: B008
        """Whether ``engine`` computes the metric with this usage."""
        usage = check_usage(usage)
        instance = self._instance_for(engine, usage)
        if instance._is_fed_over_another_span(engine, usage):
            return False
        return engine.has_event_handler(instance.completed, usage.COMPLETED) and instance._is_fed(
            engine, usage
        )

    def _feed(self, engine: AnyEngine, usage: MetricUsage, user: Attachment | None = None) -> None:
        """Lets ``engine`` feed the metric, for itself or for ``user``, a metric that is computed from it."""
        for event, handler in self._feeding(usage):
            if not engine.has_event_handler(handler, event):
                engine.add_event_handler(event, handler)
        attachment = self._attachments.get(engine)
        if attachment is None:
            attachment = self._attachments[engine] = Attachment.to(engine, usage)
        attachment.add(user)
        if attachment.group is not None:
            attachment.group.add(self)

    def _stop_feeding(
        self, engine: AnyEngine, usage: MetricUsage, user: Attachment | None = None
    ) -> None:
        """Ends what ``_feed`` has begun, unless the metric is still needed."""
        if not self._is_fed_over(engine, usage):
            return
        attachment = self._attachments[engine]
        if attachment.remove(user):
            return
        for event, handler in self._feeding(usage):
            _remove(engine, handler, event)
        self._on_detach(engine, attachment)
        del self._attachments[engine]
        if attachment.group is not None:
            attachment.group.remove(self)

    def _is_fed(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        return all(
            engine.has_event_handler(handler, event) for event, handler in self._feeding(usage)
        )

    def _is_detached(self, engine: AnyEngine) -> bool:
        return engine in self._attachments and self._attachments[engine].is_detached

    def _on_detach(self, engine: AnyEngine, attachment: Attachment) -> None:
        """Ends what the metric shares with others of ``engine``."""

    def _feeding(self, usage: MetricUsage) -> list[tuple[Any, Callable[..., None]]]:
        return [
            (usage.STARTED, self.started),
            (usage.ITERATION_COMPLETED, self.iteration_completed),
        ]

    def _events(self, usage: MetricUsage) -> list[Any]:
        """At which events it is fed."""
        return [event for event, _ in self._feeding(usage)]

    def _get_or_create_instance(self, engine: AnyEngine, usage: MetricUsage) -> Self:
        """The instance for this span, which is made if it is not there."""
        instance = self._instance_for(engine, usage)
        if instance._is_fed_over_another_span(engine, usage):
            instance = self._fresh_copy()
            self._instances_by_span.setdefault(engine, {})[span_key(usage)] = instance
        return instance

    def _instance_for(self, engine: AnyEngine, usage: MetricUsage) -> Self:
        """This metric, or the instance of it that ``engine`` feeds over the span of ``usage``."""
        found: Self = self._instances_by_span.get(engine, {}).get(span_key(usage), self)
        return found

    def _is_fed_over(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        """Whether ``engine`` feeds this metric over this span."""
        attachment = self._attachments.get(engine)
        return attachment is not None and attachment.span == span_key(usage)

    def _is_fed_over_another_span(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        """Whether ``engine`` feeds this metric over another span, so that it cannot accumulate over this one, too."""
        return engine in self._attachments and not self._is_fed_over(engine, usage)

    def _fresh_copy(self) -> Self:
        """A metric with the same arguments, that has seen nothing."""
        instance = copy.deepcopy(self, self._shared_objects())
        instance.reset()
        return instance

    def begins_anew_with(self, engine: AnyEngine) -> bool:
        """Whether each run of ``engine`` resets the metric, so that its state need not outlive one."""
        attachment = self._attachments.get(engine)
        return attachment is not None and attachment.usage.STARTED in (
            Events.STARTED,
            Events.EPOCH_STARTED,
        )

    def _shared_objects(self) -> dict[int, Any]:
        """What a instance has in common with the metric, such as a loss module: id -> object."""
        return dict(_callables_in(vars(self)))

    @property
    def _attachments(self) -> weakref.WeakKeyDictionary[AnyEngine, Attachment]:
        found: weakref.WeakKeyDictionary[AnyEngine, Attachment]
        found = vars(self).setdefault("_attached", weakref.WeakKeyDictionary())
        return found

    @property
    def _instances_by_span(self) -> weakref.WeakKeyDictionary[AnyEngine, dict[Any, Any]]:
        found: weakref.WeakKeyDictionary[AnyEngine, dict[Any, Any]]
        found = vars(self).setdefault("_span_instances", weakref.WeakKeyDictionary())
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to engines: copies of the metric are not attached."""
        return {
            name: value for name, value in vars(self).items() if name not in self._ENGINE_ATTRIBUTES
        }

    # State: what is saved and loaded.

    def _rollback_point(self) -> Callable[[], None]:
        """A function that takes back all updates from now on, for who updates several metrics together."""
        own = {
            name: value for name, value in vars(self).items() if name not in self._ENGINE_ATTRIBUTES
        }
        kept = {name: restorer_of(value) for name, value in own.items()}

        def roll_back() -> None:
            vars(self).update({name: value() for name, value in kept.items()})

        return roll_back

    def _statistics_in_use(self) -> list[Any]:
        """What is combined over all processes before ``compute``, of metrics that are views on statistics."""
        return []

    def state_dict(self) -> OrderedDict[str, Any]:
        """What was accumulated, of each process. All processes have to call it."""
        own = self._state()
        states = distributed.all_gather(own) if distributed.get_world_size() > 1 else [own]
        return OrderedDict([(_STATE_KEY, states)])

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from what was accumulated.

        Metrics of this package also load what another number of processes has saved: each process
        goes on from the states of some of those, some perhaps from none.

        Raises:
            TypeError: it is not a dictionary.
            ValueError: it is not from a metric, not from this one, or, for other metrics, from
                another number of processes. The metric stays as it was.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"Argument state_dict should be a dictionary, but given {type(state_dict)}"
            )
        states = state_dict.get(_STATE_KEY)
        if not isinstance(states, list):
            raise ValueError(
                "Incorrect state_dict object. Argument state_dict should be a dictionary provided by "
                f"Metric.state_dict(), but given one with the keys {list(state_dict)}"
            )
        for state in states:
            if not isinstance(state, Mapping):
                raise ValueError(
                    f"state_dict should have a dictionary for each process, but given {state!r}"
                )
        rank, world_size = distributed.get_rank(), distributed.get_world_size()
        if len(states) != world_size and not self._merges_states:
            raise ValueError(
                f"Expected a list of state_dicts of size equal world_size {world_size}, but given {len(states)}"
            )
        before = self._state()
        try:
            self._set_state(states[rank::world_size])
        except Exception as error:
            self._set_state([before])
            words = (
                f"should have the key {error}"
                if isinstance(error, KeyError)
                else f"does not fit: {error}"
            )
            raise ValueError(
                f"In the state of {type(self).__name__}, state_dict {words}"
            ) from error

    _merges_states: ClassVar[bool] = False
    """Whether states of several processes can be joined to one."""

    def _state(self) -> OrderedDict[str, Any]:
        """What this process has to save."""
        return attributes_to_state(self, self._state_dict_all_req_keys)

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        """Goes on from what was saved, by one process, or by any number if ``_merges_states``."""
        (state,) = states
        missing = [key for key in self._state_dict_all_req_keys if key not in state]
        if missing:
            raise ValueError(
                f"it should have the key {missing[0]!r}, but given one with {list(state)}"
            )
        for key in self._state_dict_all_req_keys:
            setattr(self, key, loaded(state[key], getattr(self, key), self._device))


def _detached(value: Any) -> Any:
    """A number for a tensor without dimensions; other tensors on the CPU."""
    if not isinstance(value, Tensor):
        return value
    return value.item() if value.ndim == 0 else value.cpu()


def _callables_in(value: Any) -> Iterator[tuple[int, Any]]:
    """The callable objects in a metric's attributes, also in those of metrics among them."""
    if isinstance(value, Metric):
        yield from _callables_in(vars(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _callables_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _callables_in(item)
    elif callable(value):
        yield id(value), value


def _remove(engine: AnyEngine, handler: Callable[..., None], event: Any) -> None:
    """Takes a handler off an event, or off each of several, where it is there."""
    for one in event if isinstance(event, EventsList) else [event]:
        if engine.has_event_handler(handler, one):
            engine.remove_event_handler(handler, one)
