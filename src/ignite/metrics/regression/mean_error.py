"""The mean error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.regression._base import Numbers, are_single, read_pair, sum_terms
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MeanError"]


class MeanError(View):
    r"""The mean of errors, which is positive if predictions are too low.

    .. math:: \frac{1}{N} \sum_i (A_i - P_i)

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = MeanError()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([3.0, 3.0])))
        >>> metric.compute()
        0.5

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression,
        Forecasting and Prognostics: Properties and Typology", 2018,
        https://arxiv.org/abs/1809.03006
    """

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        return y - y_pred

    _sum_of_errors = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_errors, (self._terms,), device=self._accumulates_on, select=read_pair)]

    def _value(self, totals: Totals) -> float:
        return totals.mean


def _sum_errors(
    pair: tuple[Tensor, Tensor], terms: Callable[..., Any]
) -> tuple[int, Tensor | float]:
    """Sums as ``sum_terms``. Sums of float32 data in float64 are exact to float32 precision."""
    y_pred, y = pair
    if y.is_cpu and are_single(y_pred, y):
        return y.shape[0], y.sum(dtype=torch.float64).item() - y_pred.sum(
            dtype=torch.float64
        ).item()
    return sum_terms(pair, terms)
