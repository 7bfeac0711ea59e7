"""The geometric mean of absolute errors, relative to those of the mean target."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.regression._base import _BaseRegression, are_single, read_pair
from ignite.metrics.regression._errors import MANY, errors_relative_to_mean, widened
from ignite.metrics.statistics import KeptSamples, Reading, Statistic

__all__ = ["GeometricMeanRelativeAbsoluteError"]


class GeometricMeanRelativeAbsoluteError(_BaseRegression):
    r"""The geometric mean of absolute errors, each relative to the error of predicting the mean target.

    .. math:: \exp\Bigl(\frac{1}{N} \sum_i \ln \frac{|A_i - P_i|}{|A_i - \bar{A}|}\Bigr)

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point, both of shape (B,)
    or both (B, 1), of the same dtypes each time. Arguments are those of :class:`~ignite.metrics.Metric`. 0/0 counts as
    0. The value is 0 if a prediction is exact, infinite if a target is the mean, and NaN if both occur. All samples are
    kept, together with other metrics that keep them.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. What was accumulated is unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = GeometricMeanRelativeAbsoluteError()
        >>> metric.update((torch.tensor([2.0, 4.0]), torch.tensor([1.0, 5.0])))  # 1 each, where the mean is off by 2
        >>> round(metric.compute(), 9)
        0.5

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression, Forecasting and Prognostics:
        Properties and Typology", 2018, https://arxiv.org/abs/1809.03006
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [KeptSamples(select_samples, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        reading.derive(read_pair)

    def _value(self, *statistics: Any) -> float:
        y_pred, y = statistics[0].first, statistics[0].second
        is_large = y.is_cpu and len(y) >= MANY
        mean = _mean_of_single(y_pred, y) if is_large and are_single(y_pred, y) else None
        if mean is None:
            mean = float(errors_relative_to_mean(widened(y_pred), widened(y)).log().mean())
        return math.exp(mean)


def _mean_of_single(y_pred: Tensor, y: Tensor) -> float | None:
    """The mean logarithm of relative errors, computed in float32; None where that is not enough.

    It is where targets are not far from 0 in relation to how much they vary.
    """
    mean = y.sum(dtype=torch.float64).item() / len(y)
    deviations = (y - mean).abs_()
    if not abs(mean) * len(y) < _NEAR * deviations.sum().item():
        return None
    errors = (y - y_pred).abs_().div_(deviations)
    found = errors.log_().sum(dtype=torch.float64).item() / len(y)
    return found if math.isfinite(found) else None


_NEAR = 4
