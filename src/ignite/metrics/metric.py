"""The base class of all metrics: reset, update, compute; attach to engines; save and load."""

from __future__ import annotations

import copy
import weakref
from abc import ABCMeta, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeAlias

import torch
from torch import Tensor

from ignite import distributed
from ignite._core.trees import replaced
from ignite.base import Serializable
from ignite.engine import Engine, Events, EventsList
from ignite.exceptions import NotComputableError
from ignite.metrics._arithmetic import Arithmetic
from ignite.metrics._outputs import identity, pick, unroll
from ignite.metrics._reduction import Synced, SyncGroup, reinit__is_reduced, sync_all_reduce
from ignite.metrics._saved_state import attributes_to_state, loaded
from ignite.metrics._usage import (
    NO_EXAMPLE,
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
    """The attachment of a metric to one engine. Identifies the metric where it shares statistics."""

    usage: MetricUsage
    span: Hashable
    """Equal for attachments that reset, update and compute at the same events."""
    group: SyncGroup | None
    """The metrics reduced together with this one; None if it is computed after each batch."""
    is_direct: bool = False
    """Whether the metric itself is attached, not only metrics that are computed from it."""
    users: set[Attachment] = field(default_factory=set)
    """Attachments of the metrics that are computed from it."""
    is_detached: bool = False
    """Whether the metric was detached and is updated only for the metrics computed from it."""

    @classmethod
    def to(cls, engine: AnyEngine, usage: MetricUsage) -> Attachment:
        """Creates the attachment to an engine with a usage."""
        return cls(usage, span_key(usage), SyncGroup.of(engine, usage))

    def add(self, user: Attachment | None) -> None:
        """Records that ``user`` needs the metric. None stands for the metric itself."""
        if user is None:
            self.is_direct = True
        else:
            self.users.add(user)
        self.is_detached = False

    def remove(self, user: Attachment | None) -> bool:
        """Records that ``user`` no longer needs the metric. Returns whether another user does."""
        if user is None:
            self.is_direct = False
        else:
            self.users.discard(user)
        return self.is_direct or bool(self.users)


class Metric(Arithmetic, Serializable, metaclass=ABCMeta):
    """Base class of metrics: accumulates over batches and computes a value.

    Subclasses define ``reset``, ``update`` and ``compute``.

    Args:
        output_transform: turns ``engine.state.output`` into the argument of ``update``. It may
            also return a mapping with the keys in ``required_output_keys``.
        device: device on which the metric accumulates. By default, the metrics of this package
            accumulate on the device of the outputs and return their values on the CPU. In other
            subclasses, ``self._device`` is the CPU by default.
        skip_unrolling: pass outputs that are pairs of lists of tensors to ``update`` unchanged.
            By default they are treated as batches of items of different sizes, and ``update`` is
            called for each pair of items.
        metrics_result_mode: where the result goes if it is a mapping. "flatten" puts its items into
            ``state.metrics``, "named" puts the mapping there under the metric's name, and "both"
            does both.

    Raises:
        TypeError: ``output_transform`` is not callable.
        ValueError: ``metrics_result_mode`` is unknown, or ``device`` is an XLA device.

    State:
        ``state_dict`` holds, for each process, the attributes that the class lists in
        ``_state_dict_all_req_keys``. All processes must call it.

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
    """Keys to take, in this order, from an output that is a mapping. None: mappings are refused."""

    higher_is_better: bool | None = None
    """Whether a higher value is better. None if unknown, as for a matrix, a bias or a plain mean.

    Read by everything that monitors a metric: early stopping, the best weights and the best
    checkpoint of a ``Learner``, and :class:`Best`. It may also be set on an instance."""

    _state_dict_all_req_keys: tuple[str, ...] = ()
    _is_metric: ClassVar[bool] = True
    _ENGINE_ATTRIBUTES: ClassVar[tuple[str, ...]] = ("_attached", "_span_instances")
    """Attributes that belong to engines. Copies of the metric do not have them."""
    _synced: Synced | None = None
    """Values reduced over all processes, set while the metric is computed together with others."""

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
        self._prepare()
        self.reset()

    def _prepare(self) -> None:
        """Called once before the first reset, which a subclass may override completely."""

    @contextmanager
    def _with_attributes(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Context in which attributes have these values, which are reduced over all processes."""
        with replaced(self, **values):
            yield

    @abstractmethod
    def reset(self) -> None:
        """Clears everything that was accumulated."""

    @abstractmethod
    def update(self, output: Any) -> None:
        """Updates the metric with the output of one batch."""

    @abstractmethod
    def compute(self) -> Any:
        """Returns the value over everything since the last reset.

        Raises:
            NotComputableError: the metric has not been updated.
        """

    def started(self, engine: Engine[Any, Any]) -> None:
        """Resets the metric when its span, usually an epoch, begins."""
        self.reset()

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Updates the metric with the engine's output."""
        with torch.no_grad():
            for output in self._read(engine):
                self.update(output)

    def _read(self, engine: Engine[Any, Any]) -> list[Any]:
        """Returns the arguments of the calls of ``update`` for this iteration."""
        return self._parse(self._output_transform(engine.state.output))

    def _parse(self, output: Any) -> list[Any]:
        """Returns the arguments of the calls of ``update`` for a transformed output."""
        if isinstance(output, Mapping):
            output = self._pick(output)
        return [output] if self._skip_unrolling else unroll(output)

    def _pick(self, output: Mapping[str, Any]) -> tuple[Any, ...]:
        """Returns the values of ``required_output_keys`` in an output that is a mapping."""
        return pick(output, self.required_output_keys, type(self).__name__)

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Puts the value into ``engine.state.metrics`` when the span ends.

        A metric that is computed after each batch keeps its last value if the batch has no examples,
        or all of them are ignored.
        """
        self._select_engine(engine)
        attachment = self._attachments.get(engine)
        group = (
            None if attachment is None or distributed.get_world_size() == 1 else attachment.group
        )
        try:
            with nullcontext() if group is None else group.computing(self, (attachment, name)):
                result = self.compute()
        except NotComputableError as error:
            # Subclasses of the error have causes other than missing examples.
            if (
                attachment is None
                or not attachment.usage.is_of_batches
                or type(error) is not NotComputableError
            ):
                if type(error) is NotComputableError:
                    error.add_note(NO_EXAMPLE)
                raise
        else:
            self._publish(engine, name, result)
        self._on_computed(engine)

    def _select_engine(self, engine: Engine[Any, Any]) -> None:
        """Makes ``compute`` use the outputs of ``engine``, one of the engines the metric is attached to."""

    def _on_computed(self, engine: Engine[Any, Any]) -> None:
        """Called after the metric, or one that is computed from it, was computed over a span."""

    def _publish(self, engine: Engine[Any, Any], name: str, result: Any) -> None:
        metrics = engine.state.metrics
        if isinstance(result, Mapping):
            if self._metrics_result_mode != "flatten" and name in result:
                raise ValueError(
                    f"Argument name '{name}' is conflicting with mapping keys: {list(result)}"
                )
            if self._metrics_result_mode != "named":
                metrics.update(result)  # unchanged, because programs call .item() of tensors
            if self._metrics_result_mode != "flatten":
                metrics[name] = result
        else:
            metrics[name] = _detached(result)

    @staticmethod
    def directions(engine: Engine[Any, Any]) -> dict[str, bool | None]:
        """Returns ``higher_is_better`` for each value of metrics in ``engine.state.metrics``.

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
        """Returns ``higher_is_better`` for each value that is published under ``name``."""
        return {name: self.higher_is_better}

    # Attaching. An engine updates one instance of the metric for each span. It also does so for an
    # attached metric that is computed from this one, even if this one is not attached itself.

    def attach(self, engine: AnyEngine, name: str, usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Attaches the metric to ``engine``, which puts its value into ``state.metrics[name]``.

        A metric that is attached under several names is updated once per iteration. If it is
        attached with several usages, a copy of it accumulates for each usage after the first.

        Args:
            engine: the engine whose outputs update the metric.
            name: key of the value in ``engine.state.metrics``.
            usage: the events at which the metric is reset, updated and computed. By default, once
                per epoch.

        Raises:
            TypeError: ``usage`` is neither a usage nor the name of one.
            ValueError: there is no usage of this name.
        """
        usage = check_usage(usage)
        for event in self._events(usage):
            if not isinstance(event, Events):  # every engine has these
                engine.handlers_of(event)  # raises for an unknown event, before anything is added
        entries = engine.handlers_of(usage.COMPLETED)
        instance = self._get_or_create_instance(engine, usage)
        instance._feed(engine, usage)
        # Attached again under the same name, the metric would compute the same value twice.
        if not any(
            entry.handler == instance.completed and entry.args == (name,) for entry in entries
        ):
            engine.add_event_handler(usage.COMPLETED, instance.completed, name)
            attachment = instance._attachments[engine]
            if attachment.group is not None:
                attachment.group.published.add((attachment, name))

    def detach(self, engine: AnyEngine, usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Detaches the metric from ``engine``, for this usage and all names.

        Values in ``engine.state.metrics`` stay there. The metric is still updated while an attached
        metric is computed from it.
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
        """Returns whether the metric is attached to ``engine`` with this usage."""
        usage = check_usage(usage)
        instance = self._instance_for(engine, usage)
        if instance._is_fed_over_another_span(engine, usage):
            return False
        return engine.has_event_handler(instance.completed, usage.COMPLETED) and instance._is_fed(
            engine, usage
        )

    def _feed(self, engine: AnyEngine, usage: MetricUsage, user: Attachment | None = None) -> None:
        """Makes ``engine`` update the metric, for the metric itself or for ``user``, which is computed from it."""
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
        """Removes the handlers that ``_feed`` has added, unless something else needs the metric."""
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
        """Called after ``engine`` has stopped updating the metric."""

    def _feeding(self, usage: MetricUsage) -> list[tuple[Any, Callable[..., None]]]:
        """Returns the handlers that reset and update the metric, each with its event."""
        return [
            (usage.STARTED, self.started),
            (usage.ITERATION_COMPLETED, self.iteration_completed),
        ]

    def _events(self, usage: MetricUsage) -> list[Any]:
        """Returns the events of ``_feeding``."""
        return [event for event, _ in self._feeding(usage)]

    def _get_or_create_instance(self, engine: AnyEngine, usage: MetricUsage) -> Self:
        """Returns the instance for the span of ``usage``, which is created if missing."""
        instance = self._instance_for(engine, usage)
        if instance._is_fed_over_another_span(engine, usage):
            instance = self._fresh_copy()
            self._instances_by_span.setdefault(engine, {})[span_key(usage)] = instance
        return instance

    def _instance_for(self, engine: AnyEngine, usage: MetricUsage) -> Self:
        """Returns the copy that ``engine`` updates over the span of ``usage``, or else ``self``."""
        found: Self = self._instances_by_span.get(engine, {}).get(span_key(usage), self)
        return found

    def _is_fed_over(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        """Returns whether ``engine`` updates this instance over the span of ``usage``."""
        attachment = self._attachments.get(engine)
        return attachment is not None and attachment.span == span_key(usage)

    def _is_fed_over_another_span(self, engine: AnyEngine, usage: MetricUsage) -> bool:
        """Returns whether ``engine`` updates this instance over another span.

        An instance accumulates over one span only.
        """
        return engine in self._attachments and not self._is_fed_over(engine, usage)

    def _fresh_copy(self) -> Self:
        """Returns a metric with the same arguments that has not been updated."""
        instance = copy.deepcopy(self, self._shared_objects())
        instance.reset()
        return instance

    def begins_anew_with(self, engine: AnyEngine) -> bool:
        """Returns whether each run of ``engine`` resets the metric, so that its state need not be saved."""
        attachment = self._attachments.get(engine)
        return attachment is not None and attachment.usage.STARTED in (
            Events.STARTED,
            Events.EPOCH_STARTED,
        )

    def _shared_objects(self) -> dict[int, Any]:
        """Returns the objects that copies share with the metric, such as a loss module, by id."""
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
        """Omits the attributes that belong to engines, because copies of the metric are not attached."""
        return {
            name: value for name, value in vars(self).items() if name not in self._ENGINE_ATTRIBUTES
        }

    # State.

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all updates from now on."""
        own = {
            name: value for name, value in vars(self).items() if name not in self._ENGINE_ATTRIBUTES
        }
        kept = {name: restorer_of(value) for name, value in own.items()}

        def roll_back() -> None:
            vars(self).update({name: value() for name, value in kept.items()})

        return roll_back

    def _statistics_in_use(self) -> list[Any]:
        """Returns the statistics to reduce over all processes before ``compute``."""
        return []

    def state_dict(self) -> OrderedDict[str, Any]:
        """Returns the accumulated values of each process. All processes must call it."""
        own = self._state()
        states = distributed.all_gather(own) if distributed.get_world_size() > 1 else [own]
        return OrderedDict([(_STATE_KEY, states)])

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the accumulated values.

        Metrics of this package also load states saved by another number of processes: the states
        are distributed over the processes, and some processes may get none.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: ``state_dict`` is not from this kind of metric, or, for metrics outside of
                this package, it is from another number of processes. The metric is unchanged.
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
    """Whether the states of several processes can be merged into one."""

    def _state(self) -> OrderedDict[str, Any]:
        """Returns the state of this process."""
        return attributes_to_state(self, self._saved_attributes())

    def _saved_attributes(self) -> Sequence[str]:
        """Returns the names of the attributes that a state holds."""
        return self._state_dict_all_req_keys

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        """Restores the state of one process, or of any number of them if ``_merges_states``."""
        (state,) = states
        missing = [key for key in self._saved_attributes() if key not in state]
        if missing:
            raise ValueError(
                f"it should have the key {missing[0]!r}, but given one with {list(state)}"
            )
        for key in self._saved_attributes():
            setattr(self, key, loaded(state[key], getattr(self, key), self._device))


def _detached(value: Any) -> Any:
    """Converts a tensor with no dimensions to a number; moves other tensors to the CPU."""
    if not isinstance(value, Tensor):
        return value
    return value.item() if value.ndim == 0 else value.cpu()


def _callables_in(value: Any) -> Iterator[tuple[int, Any]]:
    """Yields (id, callable) for the callables in a metric's attributes, at any depth."""
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
    """Removes a handler from an event, or from each event of a list, if it is registered there."""
    for each in event if isinstance(event, EventsList) else [event]:
        if engine.has_event_handler(handler, each):
            engine.remove_event_handler(handler, each)
