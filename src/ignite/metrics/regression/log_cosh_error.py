"""The mean logarithm of the hyperbolic cosine of errors."""

from __future__ import annotations

from ignite.metrics._output_arrays import library_of
from ignite.metrics._views import View
from ignite.metrics.regression._base import Numbers, absolute_errors, read_pair, sum_sizes
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["LogCoshError"]


class LogCoshError(View):
    r"""The mean of log cosh of errors: robust against outliers, smooth at 0.

    .. math:: \frac{1}{N} \sum_i \ln \cosh (P_i - A_i)

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`. Small
    errors count as half their square, large ones as their absolute value less ln 2.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = LogCoshError()
        >>> metric.update((torch.tensor([0.0, 1000.0]), torch.tensor([0.0, 0.0])))
        >>> metric.compute()
        499.653...
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [Totals(sum_sizes, (self._terms,), device=self._accumulates_on, select=read_pair)]

    def _value(self, totals: Totals) -> float:
        return totals.mean

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        error = absolute_errors(y_pred, y)
        # cosh(x) overflows for large x, and its logarithm cancels near 0. Instead, cosh(x) - 1 =
        # (exp(x) - 1)^2 / (2 exp(x)), and beyond 40 log cosh grows like x.
        small = error.clip(max=40)
        grown = library_of(y).expm1(small)
        return library_of(y).log1p(grown * grown / (2 * grown + 2)) + (error - small)
