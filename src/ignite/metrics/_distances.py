"""Reading pairs of predictions and targets for distances, and accurate sums over them.

In comments on shapes: B examples in a batch, D elements in an example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._output_arrays import array_of, detached, largest, smallest
from ignite.metrics.statistics._statistic import wide_dtype

NARROW = frozenset((torch.float16, torch.bfloat16, torch.float32))
"""Floating-point dtypes that convert to float32 without loss."""
LEAST, HUGE = 1e-25, 1e38
"""Sums in float32 outside of this range may be affected by underflow or overflow."""


def read_fitting(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns predictions (B, ...), and targets reshaped to the shape of the predictions.

    Raises:
        ValueError: the shapes differ in more than dimensions of size 1 after the first.
        TypeError: they are complex.
    """
    y_pred, y = output
    if y_pred.shape != y.shape:
        if y_pred.shape[:1] != y.shape[:1] or _without_ones(y_pred) != _without_ones(y):
            raise ValueError(
                f"y_pred and y should have the same shape, but given {tuple(y_pred.shape)} and {tuple(y.shape)}; "
                "they may differ only in dimensions of size 1 after the first"
            )
        y = y.reshape(y_pred.shape)
    return _real(y_pred), _real(y)


def _without_ones(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape[1:] if size != 1]


def exact_sum(
    pair: tuple[Tensor, Tensor],
    function: Callable[..., Tensor],
    args: tuple[Any, ...] = (),
    *,
    least: float,
    quick: Callable[..., Tensor] | None = None,
) -> Tensor | float:
    """Returns ``function(x, y, *args)``, with a relative error of about the dtype's precision.

    The error is at most about 1e-6 for float32 and narrower dtypes, and 1e-15 for others. On the
    CPU, the sum is first computed in float32 and accepted if it is larger than ``least``. Otherwise
    it is computed in the widest dtype.

    Args:
        pair: x and y.
        function: computes a sum of nonnegative terms.
        args: further arguments of ``function``.
        least: a bound that is large compared to the rounding error in float32.
        quick: called in float32 instead of ``function``. It may return NaN where ``function`` does
            not.
    """
    x, y = pair
    if y.is_cpu and x.dtype in NARROW and y.dtype in NARROW:
        if x.dtype is not torch.float32 or y.dtype is not torch.float32:
            x, y = x.float(), y.float()
        total: float = (quick or function)(x, y, *args).item()
        if least < total < HUGE:
            return total
    return function(widened(pair[0]), widened(pair[1]), *args)


JOINS_ERRORS_BELOW = 2**9
"""From this number of elements on, summing errors is faster than copying and joining batches."""


def sum_errors(pair: tuple[Tensor, Tensor], degree: int) -> tuple[int, Tensor | float]:
    """Returns the number of examples and the sum of absolute (1) or squared (2) errors."""
    y_pred, y = pair
    # A fast path of exact_sum for the usual case.
    if y.dtype is torch.float32 is y_pred.dtype and y.is_cpu:
        total = _sum_of_powers(y_pred, y, degree).item()
        if LEAST < total < HUGE:
            return y.shape[0], total
    return y.shape[0], exact_sum(pair, _sum_of_powers, (degree,), least=LEAST)


def _sum_of_powers(y_pred: Tensor, y: Tensor, degree: int) -> Tensor:
    errors = y_pred - y
    return (errors.abs_() if degree == 1 else errors.square_()).sum()


def read_same(output: Sequence[Tensor], names: str = "y_pred and y") -> tuple[Tensor, Tensor]:
    """Returns two tensors of equal shape (B, ...), detached.

    Raises:
        ValueError: the shapes differ.
        TypeError: one is complex.
    """
    y_pred, y = output
    if y_pred.shape != y.shape:
        raise ValueError(
            f"{names} must be in the same shape, got {tuple(y_pred.shape)} != {tuple(y.shape)}"
        )
    if y_pred.requires_grad or y.requires_grad or y_pred.is_complex() or y.is_complex():
        return _real(y_pred), _real(y)
    return y_pred, y  # the usual case, without two calls


def read_rows(output: Sequence[Tensor], names: str = "y_pred and y") -> tuple[Tensor, Tensor]:
    """Reads as :func:`read_same`, and flattens examples to rows of shape (B, D)."""
    y_pred, y = read_same(output, names)
    if y_pred.ndim == 2:
        return y_pred, y
    rows = (y_pred.shape[0], math.prod(y_pred.shape[1:]))
    return y_pred.reshape(rows), y.reshape(rows)


def squared_distances(a: Tensor, b: Tensor, variance: float | Tensor | None = None) -> Tensor:
    r"""Returns the squared distances of all pairs of rows (N, D) and (M, D), shape (N, M).

    On the CPU, they are computed by a matrix product, which is many times faster, unless its
    rounding error would matter in :math:`\exp(-d / 2v)`, because distances are large compared to
    :math:`v`.

    Args:
        a: rows, in the widest dtype.
        b: rows, in the same dtype.
        variance: :math:`v`; None for the median of the squared distances.
    """
    if a.is_cpu and a.shape[1] > 1:
        middle = b.mean(dim=0)
        x, y = a - middle, b - middle
        of_x, of_y = torch.linalg.vecdot(x, x), torch.linalg.vecdot(y, y)
        found = torch.addmm(of_x[:, None] + of_y, x, y.T, alpha=-2).clamp_(min=0)
        farthest = max(of_x.max().item(), of_y.max().item())
        if farthest < _FAR * float(middle_value(found) if variance is None else variance):
            return found
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square_()


_FAR = 1e5
"""Squared distance from the mean, in variances, up to which a matrix product is accurate."""


def middle_value(values: Tensor) -> Tensor:
    """Returns the median; of an even number of values, the mean of the two middle ones.

    ``torch.quantile`` is limited to 16 million values.
    """
    flat = values.flatten()
    lower, upper = (len(flat) + 1) // 2, len(flat) // 2 + 1
    first = flat.kthvalue(lower).values
    return first if lower == upper else (first + flat.kthvalue(upper).values) / 2


def widened(tensor: Tensor) -> Tensor:
    """Converts a tensor to the widest floating-point dtype of its device.

    Raises:
        TypeError: it is complex.
    """
    _check_real(tensor)
    return tensor.to(wide_dtype(tensor))


def _real(tensor: Tensor) -> Tensor:
    """Detaches a tensor, or raises TypeError if it is complex."""
    if tensor.is_complex():
        _check_real(tensor)
    return tensor.detach() if tensor.requires_grad else tensor


def _check_real(tensor: Tensor) -> None:
    if tensor.is_complex():
        raise TypeError(f"y_pred and y should be real, but given {tensor.dtype}")


def rows_of_logits(logits: Tensor, name: str) -> Tensor:
    """Reshapes logits (B, C, ...) to (M, C); positions in further dimensions become examples.

    Raises:
        ValueError: there is no dimension of classes.
        TypeError: they are complex.
    """
    shape = logits.shape
    if len(shape) < 2 or not shape[1]:
        raise ValueError(
            f"{name} must be in the shape of (B, C) or (B, C, ...), got {tuple(shape)}."
        )
    _check_real(logits)
    logits = detached(logits)
    return logits if len(shape) == 2 else logits.movedim(1, -1).reshape(-1, shape[1])


def read_predicted_rows(output: Any) -> tuple[Tensor, Tensor]:
    """Returns the predicted logits (M, C) twice, for statistics that read pairs of tensors."""
    rows = rows_of_logits(output[0], "y_pred")
    return rows, rows


def log_probabilities(rows: Tensor) -> Tensor:
    """Returns the log-softmax of logits (M, C)."""
    if rows.shape[1] < _FEW_CLASSES:
        return rows.T.log_softmax(dim=0).T  # faster than over many short rows
    return rows.log_softmax(dim=1)


_FEW_CLASSES = 32


def odds_of(logits: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor] | None:
    """Returns the exponentials of logits (M, C, ...) and their sums over classes (M, ...).

    Takes one pass instead of the three of a softmax, which first subtracts the maximum of the
    logits. Returns None if that is necessary: if a sum is so far from 1 that its logarithm has an
    error of more than about 1e-6, or if many classes underflow. Also returns None without examples,
    and for NaN.

    Args:
        logits: of float32.
        out: where to store the exponentials.
    """
    odds = torch.exp(logits, out=out)
    sums = odds.sum(dim=1)
    array = array_of(sums.flatten())
    if array is None or not array.size:
        return None
    return (odds, sums) if smallest(array) > _LEAST_ODDS and largest(array) < _MOST_ODDS else None


_LEAST_ODDS, _MOST_ODDS = 1e-6, 1e6
