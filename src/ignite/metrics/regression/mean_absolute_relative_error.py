"""The mean absolute error, relative to targets."""

from __future__ import annotations

from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.regression._base import (
    mean_of_relative_terms,
    relative_errors,
    sum_sizes,
    totals_of_relative_terms,
)
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MeanAbsoluteRelativeError"]


class MeanAbsoluteRelativeError(View):
    r"""The mean of absolute errors, each as a fraction of the target.

    .. math:: \frac{1}{N} \sum_i \frac{|A_i - P_i|}{|A_i|}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: a target is 0, which ``update`` reports for tensors on the CPU,
            ``compute`` for others; or, in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = MeanAbsoluteRelativeError()
        >>> metric.update((torch.tensor([3.0, 4.0]), torch.tensor([2.0, 4.0])))
        >>> metric.compute()
        0.25

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression,
        Forecasting and Prognostics: Properties and Typology", 2018,
        https://arxiv.org/abs/1809.03006
    """

    higher_is_better = False

    _sum_of_absolute_relative_errors = StatisticPart("total_0", zero)
    _num_samples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [totals_of_relative_terms(sum_sizes, relative_errors, self._accumulates_on)]

    def _value(self, totals: Totals) -> float:
        return mean_of_relative_terms(totals)
