"""The geometric mean of absolute errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ignite.metrics._output_arrays import arrays_of, library_of, without_float_warnings
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.regression._base import (
    Numbers,
    absolute_errors,
    are_single,
    read_pair,
    sum_terms,
)
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["GeometricMeanAbsoluteError"]


class GeometricMeanAbsoluteError(View):
    r"""The geometric mean of absolute errors; 0 if a single prediction is exact.

    .. math:: \exp\Bigl(\frac{1}{N} \sum_i \ln |A_i - P_i|\Bigr)

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = GeometricMeanAbsoluteError()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([3.0, 12.0])))
        >>> round(metric.compute(), 9)
        4.0

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression,
        Forecasting and Prognostics: Properties and Typology", 2018,
        https://arxiv.org/abs/1809.03006
    """

    higher_is_better = False

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        return library_of(y).log(absolute_errors(y_pred, y))

    _sum_of_errors = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_logs, (self._terms,), device=self._accumulates_on, select=read_pair)]

    def _value(self, totals: Totals) -> float:
        return math.exp(totals.mean)


def _sum_logs(pair: tuple[Tensor, Tensor], terms: Callable[..., Any]) -> tuple[int, Tensor | float]:
    """Sums as ``sum_terms``, in float32 for float32: an error of 1e-7 per logarithm is small enough for the result."""
    arrays = arrays_of(*pair) if are_single(*pair) else None
    if arrays is not None:
        with without_float_warnings():
            total = float(terms(*arrays).sum(dtype="float64"))
        if total < math.inf:  # a difference may have overflowed
            return pair[1].shape[0], total
    return sum_terms(pair, terms)
