"""Root mean squared error."""

from __future__ import annotations

import math

from ignite.metrics.mean_squared_error import MeanSquaredError
from ignite.metrics.statistics import Totals

__all__ = ["RootMeanSquaredError"]


class RootMeanSquaredError(MeanSquaredError):
    r"""The square root of :class:`MeanSquaredError`, in the unit of the targets.

    .. math:: \sqrt{\frac{1}{N} \sum_{i=1}^{N} (p_i - y_i)^2}

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match. The batch is then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = RootMeanSquaredError()
        >>> metric.update((torch.tensor([1.0, 5.0]), torch.tensor([3.0, 3.0])))
        >>> metric.compute()
        2.0
    """

    def _value(self, totals: Totals) -> float:
        return math.sqrt(totals.mean)
