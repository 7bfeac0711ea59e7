"""The coefficient of determination."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ignite.metrics.regression._base import _BaseRegression, read_pair
from ignite.metrics.regression._errors import ratio
from ignite.metrics.statistics import Moments, Statistic

__all__ = ["R2Score"]


class R2Score(_BaseRegression):
    r"""The coefficient of determination: the part of the targets' variance that predictions explain, at most 1.

    .. math:: 1 - \frac{\sum_i (A_i - P_i)^2}{\sum_i (A_i - \bar{A})^2}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point, both of shape (B,)
    or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`. 0/0 counts as 0: if all targets are equal,
    the value is 1 for exact predictions, otherwise minus infinity, or a huge negative number where the mean of equal
    numbers is not exactly that number. Deviations are from the means seen so far, so that large ones do no harm.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. What was accumulated is unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = R2Score()
        >>> metric.update((torch.tensor([1.0, 3.0]), torch.tensor([1.0, 5.0])))  # errors 0 and 2, deviations -2 and 2
        >>> metric.compute()
        0.5
    """

    higher_is_better = True

    @staticmethod
    def _terms(y_pred: Tensor, y: Tensor) -> Tensor:
        return (y - y_pred) ** 2

    def _declare(self) -> list[Statistic]:
        return [*super()._declare(), Moments(read_pair, device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        errors, moments = statistics
        deviations: Tensor = moments.joined()[4]
        return 1 - float(ratio(errors.values[0].to(deviations), deviations))
