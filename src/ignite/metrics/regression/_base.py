"""What metrics of regression have in common: the check of their input, and sums over it.

B examples in a batch, N in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics._view import View
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.statistics import Reading, Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_pair(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Predictions and targets, shape (B,), in the widest dtype of their device.

    Raises:
        ValueError: they are not both of shape (B,), or both (B, 1).
        TypeError: they are not floating point.
    """
    y_pred, y = output[0], output[1]
    for name, tensor in (("y_pred", y_pred), ("y", y)):
        if not (tensor.ndim == 1 or (tensor.ndim == 2 and tensor.shape[1] == 1)):
            raise ValueError(f"Input {name} should have shape (N,) or (N, 1), but given {tuple(tensor.shape)}")
    if y_pred.shape != y.shape:
        raise ValueError(f"Input data shapes should be the same, but given {tuple(y_pred.shape)} and {tuple(y.shape)}")
    for name, tensor in (("y_pred", y_pred), ("y", y)):
        if tensor.dtype not in _DTYPES:
            raise TypeError(f"Input {name} dtype should be float 16, 32 or 64, or bfloat16, but given {tensor.dtype}")
    dtype = wide_dtype(y)
    return y_pred.detach().flatten().to(dtype), y.detach().flatten().to(dtype)


def check_vectors(output: Sequence[Tensor]) -> None:
    """Raises ValueError if predictions and targets, of any dtype, are not of one dimension."""
    y_pred, y = select_samples(output)
    if y_pred.ndim != 1 or y.ndim != 1:
        raise ValueError(
            "Input y_pred and y should have shape (N,) or (N, 1), "
            f"but given {tuple(output[0].shape)} and {tuple(output[1].shape)}"
        )


class PairTotals(Totals):
    """Totals whose ``measure`` is given what :func:`read_pair` returns, which is derived once for all of them."""

    def _update(self, reading: Reading) -> None:
        super()._update(Reading(reading.derive(read_pair)))


def sum_terms(pair: tuple[Tensor, Tensor], terms: Callable[[Tensor, Tensor], Tensor]) -> tuple[int, Tensor]:
    """The number of examples, and the sum of ``terms(y_pred, y)``."""
    return len(pair[0]), terms(*pair).sum()


def sum_relative_terms(
    pair: tuple[Tensor, Tensor], terms: Callable[[Tensor, Tensor], Tensor]
) -> tuple[int, Tensor, Tensor]:
    """As :func:`sum_terms`, and how many targets are 0; on the CPU, where looking costs nothing, none may be.

    Raises:
        NotComputableError: a target on the CPU is 0.
    """
    num_zeros = (pair[1] == 0).sum()
    if num_zeros.is_cpu:
        _check_no_zeros(num_zeros)
    return *sum_terms(pair, terms), num_zeros


def _check_no_zeros(num_zeros: Tensor) -> None:
    if num_zeros.item():
        raise NotComputableError("The ground truth has 0.")


class _BaseRegression(View):
    """The mean over all examples of ``_terms``; subclasses may make something else of it, or of other statistics."""

    _terms: ClassVar[staticmethod[[Tensor, Tensor], Tensor]]
    """One term for each example, shape (B,), from predictions and targets."""

    def _declare(self) -> list[Statistic]:
        return [PairTotals(sum_terms, (type(self)._terms,), device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        return _mean(statistics[0])


class _BaseRelative(_BaseRegression):
    """The mean of terms that have targets as denominators."""

    def _declare(self) -> list[Statistic]:
        terms = type(self)._terms
        return [PairTotals(sum_relative_terms, (terms,), num_values=2, device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        _check_no_zeros(statistics[0].values[1])
        return _mean(statistics[0])


class _BaseSum(_BaseRegression):
    """The sum of ``_terms``, 0 without examples."""

    _needs_examples = False

    def _value(self, *statistics: Any) -> float:
        values = statistics[0].values
        return float(values[0]) if values else 0.0


def _mean(totals: Totals) -> float:
    return float(totals.values[0]) / totals.num_examples
