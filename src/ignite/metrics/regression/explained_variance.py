"""Explained variance."""

from __future__ import annotations

from ignite.metrics._views import View
from ignite.metrics.regression._base import read_pair
from ignite.metrics.statistics import Moments, Statistic

__all__ = ["ExplainedVariance"]


class ExplainedVariance(View):
    r"""Fraction of the variance of targets explained by predictions, independent of their mean; at most 1.

    .. math:: 1 - \frac{\mathrm{Var}(A - P)}{\mathrm{Var}(A)}

    with targets :math:`A` and predictions :math:`P`. Unlike for :class:`R2Score`, a constant offset
    of the predictions does not change the value. Update with ``(y_pred, y)``: floating point, both
    of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`. If all
    targets are equal, the value is 1 if all errors are equal, otherwise 0, as in scikit-learn.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = ExplainedVariance()
        >>> metric.update((torch.tensor([2.0, 4.0, 6.0]), torch.tensor([1.0, 3.0, 5.0])))
        >>> metric.compute()
        1.0
    """

    higher_is_better = True

    def _declare(self) -> list[Statistic]:
        return [Moments(read_pair, device=self._accumulates_on)]

    def _value(self, moments: Moments) -> float:
        found = moments.joined()
        of_predictions, of_targets = found.norms
        if of_targets == 0:
            return float(of_predictions == 0)
        spread = of_predictions / of_targets
        return 2 * found.correlation * spread - spread * spread
