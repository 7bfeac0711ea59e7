"""The sum, the largest and the smallest of the outputs of an engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.accumulation import (
    OfEqualExamples,
    VariableAccumulation,
    _Accumulation,
    add_examples,
    as_tensor_of,
)
from ignite.metrics.statistics import Statistic

__all__ = ["Max", "Min", "Sum"]


class Sum(OfEqualExamples, VariableAccumulation):
    """Sum of the outputs of an engine.

    Update with a number or a tensor; :class:`Average` says what counts as an example. NaN makes the
    sum NaN.

    Args:
        output_transform: turns ``engine.state.output`` into the number or tensor.
        device: device on which to accumulate, in float64 (float32 on MPS). By default, that of the
            outputs.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: in ``update``, the output is neither a number nor a tensor.
        ValueError: in ``update``, an example has another shape than those before.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = Sum()
        >>> for batch in (1.0, 2.5):
        ...     metric.update(batch)
        >>> metric.compute().item()
        3.5
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(add_examples, output_transform, device, skip_unrolling)

    def _value(self, found: Any) -> Any:
        return found.accumulator.clone()


class Max(OfEqualExamples, VariableAccumulation):
    """Largest of the outputs of an engine.

    Update with a number or a tensor; :class:`Average` says what counts as an example. The largest
    of tensors is taken element by element. NaN is larger than any number.

    Arguments and errors are those of :class:`Sum`.

    Example:
        >>> metric = Max()
        >>> metric.update(torch.tensor([[1.0, 5.0], [3.0, 2.0]]))
        >>> metric.compute()
        tensor([3., 5.], dtype=torch.float64)
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(_larger, output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [_Largest(self._op, self._accumulates_on)]

    def _value(self, found: Any) -> Any:
        return found.accumulator.clone()


class Min(OfEqualExamples, VariableAccumulation):
    """Smallest of the outputs of an engine.

    Like :class:`Max`, but NaN is smaller than any number.

    Example:
        >>> metric = Min()
        >>> for batch in (4.0, 2.0, 3.0):
        ...     metric.update(batch)
        >>> metric.compute().item()
        2.0
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(_smaller, output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [_Largest(self._op, self._accumulates_on)]

    def _value(self, found: Any) -> Any:
        return -found.accumulator


class _Largest(_Accumulation):
    """The largest value, element by element, and the number of examples."""

    PARTS: ClassVar = {"num_examples": "SUM", "accumulator": "MAX"}

    def reset(self) -> None:
        super().reset()
        self._accumulator.fill_(-math.inf)


def _larger(largest: Tensor, output: float | Tensor) -> Tensor:
    values = as_tensor_of(output, largest)
    if values.ndim > 1:
        if not values.shape[0]:
            return largest
        values = values.amax(dim=0)
    return torch.maximum(largest, values)


def _smaller(largest: Tensor, output: float | Tensor) -> Tensor:
    """Accumulates the largest of the negated values, so that processes are combined in the same way."""
    return _larger(largest, -output)
