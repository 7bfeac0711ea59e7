"""Concordance correlation coefficient."""

from __future__ import annotations

import math

from ignite.metrics._views import View
from ignite.metrics.regression._base import read_pair
from ignite.metrics.statistics import Moments, Statistic

__all__ = ["ConcordanceCorrCoef"]


class ConcordanceCorrCoef(View):
    r"""Concordance correlation coefficient (Lin): how near predictions are to targets, from -1 to 1.

    .. math:: \frac{2 \sum_i (P_i - \bar{P})(A_i - \bar{A})}
        {\sum_i (P_i - \bar{P})^2 + \sum_i (A_i - \bar{A})^2 + N (\bar{P} - \bar{A})^2}

    with targets :math:`A` and predictions :math:`P`. It is the Pearson correlation, reduced by
    differences of means and of deviations. Update with ``(y_pred, y)``: floating point, both of
    shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    If predictions or targets are all equal, the value is 0, or 1 if all of them are the same number.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = ConcordanceCorrCoef()
        >>> metric.update((torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0])))
        >>> round(metric.compute(), 4)  # 2 * 2 / (2 + 2 + 2 * 1)
        0.6667

    References:
        Lin, "A concordance correlation coefficient to evaluate reproducibility", 1989.
    """

    higher_is_better = True

    def _declare(self) -> list[Statistic]:
        return [Moments(read_pair, device=self._accumulates_on)]

    def _value(self, moments: Moments) -> float:
        found = moments.joined()
        bias = math.sqrt(found.num_examples) * found.difference
        largest = max(*found.norms, abs(bias))
        if largest == 0:
            return 1.0
        x, y, bias = (part / largest for part in (*found.norms, bias))  # squares cannot overflow
        return 2 * found.correlation * x * y / (x * x + y * y + bias * bias)
