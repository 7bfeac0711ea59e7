"""The symmetric mean absolute percentage error, as a fraction."""

from __future__ import annotations

from ignite.metrics._views import View
from ignite.metrics.regression._base import read_pair, sum_sizes, symmetric_errors
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["SymmetricMeanAbsolutePercentageError"]


class SymmetricMeanAbsolutePercentageError(View):
    r"""The mean of absolute errors, each relative to the mean absolute value of both numbers; from 0 to 2.

    .. math:: \frac{1}{N} \sum_i \frac{2 |A_i - P_i|}{|A_i| + |P_i|}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`. 0/0
    counts as 0. The value is a fraction, not a percentage, and equals that of
    :class:`FractionalAbsoluteError`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = SymmetricMeanAbsolutePercentageError()
        >>> metric.update((torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])))
        >>> metric.compute()
        0.5

    References:
        Makridakis, "Accuracy measures: theoretical and practical concerns", 1993.
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [
            Totals(sum_sizes, (symmetric_errors,), device=self._accumulates_on, select=read_pair)
        ]

    def _value(self, totals: Totals) -> float:
        return 2 * totals.mean
