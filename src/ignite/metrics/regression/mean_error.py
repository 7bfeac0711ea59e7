"""The mean error."""

from __future__ import annotations

from ignite.metrics.regression._base import _BaseRegression
from ignite.metrics.regression._errors import Numbers

__all__ = ["MeanError"]


class MeanError(_BaseRegression):
    r"""The mean of errors; positive where predictions are too low.

    .. math:: \frac{1}{N} \sum_i (A_i - P_i)

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point, both of shape (B,)
    or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. What was accumulated is unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = MeanError()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([3.0, 3.0])))
        >>> metric.compute()
        0.5

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression, Forecasting and Prognostics:
        Properties and Typology", 2018, https://arxiv.org/abs/1809.03006
    """

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        return y - y_pred
