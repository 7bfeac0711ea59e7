"""Fractional bias: the mean error, relative to the mean of target and prediction."""

from __future__ import annotations

from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.regression._base import Numbers, ratio, read_pair, sum_terms
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["FractionalBias"]


class FractionalBias(View):
    r"""The mean of errors, each relative to the mean of both numbers; positive if predictions are too low.

    .. math:: \frac{1}{N} \sum_i \frac{2 (A_i - P_i)}{A_i + P_i}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`. 0/0
    counts as 0. Opposite numbers give infinity with the sign of the target.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = FractionalBias()
        >>> metric.update((torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0])))
        >>> metric.compute()
        0.5

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression,
        Forecasting and Prognostics: Properties and Typology", 2018,
        https://arxiv.org/abs/1809.03006
    """

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        return ratio(2 * (y - y_pred), y + y_pred)

    _sum_of_errors = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [Totals(sum_terms, (self._terms,), device=self._accumulates_on, select=read_pair)]

    def _value(self, totals: Totals) -> float:
        return totals.mean
