"""The Manhattan distance."""

from __future__ import annotations

from ignite.metrics._distances import sum_errors
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.regression._base import read_pair, sum_or_zero
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["ManhattanDistance"]


class ManhattanDistance(View):
    r"""The sum of absolute errors; 0 without examples.

    .. math:: \sum_i |A_i - P_i|

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.

    Example:
        >>> import torch
        >>> metric = ManhattanDistance()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([3.0, 3.0])))
        >>> metric.compute()
        3.0
    """

    higher_is_better = False
    _needs_examples = False

    _sum_of_errors = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")
    _state_dict_all_req_keys = ("_sum_of_errors",)

    def _declare(self) -> list[Statistic]:
        return [Totals(sum_errors, (1,), device=self._accumulates_on, select=read_pair)]

    def _value(self, totals: Totals) -> float:
        return sum_or_zero(totals)
