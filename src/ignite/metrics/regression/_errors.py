"""Errors of single examples that several metrics are made of, and medians. Pure functions of tensors (B,) or (B, K)."""

from __future__ import annotations

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import wide_dtype


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, with 0 for 0/0: where nothing is wrong, nothing is wrong in relation to anything."""
    return torch.where(numerator == 0, numerator, numerator / denominator)


def absolute_errors(y_pred: Tensor, y: Tensor) -> Tensor:
    """By how much predictions are off."""
    return (y - y_pred).abs()


def relative_errors(y_pred: Tensor, y: Tensor) -> Tensor:
    """Absolute errors, as a fraction of targets."""
    return ratio((y - y_pred).abs(), y.abs())


def symmetric_errors(y_pred: Tensor, y: Tensor) -> Tensor:
    """Absolute errors, as a fraction of the sum of both absolute values: from 0 to 1."""
    return ratio((y - y_pred).abs(), y.abs() + y_pred.abs())


def errors_relative_to_mean(y_pred: Tensor, y: Tensor) -> Tensor:
    """Absolute errors, as a fraction of those of predicting the mean of all targets."""
    deviations = y - y[:1]  # exact for numbers that are far from 0 and near to each other
    return ratio((y - y_pred).abs(), (deviations - deviations.mean(dim=0)).abs())


def widened(tensor: Tensor) -> Tensor:
    """In the widest dtype of its device, (N,) or (N, K); (N, 1) becomes (N,)."""
    tensor = tensor.detach().to(wide_dtype(tensor))
    return tensor.squeeze(1) if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor


def median(values: Tensor) -> float:
    """The middle value, or the average of the two middle ones; NaN if there is a NaN, or no value.

    Of several columns (N, K), the mean of their medians.
    """
    ordered = values.sort(dim=0).values
    if not len(ordered):
        return float("nan")
    n = len(ordered)
    middle = ordered[(n - 1) // 2] / 2 + ordered[n // 2] / 2
    return float(torch.where(ordered[-1].isnan(), torch.nan, middle).mean())  # NaN comes last
