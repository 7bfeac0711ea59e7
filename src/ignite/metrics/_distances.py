"""What distances between predictions and targets have in common: pairs of tensors, and means over examples.

B examples in a batch, each of any shape, D elements in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._view import View
from ignite.metrics.statistics import Totals
from ignite.metrics.statistics._statistic import wide_dtype

_NARROW = (torch.float16, torch.bfloat16, torch.float32)


def read_errors(output: Sequence[Tensor]) -> Tensor:
    """Predictions minus targets, of the shape of predictions.

    Of float32 or less in float32, where a difference is right to 6e-8; of others in the widest dtype. They are to be
    added up in the widest.

    Raises:
        ValueError: they do not have the same number of elements, or no batch dimension.
        TypeError: they are complex.
    """
    y_pred, y = output[0].detach(), output[1].detach()
    if y_pred.numel() != y.numel() or not y_pred.ndim:
        raise ValueError(
            f"y_pred and y should have the same shape, but given {tuple(y_pred.shape)} and {tuple(y.shape)}"
        )
    y = y.reshape(y_pred.shape)
    if y_pred.dtype in _NARROW and y.dtype in _NARROW:
        return y_pred.float() - y.float()
    return widened(y_pred) - widened(y)


def read_rows(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Predictions and targets of equal shape (B, ...) as rows, shape (B, D).

    Raises:
        ValueError: shapes differ, or there is no batch dimension.
    """
    y_pred, y = output[0].detach(), output[1].detach()
    if y_pred.shape != y.shape or not y_pred.ndim:
        raise ValueError(
            f"y_pred and y must be in the same shape (batch_size, ...), got {tuple(y_pred.shape)} != {tuple(y.shape)}"
        )
    rows = (y_pred.shape[0], math.prod(y_pred.shape[1:]))
    return widened(y_pred).reshape(rows), widened(y).reshape(rows)


def widened(tensor: Tensor) -> Tensor:
    """In the widest floating point dtype of its device.

    Raises:
        TypeError: it is complex.
    """
    if tensor.is_complex():
        raise TypeError(f"y_pred and y should be real, but given {tensor.dtype}")
    return tensor.to(wide_dtype(tensor))


def row_of_logits(output: Any, index: int, name: str) -> Tensor:
    """Logits of shape (B, C, ...) with further dimensions as further examples: (M, C), wide.

    Raises:
        ValueError: there is no dimension of classes.
    """
    logits: Tensor = output[index].detach()
    if logits.ndim < 2 or not logits.shape[1]:
        raise ValueError(f"{name} must be in the shape of (B, C) or (B, C, ...), got {tuple(logits.shape)}.")
    return widened(logits).movedim(1, -1).reshape(-1, logits.shape[1])


class MeanOfExamples(View):
    """The mean over examples of what one statistic has added up."""

    def _value(self, *statistics: Any) -> float:
        totals: Totals = statistics[0]
        return float(totals.values[0]) / totals.num_examples
