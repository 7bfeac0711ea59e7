"""Mean absolute error."""

from __future__ import annotations

from ignite.metrics._distances import JOINS_ERRORS_BELOW, read_fitting, sum_errors
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MeanAbsoluteError"]


class MeanAbsoluteError(View):
    r"""The mean of absolute errors.

    .. math:: \frac{1}{N} \sum_{i=1}^{N} |p_i - y_i|

    with predictions :math:`p_i` and targets :math:`y_i` of :math:`N` examples. Errors are summed
    over the elements of an example and averaged over examples. Update with ``(y_pred, y)``,
    both of shape (B, ...), floating point or integers. Their shapes may differ in dimensions of
    size 1 after the first, as (B, 1) and (B,).

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match. The batch is then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = MeanAbsoluteError()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])))
        >>> metric.compute()
        1.5
    """

    higher_is_better = False

    _sum_of_absolute_errors = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [
            Totals(
                sum_errors,
                (1,),
                device=self._accumulates_on,
                select=read_fitting,
                joins_below=JOINS_ERRORS_BELOW,
            )
        ]

    def _value(self, totals: Totals) -> float:
        return totals.mean
