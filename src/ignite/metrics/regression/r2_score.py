"""The coefficient of determination."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ignite.metrics._views import View
from ignite.metrics.regression._base import moment_sums, read_pair
from ignite.metrics.statistics import Moments, Statistic
from ignite.metrics.statistics.moments import Joined

__all__ = ["R2Score"]


class R2Score(View):
    r"""The coefficient of determination: the fraction of the variance of targets that predictions explain, at most 1.

    .. math:: 1 - \frac{\sum_i (A_i - P_i)^2}{\sum_i (A_i - \bar{A})^2}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`. If
    all targets are equal, the value is 1 for exact predictions, otherwise 0, as in scikit-learn.
    A common unit or offset of predictions and targets does not change the value.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = R2Score()
        >>> metric.update((torch.tensor([1.0, 3.0]), torch.tensor([1.0, 5.0])))  # errors 0 and 2, deviations -2 and 2
        >>> metric.compute()
        0.5
    """

    higher_is_better = True

    def _ignite_names(self) -> tuple[str, ...]:
        return ("_num_examples", "_sum_of_errors", "_y_sq_sum", "_y_sum")

    def _to_ignite(self) -> dict[str, Any]:
        n, *sums = moment_sums(self._statistics_in_use()[0], self)
        _, of_targets, of_squares, of_target_squares, of_products = sums
        errors = of_squares + of_target_squares - 2 * of_products
        return dict(
            zip(self._ignite_names(), (n, errors, of_target_squares, of_targets), strict=True)
        )

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        n, errors, of_squares, of_targets = (float(state[name]) for name in self._ignite_names())
        if n:
            # Predictions with this sum of squared errors, among others: those with the targets'
            # mean that deviate from it in proportion to the targets.
            norm = math.sqrt(max(of_squares - of_targets * of_targets / n, 0.0))
            norms, means = (norm + math.sqrt(errors), norm), (of_targets / n, of_targets / n)
            found = Joined(n, means, 0.0, norms, float(norm > 0))
            self._own_statistic().take_joined(found)

    def _declare(self) -> list[Statistic]:
        return [Moments(read_pair, device=self._accumulates_on)]

    def _value(self, moments: Moments) -> float:
        found = moments.joined()
        of_predictions, of_targets = found.norms
        if of_targets == 0:
            return float(of_predictions == 0 and found.difference == 0)
        # The vector of errors is the sum of deviations and a constant, which are orthogonal.
        spread, bias = of_predictions / of_targets, found.difference / of_targets
        return 2 * found.correlation * spread - spread * spread - found.num_examples * bias * bias
