"""What metrics of regression have in common: the check of their input, and sums over it.

B examples in a batch, N in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics._distances import HUGE, LEAST
from ignite.metrics._scratch import array_of, arrays_of, detached, quietly
from ignite.metrics._shared_statistics import View
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.statistics import Reading, Statistic, Totals
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
            raise ValueError(f"Input {name} should have shape (N,) or (N, 1), but given {tuple(tensor.shape)}")
    if y_pred.shape != y.shape:
        raise ValueError(f"Input data shapes should be the same, but given {tuple(y_pred.shape)} and {tuple(y.shape)}")
    name, tensor = ("y_pred", y_pred) if y_pred.dtype not in _DTYPES else ("y", y)
    raise TypeError(f"Input {name} dtype should be float 16, 32 or 64, or bfloat16, but given {tensor.dtype}")


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
        with quietly():
            total = float(terms(arrays[0].astype("float64"), arrays[1].astype("float64")).sum())
        if total == total:  # NaN may come from 0/0, which counts as 0
            return y.shape[0], total
    dtype = wide_dtype(y)
    return y.shape[0], terms(y_pred.to(dtype), y.to(dtype)).sum()


def sum_sizes(pair: tuple[Tensor, Tensor], terms: Callable[..., Any]) -> tuple[int, Tensor | float]:
    """As :func:`sum_terms`, of terms that are not negative: right to 1e-6 for float32, which then is enough."""
    arrays = arrays_of(*pair) if are_single(*pair) else None
    if arrays is not None:
        with quietly():
            total = float(terms(*arrays).sum())
        if LEAST < total < HUGE:
            return pair[1].shape[0], total
    return sum_terms(pair, terms)


def are_single(y_pred: Tensor, y: Tensor) -> bool:
    """Whether both are float32."""
    return y_pred.dtype is torch.float32 and y.dtype is torch.float32


def sum_relative_terms(
    pair: tuple[Tensor, Tensor], measure: Callable[..., tuple[int, Tensor | float]], terms: Callable[..., Any]
) -> tuple[int, Tensor | float, Tensor | float]:
    """What ``measure(pair, terms)`` says, and how many targets are 0, which on the CPU none is."""
    y = pair[1]
    return *measure(pair, terms), 0.0 if y.is_cpu else (y == 0).sum()


class _BaseRegression(View):
    """The mean over all examples of ``_terms``; subclasses may make something else of it, or of other statistics."""

    _terms: ClassVar[staticmethod[..., Any]]
    """One term for each example, shape (B,), from predictions and targets: tensors, or arrays of numpy."""
    _have_signs: ClassVar[bool] = True
    """Whether a term may be negative, so that others may cancel it."""

    def _declare(self) -> list[Statistic]:
        return [Totals(self._sum, (type(self)._terms,), device=self._accumulates_on, select=read_pair)]

    @property
    def _sum(self) -> Callable[..., tuple[int, Tensor | float]]:
        """What adds up the terms of a batch."""
        return sum_terms if self._have_signs else sum_sizes

    def _value(self, *statistics: Any) -> float:
        return _mean(statistics[0])


class _BaseRelative(_BaseRegression):
    """The mean of terms that have targets as denominators."""

    def _declare(self) -> list[Statistic]:
        args, device = (self._sum, type(self)._terms), self._accumulates_on
        return [Totals(sum_relative_terms, args, num_values=2, device=device, select=read_divisible_pair)]

    def _value(self, *statistics: Any) -> float:
        if statistics[0].values[1].item():
            raise ZeroTargetError
        return _mean(statistics[0])


class _BaseSum(_BaseRegression):
    """The sum of ``_terms``, 0 without examples."""

    _needs_examples = False

    def _value(self, *statistics: Any) -> float:
        values = statistics[0].values
        return float(values[0]) if values else 0.0


def _mean(totals: Totals) -> float:
    return float(totals.values[0]) / totals.num_examples
