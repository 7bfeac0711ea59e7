"""What distances between predictions and targets have in common: reading of pairs, and exact sums over them.

B examples in a batch, each of any shape, D elements in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._host_arrays import detached
from ignite.metrics.statistics._statistic import wide_dtype

NARROW = frozenset((torch.float16, torch.bfloat16, torch.float32))
"""Floating point dtypes whose numbers are numbers of float32."""
LEAST, HUGE = 1e-25, 1e38
"""A sum in float32 that is smaller may have lost to rounding, one that is larger may have overflown on the way."""


def read_fitting(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Predictions and targets, of the shape of predictions: (B, ...), which may differ in dimensions of size 1.

    Raises:
        ValueError: they differ in the first dimension, or in others than those of size 1.
        TypeError: they are complex.
    """
    y_pred, y = output
    if y_pred.shape != y.shape:
        if y_pred.shape[:1] != y.shape[:1] or _without_ones(y_pred) != _without_ones(y):
            raise ValueError(
                f"y_pred and y should have the same shape, but given {tuple(y_pred.shape)} and {tuple(y.shape)}; "
                "only in dimensions of size 1 after the first they may differ"
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
    """``function(x, y, *args)``, a sum over what is not negative, right to 1e-6 for float32 or less, else to 1e-15.

    On the CPU, where the sum can be looked at, it is computed in float32 if it then is at least
    ``least``, which is large beside what rounding takes. Otherwise in the widest dtype.

    Args:
        pair: x and y.
        function: see above.
        args: see above.
        least: see above.
        quick: is called in float32 instead of ``function``; it may return NaN where that does not.
    """
    x, y = pair
    if y.is_cpu and x.dtype in NARROW and y.dtype in NARROW:
        if x.dtype is not torch.float32 or y.dtype is not torch.float32:
            x, y = x.float(), y.float()
        total: float = (quick or function)(x, y, *args).item()
        if least < total < HUGE:
            return total
    return function(widened(pair[0]), widened(pair[1]), *args)


def sum_errors(pair: tuple[Tensor, Tensor], degree: int) -> tuple[int, Tensor | float]:
    """The number of examples, and the sum of absolute errors (1) or of squared ones (2)."""
    y_pred, y = pair
    if (
        y.dtype is torch.float32 is y_pred.dtype and y.is_cpu
    ):  # as exact_sum, but this is what usually comes
        total = _sum_of_powers(y_pred, y, degree).item()
        if LEAST < total < HUGE:
            return y.shape[0], total
    return y.shape[0], exact_sum(pair, _sum_of_powers, (degree,), least=LEAST)


def _sum_of_powers(y_pred: Tensor, y: Tensor, degree: int) -> Tensor:
    errors = y_pred - y
    return (errors.abs_() if degree == 1 else errors.square_()).sum()


def read_same(output: Sequence[Tensor], names: str = "y_pred and y") -> tuple[Tensor, Tensor]:
    """Two tensors of equal shape (B, ...).

    Raises:
        ValueError: shapes differ.
        TypeError: one is complex.
    """
    y_pred, y = output
    if y_pred.shape != y.shape:
        raise ValueError(
            f"{names} must be in the same shape, got {tuple(y_pred.shape)} != {tuple(y.shape)}"
        )
    return _real(y_pred), _real(y)


def read_rows(output: Sequence[Tensor], names: str = "y_pred and y") -> tuple[Tensor, Tensor]:
    """As :func:`read_same`, as rows of shape (B, D)."""
    y_pred, y = read_same(output, names)
    if y_pred.ndim == 2:
        return y_pred, y
    rows = (y_pred.shape[0], math.prod(y_pred.shape[1:]))
    return y_pred.reshape(rows), y.reshape(rows)


def squared_distances(a: Tensor, b: Tensor, variance: float | Tensor | None = None) -> Tensor:
    r"""Of all pairs of rows (N, D) and (M, D): shape (N, M).

    On the CPU by a matrix product, which is many times faster, unless rounding would show in
    :math:`\exp(-d / 2v)`: for rows that are near to each other in relation to how far they spread.

    Args:
        a: rows, in the widest dtype.
        b: likewise.
        variance: :math:`v`; None for the median of the distances.
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
"""Distances from the middle, in variances, beside which rounding does not show."""


def middle_value(values: Tensor) -> Tensor:
    """The median, or the mean of the two middle ones; `torch.quantile` takes no more than 16 million."""
    flat = values.flatten()
    lower, upper = (len(flat) + 1) // 2, len(flat) // 2 + 1
    first = flat.kthvalue(lower).values
    return first if lower == upper else (first + flat.kthvalue(upper).values) / 2


def widened(tensor: Tensor) -> Tensor:
    """In the widest floating point dtype of its device.

    Raises:
        TypeError: it is complex.
    """
    _check_real(tensor)
    return tensor.to(wide_dtype(tensor))


def _real(tensor: Tensor) -> Tensor:
    """The tensor without its gradient, unless it is complex."""
    if tensor.is_complex():
        _check_real(tensor)
    return tensor.detach() if tensor.requires_grad else tensor


def _check_real(tensor: Tensor) -> None:
    if tensor.is_complex():
        raise TypeError(f"y_pred and y should be real, but given {tensor.dtype}")


def rows_of_logits(logits: Tensor, name: str) -> Tensor:
    """Logits of shape (B, C, ...) with further dimensions as further examples: (M, C).

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
    """Rows of predicted logits, (M, C), twice: what reads two tensors takes what needs no targets."""
    rows = rows_of_logits(output[0], "y_pred")
    return rows, rows


def log_probabilities(rows: Tensor) -> Tensor:
    """The logarithms of probabilities given by logits (M, C)."""
    if rows.shape[1] < _FEW_CLASSES:
        return rows.T.log_softmax(dim=0).T  # many columns take less time than many short rows
    return rows.log_softmax(dim=1)


_FEW_CLASSES = 32
