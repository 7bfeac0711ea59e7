"""Errors of single examples that several metrics are made of, and medians. Pure functions of tensors (B,) or (B, K)."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from ignite.metrics._scratch import array_of, library_of, numpy, quietly
from ignite.metrics.statistics._statistic import wide_dtype

Numbers: TypeAlias = Any
"""A tensor, or an array of numpy, whose calls cost less."""


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """The quotient, with 0 for 0/0: where nothing is wrong, nothing is wrong in relation to anything."""
    quotient = numerator / denominator
    if not isinstance(quotient, Tensor) and not numpy.isnan(quotient.sum()):
        return quotient
    return library_of(quotient).where(numerator == 0, numerator, quotient)


def absolute_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """By how much predictions are off."""
    return abs(y - y_pred)


def relative_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """Absolute errors, as a fraction of targets."""
    return ratio(abs(y - y_pred), abs(y))


def symmetric_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """Absolute errors, as a fraction of the sum of both absolute values: from 0 to 1."""
    return ratio(abs(y - y_pred), abs(y) + abs(y_pred))


def errors_relative_to_mean(y_pred: Numbers, y: Numbers) -> Numbers:
    """Absolute errors, as a fraction of those of predicting the mean of all targets."""
    deviations = y - y[:1]  # exact for numbers that are far from 0 and near to each other
    return ratio(abs(y - y_pred), abs(deviations - deviations.mean(axis=0)))


def widened(tensor: Tensor) -> Tensor:
    """In the widest dtype of its device, (N,) or (N, K); (N, 1) becomes (N,)."""
    tensor = tensor.detach().to(wide_dtype(tensor))
    return tensor.squeeze(1) if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor


def median(values: Tensor) -> float:
    """The middle value, or the average of the two middle ones; NaN if there is a NaN, or no value.

    Of several columns (N, K), the mean of their medians.
    """
    n = len(values)
    if not n:
        return float("nan")
    array = array_of(values) if values.ndim == 1 else None
    if array is not None:
        lower, upper = (n - 1) // 2, n // 2
        parted = numpy.partition(array, (lower, upper))
        with quietly():
            return float("nan" if numpy.isnan(array.max()) else parted[lower] / 2 + parted[upper] / 2)
    ordered = values.sort(dim=0).values
    middle = ordered[(n - 1) // 2] / 2 + ordered[n // 2] / 2
    return float(torch.where(ordered[-1].isnan(), torch.nan, middle).mean())  # NaN comes last
