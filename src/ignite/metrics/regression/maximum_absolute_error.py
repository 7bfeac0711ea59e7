"""The largest absolute error."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ignite.metrics._distances import HUGE
from ignite.metrics._saved_state import StatisticPart
from ignite.metrics._views import View
from ignite.metrics.regression._base import absolute_errors, are_single, read_pair
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["MaximumAbsoluteError"]


def _set_largest(metric: Any, totals: Any, value: Any) -> None:
    totals.assign("total_0", value)
    totals.assign("num_examples", max(totals.num_examples, int(value >= 0)))


class MaximumAbsoluteError(View):
    r"""The largest absolute error.

    .. math:: \max_i |A_i - P_i|

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = MaximumAbsoluteError()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([3.0, 3.0])))
        >>> metric.compute()
        2.0
    """

    higher_is_better = False

    _max_of_absolute_errors = StatisticPart("total_0", -1, write=_set_largest)

    def _declare(self) -> list[Statistic]:
        return [Totals(_largest, op="MAX", device=self._accumulates_on, select=read_pair)]

    def _value(self, totals: Totals) -> float:
        return float(totals.values[0])


def _largest(pair: tuple[Tensor, Tensor]) -> tuple[int, Tensor | float]:
    y_pred, y = pair
    if y.is_cpu and are_single(y_pred, y):
        lowest, highest = (y - y_pred).aminmax()  # one pass instead of two
        largest = max(highest.item(), -lowest.item())
        if largest < HUGE:  # the difference may have overflowed
            return y.shape[0], largest
    dtype = wide_dtype(y)
    return y.shape[0], absolute_errors(y_pred.to(dtype), y.to(dtype)).max()
