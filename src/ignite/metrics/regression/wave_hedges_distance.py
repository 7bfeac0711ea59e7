"""The Wave-Hedges distance."""

from __future__ import annotations

from ignite.metrics._output_arrays import library_of
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.regression._base import (
    Numbers,
    absolute_errors,
    ratio,
    read_pair,
    sum_or_zero,
    sum_terms,
)
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["WaveHedgesDistance"]


class WaveHedgesDistance(View):
    r"""The sum of absolute errors, each relative to the larger of both numbers; 0 without examples.

    .. math:: \sum_i \frac{|A_i - P_i|}{\max(A_i, P_i)}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`. 0/0
    counts as 0. Meant for numbers that are not negative.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.

    Example:
        >>> import torch
        >>> metric = WaveHedgesDistance()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([2.0, 4.0])))
        >>> metric.compute()
        0.5

    References:
        Cha, "Comprehensive survey on distance/similarity measures between probability density
        functions", 2007.
    """

    higher_is_better = False
    _needs_examples = False

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        return ratio(absolute_errors(y_pred, y), library_of(y).maximum(y_pred, y))

    _sum_of_errors = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")
    _state_dict_all_req_keys = ("_sum_of_errors",)

    def _declare(self) -> list[Statistic]:
        return [Totals(sum_terms, (self._terms,), device=self._accumulates_on, select=read_pair)]

    def _value(self, totals: Totals) -> float:
        return sum_or_zero(totals)
