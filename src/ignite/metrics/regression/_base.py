"""What regression metrics have in common: reading of their input, errors of single examples, sums and medians of them.

B examples in a batch, N in all.
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
from ignite.metrics._host_arrays import array_of, arrays_of, detached, numpy, without_float_warnings
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.metric import Metric
from ignite.metrics.statistics import Reading, Totals
from ignite.metrics.statistics._statistic import wide_dtype

_DTYPES = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))


def read_pair(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Predictions and targets, shape (B,).

    Raises:
        ValueError: they are not both of shape (B,), or both (B, 1).
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
    """As :func:`read_pair`; on the CPU, where looking costs little, no target may be 0.

    Raises:
        NotComputableError: a target on the CPU is 0.
    """
    y_pred, y = read_pair(output)
    array = array_of(y)
    if y.is_cpu and not (y.all() if array is None else array.all()):
        raise ZeroTargetError
    return y_pred, y


class ZeroTargetError(NotComputableError):
    """A target is 0, of a metric that divides by targets."""

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
    """The number of examples, and the sum of ``terms(y_pred, y)``, which are computed in the widest dtype."""
    y_pred, y = pair
    arrays = arrays_of(y_pred, y)
    if arrays is not None:
        with without_float_warnings():
            total = float(terms(arrays[0].astype("float64"), arrays[1].astype("float64")).sum())
        if total == total:  # NaN may come from 0/0, which counts as 0
            return y.shape[0], total
    dtype = wide_dtype(y)
    return y.shape[0], terms(y_pred.to(dtype), y.to(dtype)).sum()


def sum_sizes(pair: tuple[Tensor, Tensor], terms: Callable[..., Any]) -> tuple[int, Tensor | float]:
    """As :func:`sum_terms`, of terms that are not negative: right to 1e-6 for float32, which then is enough."""
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
    """What ``measure(pair, terms)`` says, and how many targets are 0, which on the CPU none is."""
    y = pair[1]
    return *measure(pair, terms), 0.0 if y.is_cpu else (y == 0).sum()


def totals_of_relative_terms(
    measure: Callable[..., tuple[int, Tensor | float]],
    terms: Callable[..., Any],
    device: torch.device | None,
) -> Totals:
    """The statistic of metrics that divide by targets: what :func:`sum_relative_terms` sums."""
    return Totals(
        sum_relative_terms,
        (measure, terms),
        num_values=2,
        device=device,
        select=read_divisible_pair,
    )


def mean_of_relative_terms(totals: Totals) -> float:
    """The mean of the terms that :func:`sum_relative_terms` has summed.

    Raises:
        ZeroTargetError: a target on an accelerator was 0.
    """
    total, num_zeros = totals.values
    if num_zeros.item():
        raise ZeroTargetError
    return float(total) / totals.num_examples


def sum_or_zero(totals: Totals) -> float:
    """The first total; 0 without examples."""
    values = totals.values
    return float(values[0]) if values else 0.0


class _BaseRegression(Metric):
    """For regression metrics written for Ignite: gives ``_update`` predictions and targets of shape (B,).

    Subclasses define ``reset``, ``_update`` and ``compute``. The metrics of this package do not use it.
    """

    @abstractmethod
    def _update(self, output: tuple[Tensor, Tensor]) -> None:
        """Accumulates over a batch."""

    def update(self, output: Sequence[Tensor]) -> None:
        """Checks predictions and targets, and accumulates over them."""
        self._update(read_pair(output))


Numbers: TypeAlias = Any
"""A tensor, or an array of numpy, whose calls cost less."""


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """The quotient, with 0 for 0/0: where nothing is wrong, nothing is wrong in relation to anything.

    Of arrays it stays NaN, which shows in their sum: then tensors are asked.
    """
    quotient = numerator / denominator
    return (
        torch.where(numerator == 0, numerator, quotient)
        if isinstance(quotient, Tensor)
        else quotient
    )


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
    found = numpy.empty(
        n, dtype="float32" if n >= MANY and y.itemsize == y_pred.itemsize == 4 else "float64"
    )
    with without_float_warnings():
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
    return high, math.fsum((piece.to(wide_dtype(y)) - high).sum().item() for piece in pieces) / len(
        y
    )


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
