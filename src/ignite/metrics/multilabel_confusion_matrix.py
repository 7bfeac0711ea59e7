"""Multilabel confusion matrix: a two-by-two matrix for each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._output_arrays import count_not_binary
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart
from ignite.metrics._views import View
from ignite.metrics.statistics import Reading, Statistic, Totals

__all__ = ["MultiLabelConfusionMatrix"]

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class MultiLabelConfusionMatrix(View):
    """Confusion matrix ``[[TN, FP], [FN, TP]]`` of each label: a tensor of shape (C, 2, 2).

    Update with ``(y_pred, y)``:

    - ``y_pred``: predicted labels, 0 or 1, integers of shape (B, C, ...). Further dimensions hold
      further examples.
    - ``y``: true labels, of the same form.

    Args:
        num_classes: number of labels C, at least 2.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to count. By default, that of the predictions.
        normalized: divide the matrix of each label by its sum.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``num_classes`` is too small. In ``update``, dtypes, shapes or values are not
            those above. For values on an accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = MultiLabelConfusionMatrix(num_classes=2)
        >>> metric.update((torch.tensor([[1, 0], [1, 1]]), torch.tensor([[1, 0], [0, 1]])))
        >>> metric.compute().tolist()
        [[[0, 1], [0, 1]], [[1, 0], [0, 1]]]
    """

    confusion_matrix = StatisticPart(
        "total_0",
        lambda metric: torch.zeros(
            metric.num_classes, 2, 2, dtype=torch.int64, device=metric._device
        ),
    )
    _num_examples = StatisticPart("num_examples")

    def __init__(
        self,
        num_classes: int,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        normalized: bool = False,
        skip_unrolling: bool = False,
    ) -> None:
        if num_classes <= 1:
            raise ValueError(f"Argument num_classes needs to be > 1, but given {num_classes}")
        self.num_classes = num_classes
        self.normalized = normalized
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        device = self._accumulates_on
        return [Totals(_count, (self.num_classes,), num_values=2, device=device, select=_read)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        y_pred, y = reading.output
        _check(y_pred, y, self.num_classes)

    def _name(self) -> str:
        return "Confusion matrix"

    def _value(self, totals: Totals) -> Tensor:
        matrix, num_wrong = totals.values
        if int(num_wrong):
            raise ValueError(
                f"y_pred and y must be binary tensors, but {int(num_wrong)} values are neither 0 nor 1"
            )
        if not self.normalized:
            return matrix.clone()
        matrix = matrix.to(self._double_dtype)
        return matrix / matrix.sum(dim=(1, 2), keepdim=True)  # the sum is the number of examples


def _read(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns predicted and true labels (B, C, ...); checks on the CPU that they are 0 or 1."""
    y_pred, y = output
    if y.is_cpu:
        count_not_binary_values("y_pred", y_pred)
        count_not_binary_values("y", y)
    return y_pred, y


def _count(pair: tuple[Tensor, Tensor], num_classes: int) -> tuple[int, Tensor, Tensor | int]:
    """Returns the number of examples, the matrices, and the number of values other than 0 and 1."""
    y_pred, y = pair
    dims = [0, *range(2, y.ndim)]  # all but the classes
    both, predicted, true = (y_pred & y).sum(dims), y_pred.sum(dims), y.sum(dims)
    num_examples = y.numel() // num_classes
    cells = [num_examples - predicted - true + both, predicted - both, true - both, both]
    matrix = torch.stack(cells, dim=1).view(num_classes, 2, 2)
    num_wrong = 0 if y.is_cpu else count_not_binary("y_pred", y_pred) + count_not_binary("y", y)
    return num_examples, matrix, num_wrong


def count_not_binary_values(name: str, values: Tensor) -> int | Tensor:
    """Counts the values other than 0 and 1; raises on the CPU, with this metric's message."""
    try:
        return count_not_binary(name, values)
    except ValueError as error:
        raise ValueError(f"{name} must be a binary tensor: {error}") from None


def _check(y_pred: Tensor, y: Tensor, num_classes: int) -> None:
    given = f"but given y_pred of shape {tuple(y_pred.shape)} and y of shape {tuple(y.shape)}"
    for name, values in (("y_pred", y_pred), ("y", y)):
        if values.ndim < 2:
            raise ValueError(
                f"{name} must at least have shape (batch_size, num_classes (currently set to {num_classes}), ...), "
                f"{given}"
            )
    if len(y_pred) != len(y):
        raise ValueError(f"y and y_pred have different batch size: {len(y)} vs {len(y_pred)}")
    for name, values in (("y_pred", y_pred), ("y", y)):
        if values.shape[1] != num_classes:
            raise ValueError(
                f"{name} does not have correct number of classes: {values.shape[1]} vs {num_classes}"
            )
    if y.shape != y_pred.shape:
        raise ValueError(
            f"y and y_pred shapes must match: {tuple(y.shape)} vs {tuple(y_pred.shape)}"
        )
    for name, values in (("y_pred", y_pred), ("y", y)):
        if values.dtype not in _INTEGERS:
            raise ValueError(f"{name} must be of any type: {_INTEGERS}, but given {values.dtype}")
