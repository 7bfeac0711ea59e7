"""Running average: the exponential moving average of a metric's values or of outputs."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ignite._core.old_arguments import renamed, takes_old
from ignite.distributed.fused_reduction import Part, combine
from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.metrics._outputs import identity
from ignite.metrics._usage import MetricUsage, RunningBatchWise, SingleEpochRunningBatchWise
from ignite.metrics.metric import Metric, reinit__is_reduced
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["RunningAverage"]


class RunningAverage(Metric):
    r"""Exponential moving average of a metric's values, or of numbers or tensors.

    .. math:: a_t = \alpha a_{t-1} + (1 - \alpha) x_t, \quad a_1 = x_1

    By default it is computed after each batch and continues over epochs. Over several processes, it
    is the mean of the averages of all processes that have one. NaN in one value makes it NaN.

    Args:
        src: a metric whose value over each batch is averaged. A copy of it is updated, so that the
            metric itself can be attached, too.
        alpha: decay, the weight of the previous average, in (0, 1].
        output_transform: if there is no ``src``, turns ``engine.state.output`` into the number or
            tensor to average.
        epoch_bound: deprecated. True means the usage SingleEpochRunningBatchWise, False means
            RunningBatchWise.
        device: device of the average. By default, that of the values. Not allowed with ``src``.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: ``src`` is not a metric.
        ValueError: ``alpha`` is out of range, or arguments exclude each other.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> from ignite.engine import Engine
        >>> engine = Engine(lambda engine, batch: batch)
        >>> RunningAverage(alpha=0.5, output_transform=lambda output: output).attach(engine, "average")
        >>> engine.run([1.0, 3.0, 4.0]).metrics
        {'average': 3.0}
    """

    required_output_keys = None

    def __init__(
        self,
        src: Metric | None = None,
        alpha: float = 0.98,
        output_transform: Callable[[Any], Any] | None = None,
        epoch_bound: bool | None = None,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not (isinstance(src, Metric) or src is None):
            raise TypeError(f"Argument src should be a Metric or None., but given {type(src)}")
        if not 0.0 < alpha <= 1.0:
            raise ValueError(
                f"Argument alpha should be a float between 0.0 and 1.0., but given {alpha!r}"
            )
        if src is not None and output_transform is not None:
            raise ValueError("Argument output_transform should be None if src is a Metric.")
        if src is not None and device is not None:
            raise ValueError("Argument device should be None if src is a Metric.")
        if src is None and output_transform is None:
            raise ValueError(
                "Argument output_transform should not be None if src corresponds to the output of process function."
            )
        if epoch_bound is not None:
            warnings.warn(
                "`epoch_bound` is deprecated and will be removed in the future.", stacklevel=2
            )
        self.src = src
        self._source = None if src is None else src._fresh_copy()
        self.alpha = alpha
        self.higher_is_better = None if src is None else src.higher_is_better
        self.epoch_bound = epoch_bound
        super().__init__(output_transform or identity, device, skip_unrolling)

    @reinit__is_reduced
    def reset(self) -> None:
        """Clears the average."""
        self._average: Any = None
        self._dtype: str | None = None
        if self._source is not None:
            self._source.reset()

    @property
    def _value(self) -> Any:
        """The average of this process, as Ignite's subclasses call it; None before the first value."""
        return self._average

    @_value.setter
    def _value(self, value: Any) -> None:
        self._average = value

    @reinit__is_reduced
    def update(self, output: Any) -> None:
        """Updates ``src`` with the output of one batch and averages its value, or the output."""
        if self._source is not None:
            self._source.update(output)
            self._average_source()
        else:
            self._add(output)

    def compute(self) -> Any:
        """Returns the average: a number if numbers are averaged, else a tensor."""
        is_new = self._average is None
        average, count = combine(
            [Part("SUM", self._average, "value of RunningAverage"), Part("SUM", 0 if is_new else 1)]
        )
        if not count:
            raise NotComputableError(
                "RunningAverage must have at least one example before it can be computed."
            )
        average = average / count
        if isinstance(average, Tensor) and self._dtype is not None:
            average = average.to(getattr(torch, self._dtype))
        return average

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Averages the output, or the value of ``src`` over the batches since the last call."""
        if self._source is None:
            super().iteration_completed(engine)
        else:
            self._average_source()

    @takes_old(arguments={"_usage": renamed("_usage", "usage")})
    def attach(
        self,
        engine: Engine[Any, Any],
        name: str,
        usage: str | MetricUsage = RunningBatchWise(),  # noqa: B008
    ) -> None:
        """Attaches the metric to ``engine``, which puts its value into ``state.metrics[name]``.

        Args:
            engine: the engine whose outputs update the metric.
            name: key of the value in ``engine.state.metrics``.
            usage: the events at which the metric is reset, updated and computed. ``epoch_bound``
                overrides it.

        Raises:
            TypeError: ``usage`` is neither a usage nor the name of one.
            ValueError: there is no usage of this name.
        """
        super().attach(engine, name, self._usage(usage))

    def detach(
        self,
        engine: Engine[Any, Any],
        usage: str | MetricUsage = RunningBatchWise(),  # noqa: B008
    ) -> None:
        """Detaches the metric from ``engine``, for this usage."""
        super().detach(engine, self._usage(usage))

    def is_attached(
        self,
        engine: Engine[Any, Any],
        usage: str | MetricUsage = RunningBatchWise(),  # noqa: B008
    ) -> bool:
        """Returns whether the metric is attached to ``engine`` with this usage."""
        return super().is_attached(engine, self._usage(usage))

    def _usage(self, usage: str | MetricUsage) -> str | MetricUsage:
        if self.epoch_bound is None:
            return usage
        return SingleEpochRunningBatchWise() if self.epoch_bound else RunningBatchWise()

    def _feeding(self, usage: MetricUsage) -> list[tuple[Any, Callable[..., None]]]:
        started, update = super()._feeding(usage)
        return (
            [started, update]
            if self._source is None
            else [started, (Events.ITERATION_COMPLETED, self._update_source), update]
        )

    def _update_source(self, engine: Engine[Any, Any]) -> None:
        assert self._source is not None
        self._source.iteration_completed(engine)

    def _average_source(self) -> None:
        assert self._source is not None
        try:
            self._add(self._source.compute())
        except NotComputableError as error:
            if type(error) is not NotComputableError:
                raise
            return  # no process has an example
        self._source.reset()

    def _add(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self._dtype = (
                str(value.dtype).removeprefix("torch.") if value.is_floating_point() else None
            )
            device = self._accumulates_on or value.device
            value = value.detach().to(device, wide_dtype(device), copy=True)
        self._average = (
            value
            if self._average is None
            else self.alpha * self._average + (1 - self.alpha) * value
        )

    def _state(self) -> OrderedDict[str, Any]:
        return OrderedDict(
            _value=self._average.clone() if isinstance(self._average, Tensor) else self._average,
            src=None if self._source is None else self._source._state(),
            _dtype=self._dtype,
        )

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        (state,) = states
        value, source = state["_value"], state["src"]
        if (source is None) != (self._source is None):
            raise ValueError(
                f"it should be of the average of {self.src or 'outputs'}, but given {source!r} for src"
            )
        self.reset()
        if isinstance(value, Tensor):  # states of Ignite have no _dtype
            dtype = str(value.dtype).removeprefix("torch.") if value.is_floating_point() else None
            self._dtype = state.get("_dtype", dtype)
            device = self._accumulates_on or value.device
            value = value.to(device, wide_dtype(device), copy=True)
        self._average = value
        if self._source is not None:
            self._source._set_state([source])
