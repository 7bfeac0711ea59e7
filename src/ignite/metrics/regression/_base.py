"""Shared functions of regression metrics: input checks, errors of single examples, sums and medians.

B is the number of examples in a batch, N that of all examples.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics._distances import HUGE, LEAST
from ignite.metrics._output_arrays import (
    array_of,
    arrays_of,
    detached,
    numpy,
    without_float_warnings,
)
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.metric import Metric
from ignite.metrics.statistics import Reading, Totals
from ignite.metrics.statistics._statistic import wide_dtype

_DTYPES = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))


def read_pair(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns predictions and targets, shape (B,).

    Raises:
        ValueError: they are neither both of shape (B,) nor both (B, 1).
        TypeError: they are not floating point.
    """
    y_pred, y = output
    shape = y_pred.shape
    num_dims = len(shape)
    fits = shape == y.shape and (num_dims == 1 or (num_dims == 2 and shape[1] == 1))
    if not fits or y_pred.dtype not in _DTYPES or y.dtype not in _DTYPES:
        _refuse(y_pred, y)
    y_pred, y = detached(y_pred), detached(y)
    return (y_pred, y) if num_dims == 1 else (y_pred.flatten(), y.flatten())


def _refuse(y_pred: Tensor, y: Tensor) -> NoReturn:
    for name, tensor in (("y_pred", y_pred), ("y", y)):
        if not (tensor.ndim == 1 or (tensor.ndim == 2 and tensor.shape[1] == 1)):
            raise ValueError(
                f"Input {name} should have shape (N,) or (N, 1), but given {tuple(tensor.shape)}"
            )
    if y_pred.shape != y.shape:
        raise ValueError(
            f"Input data shapes should be the same, but given {tuple(y_pred.shape)} and {tuple(y.shape)}"
        )
    name, tensor = ("y_pred", y_pred) if y_pred.dtype not in _DTYPES else ("y", y)
    raise TypeError(
        f"Input {name} dtype should be float 16, 32 or 64, or bfloat16, but given {tensor.dtype}"
    )


def read_divisible_pair(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Like :func:`read_pair`, and checks on the CPU, where it is cheap, that no target is 0.

    Raises:
        NotComputableError: a target on the CPU is 0.
    """
    y_pred, y = read_pair(output)
    array = array_of(y)
    if y.is_cpu and not (y.all() if array is None else array.all()):
        raise ZeroTargetError
    return y_pred, y


class ZeroTargetError(NotComputableError):
    """A target is 0, and the metric divides by targets."""

    def __init__(self) -> None:
        super().__init__("The ground truth has 0.")


def check_columns(reading: Reading) -> None:
    """Raises ValueError unless predictions and targets, of any dtype, are (B,) or (B, 1), or both of shape (B, K)."""
    y_pred, y = reading.derive(select_samples)
    if y_pred.shape != y.shape:
        raise ValueError(
            "Input y_pred and y should have the same shape (N,) or (N, K), "
            f"but given {tuple(reading.output[0].shape)} and {tuple(reading.output[1].shape)}"
        )


def sum_terms(pair: tuple[Tensor, Tensor], terms: Callable[..., Any]) -> tuple[int, Tensor | float]:
    """Returns the number of examples, and the sum of ``terms(y_pred, y)``, computed in the widest dtype."""
    y_pred, y = pair
    arrays = arrays_of(y_pred, y)
    if arrays is not None:
        with without_float_warnings():
            total = float(terms(arrays[0].astype("float64"), arrays[1].astype("float64")).sum())
        if total == total:  # NaN may result from 0/0, which counts as 0
            return y.shape[0], total
    dtype = wide_dtype(y)
    return y.shape[0], terms(y_pred.to(dtype), y.to(dtype)).sum()


def sum_sizes(pair: tuple[Tensor, Tensor], terms: Callable[..., Any]) -> tuple[int, Tensor | float]:
    """Sums nonnegative terms, like :func:`sum_terms`. The relative error for float32 is at most about 1e-6."""
    arrays = arrays_of(*pair) if are_single(*pair) else None
    if arrays is not None:
        with without_float_warnings():
            total = float(terms(*arrays).sum())
        if LEAST < total < HUGE:
            return pair[1].shape[0], total
    return sum_terms(pair, terms)


def are_single(y_pred: Tensor, y: Tensor) -> bool:
    """Whether both are float32."""
    return y_pred.dtype is torch.float32 and y.dtype is torch.float32


def sum_relative_terms(
    pair: tuple[Tensor, Tensor],
    measure: Callable[..., tuple[int, Tensor | float]],
    terms: Callable[..., Any],
) -> tuple[int, Tensor | float, Tensor | float]:
    """Returns ``(*measure(pair, terms), num_zeros)``, with the number of targets that are 0; none are on the CPU."""
    y = pair[1]
    return *measure(pair, terms), 0.0 if y.is_cpu else (y == 0).sum()


def totals_of_relative_terms(
    measure: Callable[..., tuple[int, Tensor | float]],
    terms: Callable[..., Any],
    device: torch.device | None,
) -> Totals:
    """Returns the statistic of metrics that divide by targets, with the sums of :func:`sum_relative_terms`."""
    return Totals(
        sum_relative_terms,
        (measure, terms),
        num_values=2,
        device=device,
        select=read_divisible_pair,
    )


def mean_of_relative_terms(totals: Totals) -> float:
    """Returns the mean of the terms in :func:`totals_of_relative_terms`.

    Raises:
        ZeroTargetError: a target on an accelerator was 0.
    """
    total, num_zeros = totals.values
    if num_zeros.item():
        raise ZeroTargetError
    return float(total) / totals.num_examples


def sum_or_zero(totals: Totals) -> float:
    """Returns the first total, or 0 without examples."""
    values = totals.values
    return float(values[0]) if values else 0.0


class _BaseRegression(Metric):
    """Base class for regression metrics written for Ignite. The metrics of this package do not use it.

    Subclasses define ``reset``, ``compute``, and ``_update``, which receives predictions and targets of shape (B,).
    """

    @abstractmethod
    def _update(self, output: tuple[Tensor, Tensor]) -> None:
        """Accumulates over a batch."""

    def update(self, output: Sequence[Tensor]) -> None:
        """Checks predictions and targets, and accumulates over them."""
        self._update(read_pair(output))


Numbers: TypeAlias = Any
"""Tensors, or NumPy arrays, whose functions have less overhead."""


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """Returns the quotient, with 0 for 0/0.

    For arrays, 0/0 stays NaN. Callers see it in the sum and compute again with tensors.
    """
    quotient = numerator / denominator
    return (
        torch.where(numerator == 0, numerator, quotient)
        if isinstance(quotient, Tensor)
        else quotient
    )


def absolute_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """Returns absolute errors."""
    return abs(y - y_pred)


def relative_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """Returns absolute errors, as a fraction of targets."""
    return ratio(abs(y - y_pred), abs(y))


def symmetric_errors(y_pred: Numbers, y: Numbers) -> Numbers:
    """Returns absolute errors, as a fraction of the sum of both absolute values: from 0 to 1."""
    sizes = abs(y) + abs(y_pred)
    if not isinstance(sizes, Tensor) and sizes.dtype == "float32" and numpy.isinf(sizes.max()):
        return symmetric_errors(y_pred.astype("float64"), y.astype("float64"))
    return ratio(abs(y - y_pred), sizes)


def errors_relative_to_mean(y_pred: Numbers, y: Numbers) -> Numbers:
    """Returns absolute errors, as a fraction of those of predicting the mean target."""
    deviations = y - y[:1]  # exact also for numbers far from 0 that vary little
    return errors_relative_to(y_pred, y, y[:1], deviations.mean(axis=0))


def errors_relative_to(y_pred: Numbers, y: Numbers, high: Numbers, low: Numbers) -> Numbers:
    """Returns absolute errors, as a fraction of those of predicting ``high + low``."""
    return ratio(abs(y - y_pred), abs((y - high) - low))


def widened(tensor: Tensor) -> Tensor:
    """Returns the tensor in the widest dtype of its device. Shape (N, 1) becomes (N,)."""
    tensor = tensor.detach().to(wide_dtype(tensor))
    return tensor.squeeze(1) if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor


def median_of(errors: Callable[[Numbers, Numbers], Numbers], y_pred: Tensor, y: Tensor) -> float:
    """Returns the median of ``errors(y_pred, y)``, which are computed in the widest dtype.

    Many errors of float32 data are stored as float32, if their median is representable there.
    """
    arrays = arrays_of(y_pred, y) if y_pred.ndim == y.ndim == 1 and len(y) else None
    if arrays is not None:
        value = _middle(in_pieces(errors, *arrays))
        if LEAST < value < HUGE:  # NaN may come from 0/0, which counts as 0
            return value
    return median(errors(widened(y_pred), widened(y)))


def in_pieces(function: Callable[..., Any], y_pred: Any, y: Any) -> Any:
    """Returns ``function(y_pred, y)`` of arrays (N,), computed in pieces, so that temporary arrays stay small."""
    n = len(y)
    found = numpy.empty(
        n, dtype="float32" if n >= MANY and y.itemsize == y_pred.itemsize == 4 else "float64"
    )
    with without_float_warnings():
        for i in range(0, n, _PIECE):
            piece = slice(i, i + _PIECE)
            found[piece] = function(y_pred[piece].astype("float64"), y[piece].astype("float64"))
    return found


_PIECE = MANY = 2**12
"""With fewer examples, the widest dtype takes no longer."""


def mean_in_parts(y: Tensor) -> tuple[float, float]:
    """Returns the mean of targets (N,) in two parts: the first target, and the mean difference from it.

    For numbers far from 0 that vary little, the sum of both is less exact than the parts.
    """
    high = y[0].item()
    pieces = y.detach().split(_PIECE)
    return high, math.fsum((piece.to(wide_dtype(y)) - high).sum().item() for piece in pieces) / len(
        y
    )


def _middle(values: Any) -> float:
    """Returns the median of an array (N,), which is reordered in place."""
    n = len(values)
    values.partition(n // 2)  # one pivot is much faster than two
    upper, lower = float(values[n // 2]), float(values[: n // 2].max()) if n > 1 else math.nan
    if math.isnan(values[n // 2 :].max()):  # NaN is sorted last
        return math.nan
    return upper if n % 2 else lower / 2 + upper / 2


def median(values: Tensor) -> float:
    """Returns the middle value, or the mean of the two middle ones; NaN if there is a NaN, or no value.

    For several columns (N, K), it is the mean of their medians.
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


def moment_sums(moments: Any, metric: Metric) -> tuple[int, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns n and the sums of x, y, their squares and products, as accumulated by Ignite."""
    n = moments.num_examples
    if n:
        found = moments.joined()
        (x, y), (norm_x, norm_y) = found.means, found.norms
        products = found.correlation * norm_x * norm_y + n * x * y
        sums = (n * x, n * y, norm_x**2 + n * x * x, norm_y**2 + n * y * y, products)
    else:
        sums = (0.0,) * 5
    x, y, xx, yy, xy = torch.tensor(sums, dtype=metric._double_dtype, device=metric._device)
    return n, x, y, xx, yy, xy
