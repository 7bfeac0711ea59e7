"""Errors of single examples that several metrics are made of, and medians. Pure functions of tensors (B,) or (B, K)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ignite.metrics._distances import HUGE, LEAST
from ignite.metrics._scratch import array_of, arrays_of, numpy, quietly
from ignite.metrics.statistics._statistic import wide_dtype

Numbers: TypeAlias = Any
"""A tensor, or an array of numpy, whose calls cost less."""


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """The quotient, with 0 for 0/0: where nothing is wrong, nothing is wrong in relation to anything.

    Of arrays it stays NaN, which shows in their sum: then tensors are asked.
    """
    quotient = numerator / denominator
    return torch.where(numerator == 0, numerator, quotient) if isinstance(quotient, Tensor) else quotient


def absolute_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """By how much predictions are off."""
    return abs(y - y_pred)


def relative_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """Absolute errors, as a fraction of targets."""
    return ratio(abs(y - y_pred), abs(y))


def symmetric_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """Absolute errors, as a fraction of the sum of both absolute values: from 0 to 1."""
    sizes = abs(y) + abs(y_pred)
    if not isinstance(sizes, Tensor) and sizes.dtype == "float32" and numpy.isinf(sizes.max()):
        return symmetric_errors(y_pred.astype("float64"), y.astype("float64"))
    return ratio(abs(y - y_pred), sizes)


def errors_relative_to_mean(y_pred: Numbers, y: Numbers) -> Numbers:
    """Absolute errors, as a fraction of those of predicting the mean of all targets."""
    deviations = y - y[:1]  # exact for numbers that are far from 0 and near to each other
    return errors_relative_to(y_pred, y, y[:1], deviations.mean(axis=0))


def errors_relative_to(y_pred: Numbers, y: Numbers, high: Numbers, low: Numbers) -> Numbers:
    """Likewise, of a mean in two parts."""
    return ratio(abs(y - y_pred), abs((y - high) - low))


def widened(tensor: Tensor) -> Tensor:
    """In the widest dtype of its device, (N,) or (N, K); (N, 1) becomes (N,)."""
    tensor = tensor.detach().to(wide_dtype(tensor))
    return tensor.squeeze(1) if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor


def median_of(errors: Callable[[Numbers, Numbers], Numbers], y_pred: Tensor, y: Tensor) -> float:
    """The median of ``errors(y_pred, y)``, each that of one example and computed in the widest dtype.

    Many of float32 are then held as float32, if their median has room there.
    """
    arrays = arrays_of(y_pred, y) if y_pred.ndim == y.ndim == 1 and len(y) else None
    if arrays is not None:
        value = _middle(in_pieces(errors, *arrays))
        if LEAST < value < HUGE:  # NaN may come from 0/0, which counts as 0
            return value
    return median(errors(widened(y_pred), widened(y)))


def in_pieces(function: Callable[..., Any], y_pred: Any, y: Any) -> Any:
    """``function(y_pred, y)``, of arrays (N,): shape (N,); in pieces for which no memory is asked of the system."""
    n = len(y)
    found = numpy.empty(n, dtype="float32" if n >= MANY and y.itemsize == y_pred.itemsize == 4 else "float64")
    with quietly():
        for i in range(0, n, _PIECE):
            piece = slice(i, i + _PIECE)
            found[piece] = function(y_pred[piece].astype("float64"), y[piece].astype("float64"))
    return found


_PIECE = MANY = 2**12
"""Of fewer examples the widest dtype takes no time."""


def mean_in_parts(y: Tensor) -> tuple[float, float]:
    """Of targets (N,), in two parts: the first target, and the mean of how far they are from it.

    Their sum may be less exact, for numbers that are far from 0 and near to each other.
    """
    high = y[0].item()
    pieces = y.detach().split(_PIECE)
    return high, math.fsum((piece.to(wide_dtype(y)) - high).sum().item() for piece in pieces) / len(y)


def _middle(values: Any) -> float:
    """The median of an array (N,), which it puts into another order."""
    n = len(values)
    values.partition(n // 2)  # around one place, which takes much less than around two
    upper, lower = float(values[n // 2]), float(values[: n // 2].max()) if n > 1 else math.nan
    if math.isnan(values[n // 2 :].max()):  # NaN comes last
        return math.nan
    return upper if n % 2 else lower / 2 + upper / 2


def median(values: Tensor) -> float:
    """The middle value, or the average of the two middle ones; NaN if there is a NaN, or no value.

    Of several columns (N, K), the mean of their medians.
    """
    if not len(values):
        return math.nan
    array = array_of(values) if values.ndim == 1 else None
    if array is not None:
        return _middle(array.copy())
    n = len(values)
    ordered = values.sort(dim=0).values
    middle = ordered[(n - 1) // 2] / 2 + ordered[n // 2] / 2
    return float(torch.where(ordered[-1].isnan(), torch.nan, middle).mean())  # NaN comes last
