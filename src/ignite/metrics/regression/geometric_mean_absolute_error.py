"""The geometric mean of absolute errors."""

from __future__ import annotations

import math
from typing import Any

from ignite.metrics._scratch import library_of
from ignite.metrics.regression._base import _BaseRegression
from ignite.metrics.regression._errors import Numbers, absolute_errors

__all__ = ["GeometricMeanAbsoluteError"]


class GeometricMeanAbsoluteError(_BaseRegression):
    r"""The geometric mean of absolute errors; 0 if a single prediction is exact.

    .. math:: \exp\Bigl(\frac{1}{N} \sum_i \ln |A_i - P_i|\Bigr)

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point, both of shape (B,)
    or both (B, 1). Arguments are those of :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. What was accumulated is unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = GeometricMeanAbsoluteError()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([3.0, 12.0])))
        >>> round(metric.compute(), 9)
        4.0

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression, Forecasting and Prognostics:
        Properties and Typology", 2018, https://arxiv.org/abs/1809.03006
    """

    higher_is_better = False

    @staticmethod
    def _terms(y_pred: Numbers, y: Numbers) -> Numbers:
        return library_of(y).log(absolute_errors(y_pred, y))

    def _value(self, *statistics: Any) -> float:
        return math.exp(super()._value(*statistics))
