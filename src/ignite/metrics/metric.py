"""The base of all metrics: what they are fed with, when, and where their values go."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ignite import distributed
from ignite.base import Serializable
from ignite.engine import Engine
from ignite.metrics._reduction import reinit__is_reduced, sync_all_reduce
from ignite.metrics._usage import (
    BatchFiltered,
    BatchWise,
    EpochWise,
    MetricUsage,
    RunningBatchWise,
    RunningEpochWise,
    SingleEpochRunningBatchWise,
    check_usage,
)

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


def identity(output: Any) -> Any:
    """The output as it is. A function with a name, so that metrics can be pickled."""
    return output


class Metric(Serializable, metaclass=ABCMeta):
    """Accumulates over batches and computes a value. Subclasses define ``reset``, ``update`` and ``compute``.

    Args:
        output_transform: turns ``engine.state.output`` into what ``update`` expects; it may also be a mapping that has
            ``required_output_keys``.
        device: where the metric accumulates.
        skip_unrolling: give outputs that are pairs of lists of tensors to ``update`` as they are. By default they are
            taken for batches of items of different sizes, and ``update`` is called for each pair of items.
        metrics_result_mode: where a result that is a mapping goes: "flatten" puts its items into ``state.metrics``,
            "named" the mapping under the metric's name, "both" both.

    Raises:
        TypeError: ``output_transform`` cannot be called.
        ValueError: ``metrics_result_mode`` or ``device`` is not one that metrics know.

    State:
        ``state_dict`` holds the attributes that the class lists in ``_state_dict_all_req_keys``, of each process: all
        of them have to call it.

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

    _state_dict_all_req_keys: tuple[str, ...] = ()
    _is_metric: ClassVar[bool] = True

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device = torch.device("cpu"),  # noqa: B008 - Ignite's signature
        skip_unrolling: bool = False,
        metrics_result_mode: Literal["flatten", "named", "both"] = "both",
    ) -> None:
        if not callable(output_transform):
            raise TypeError(f"Argument output_transform should be callable, got {type(output_transform)}")
        if torch.device(device).type == "xla":
            raise ValueError(f"Cannot create metric on an XLA device. Use device='cpu' instead of {device!r}.")
        if metrics_result_mode not in ("flatten", "named", "both"):
            raise ValueError(
                f"metrics_result_mode should be 'flatten', 'named' or 'both', but given {metrics_result_mode!r}"
            )
        self._output_transform = output_transform
        self._device = torch.device(device)
        self._skip_unrolling = skip_unrolling
        self._metrics_result_mode = metrics_result_mode
        self._double_dtype = torch.float32 if self._device.type == "mps" else torch.float64
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

    @torch.no_grad()
    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Called with each output that counts: updates."""
        output = self._output_transform(engine.state.output)
        if isinstance(output, Mapping):
            output = self._pick(output)
        if self._skip_unrolling or not _is_ragged(output):
            self.update(output)
            return
        first, second = _pair(output)
        for y_pred, y in zip(first, second, strict=True):
            self.update((_as_batch(y_pred), _as_batch(y)))

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Called when the span ends: puts the value into ``engine.state.metrics``."""
        result = self.compute()
        metrics = engine.state.metrics
        if isinstance(result, Mapping):
            if self._metrics_result_mode != "flatten" and name in result:
                raise ValueError(f"Argument name '{name}' is conflicting with mapping keys: {list(result)}")
            if self._metrics_result_mode != "named":
                metrics.update({key: _detached(value) for key, value in result.items()})
            if self._metrics_result_mode != "flatten":
                metrics[name] = result
        else:
            metrics[name] = _detached(result)

    def attach(self, engine: Engine[Any, Any], name: str, usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Lets ``engine`` feed the metric, and put its value into ``engine.state.metrics[name]``.

        A metric that is attached under several names is updated once.

        Args:
            engine: gives the outputs.
            name: under which the value is found.
            usage: over which span; an epoch by default.

        Raises:
            TypeError: ``usage`` is neither a usage nor the name of one.
            ValueError: there is no usage of this name.
        """
        *feeding, (end, publish) = self._handlers(check_usage(usage))
        for event, handler in feeding:
            if not engine.has_event_handler(handler, event):
                engine.add_event_handler(event, handler)
        engine.add_event_handler(end, publish, name)

    def detach(self, engine: Engine[Any, Any], usage: str | MetricUsage = EpochWise()) -> None:  # noqa: B008
        """Ends what ``attach`` with this usage has begun, under all names. Values stay where they are."""
        for event, handler in self._handlers(check_usage(usage)):
            if engine.has_event_handler(handler, event):
                engine.remove_event_handler(handler, event)

    def is_attached(self, engine: Engine[Any, Any], usage: str | MetricUsage = EpochWise()) -> bool:  # noqa: B008
        """Whether ``engine`` computes the metric with this usage."""
        return engine.has_event_handler(self.completed, check_usage(usage).COMPLETED)

    def state_dict(self) -> OrderedDict[str, Any]:
        """What was accumulated, of each process. All processes have to call it."""
        own = OrderedDict((key, _to_saved(getattr(self, key), key)) for key in self._state_dict_all_req_keys)
        states = distributed.all_gather(own) if distributed.get_world_size() > 1 else [own]
        return OrderedDict([(_STATE_KEY, states)])

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from what was accumulated.

        Raises:
            TypeError: it is not a dictionary.
            ValueError: it is not from a metric, not from this one, or from another number of processes.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Argument state_dict should be a dictionary, but given {type(state_dict)}")
        states = state_dict.get(_STATE_KEY)
        if not isinstance(states, list):
            raise ValueError(
                "Incorrect state_dict object. Argument state_dict should be a dictionary provided by "
                f"Metric.state_dict(), but given one with the keys {list(state_dict)}"
            )
        if len(states) != distributed.get_world_size():
            raise ValueError(
                f"Expected a list of state_dicts of size equal world_size {distributed.get_world_size()}, "
                f"but given {len(states)}"
            )
        own = states[distributed.get_rank()]
        super().load_state_dict(own)
        for key in self._state_dict_all_req_keys:
            value = own[key]
            setattr(self, key, value.to(self._device) if isinstance(value, Tensor) else value)

    def _handlers(self, usage: MetricUsage) -> list[tuple[Any, Callable[..., None]]]:
        return [
            (usage.STARTED, self.started),
            (usage.ITERATION_COMPLETED, self.iteration_completed),
            (usage.COMPLETED, self.completed),
        ]

    def _pick(self, output: Mapping[str, Any]) -> tuple[Any, ...]:
        """What ``update`` wants of an output that is a mapping."""
        keys = self.required_output_keys
        if keys is None:
            raise TypeError(
                f"Transformed engine output for {type(self).__name__} metric should be a tuple/list, "
                f"but given {type(output)}"
            )
        missing = [key for key in keys if key not in output]
        if missing:
            raise ValueError(
                f"When transformed engine's output is a mapping, it should contain {keys} keys, "
                f"but given {list(output)}"
            )
        return tuple(output[key] for key in keys)


def _is_ragged(output: Any) -> bool:
    """Whether ``output`` consists of lists of tensors or numbers: items that no batch tensor could hold."""
    if not isinstance(output, Sequence) or isinstance(output, str) or not output:
        return False
    return all(
        isinstance(part, list | tuple) and all(isinstance(item, Tensor | int | float) for item in part)
        for part in output
    )


def _pair(output: Sequence[Any]) -> Sequence[Any]:
    if len(output) != 2 or len(output[0]) != len(output[1]):
        raise ValueError(
            f"Output should have 2 items of the same length, but given {len(output)} of length {[*map(len, output)]}"
        )
    return output


def _as_batch(item: Tensor | float) -> Tensor:
    return item.unsqueeze(0) if isinstance(item, Tensor) else torch.tensor([item])


def _detached(value: Any) -> Any:
    """A number for a tensor without dimensions; other tensors on the CPU."""
    if not isinstance(value, Tensor):
        return value
    return value.item() if value.ndim == 0 else value.cpu()


def _to_saved(value: Any, key: str) -> Any:
    if value is not None and not isinstance(value, int | float | str | Tensor):
        raise TypeError(f"Found attribute of unsupported type: {key} is a {type(value).__name__}")
    return value.detach().clone() if isinstance(value, Tensor) else value
