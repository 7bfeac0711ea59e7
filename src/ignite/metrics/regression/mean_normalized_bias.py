"""The mean error, relative to targets."""

from __future__ import annotations

from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.regression._base import (
    Numbers,
    mean_of_relative_terms,
    sum_terms,
    totals_of_relative_terms,
)
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MeanNormalizedBias"]


class MeanNormalizedBias(View):
    r"""The mean of errors, each as a fraction of the target. It is positive if predictions are closer to 0.

    .. math:: \frac{1}{N} \sum_i \frac{A_i - P_i}{A_i}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: a target is 0, which ``update`` reports for tensors on the CPU,
            ``compute`` for others; or, in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = MeanNormalizedBias()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([2.0, 4.0])))
        >>> metric.compute()
        0.25

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression,
        Forecasting and Prognostics: Properties and Typology", 2018,
        https://arxiv.org/abs/1809.03006
    """

    _sum_of_errors = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [totals_of_relative_terms(sum_terms, self._terms, self._accumulates_on)]

    def _value(self, totals: Totals) -> float:
        return mean_of_relative_terms(totals)

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        return (y - y_pred) / y
