"""The median absolute error, relative to those of the mean target."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.regression._base import (
    check_columns,
    errors_relative_to,
    errors_relative_to_mean,
    mean_in_parts,
    median,
    median_of,
    widened,
)
from ignite.metrics.statistics import Reading

__all__ = ["MedianRelativeAbsoluteError", "median_relative_absolute_error_compute_fn"]


def median_relative_absolute_error_compute_fn(y_pred: Tensor, y: Tensor) -> float:
    """Computes :class:`MedianRelativeAbsoluteError` for all predictions and targets, of shape (N,) or (N, 1)."""
    if y.ndim > 1 or not len(y):
        return median(errors_relative_to_mean(widened(y_pred), widened(y)))
    high, low = mean_in_parts(y)
    return median_of(functools.partial(errors_relative_to, high=high, low=low), y_pred, y)


class MedianRelativeAbsoluteError(EpochMetric):
    r"""The median of absolute errors, each relative to the error of predicting the mean target.

    .. math:: \operatorname{median}_i \frac{|A_i - P_i|}{|A_i - \bar{A}|}

    with targets :math:`A` and predictions :math:`P`. For an even number, it is the mean of the two
    middle values. Update with ``(y_pred, y)``: both of shape (B,) or (B, 1), of the same dtypes
    each time, or, for several outputs, both (B, K); the value then is the mean of their medians. 0/0 counts as 0,
    and NaN gives NaN. All samples are kept, and shared with other metrics that keep samples.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to keep the tensors. By default, their own.

    Raises:
        ValueError: in ``update``, a tensor has another shape, or another dtype than before. The
            batch is then not kept.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = MedianRelativeAbsoluteError()
        >>> metric.update((torch.tensor([1.0, 4.0, 8.0]), torch.tensor([0.0, 4.0, 8.0])))
        >>> metric.compute()  # of 1/4, 0/0 and 0
        0.0

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression,
        Forecasting and Prognostics: Properties and Typology", 2018,
        https://arxiv.org/abs/1809.03006
    """

    higher_is_better = False
    _calls_user_code = False

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(
            median_relative_absolute_error_compute_fn,
            output_transform,
            check_compute_fn=False,
            device=device,
        )

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        check_columns(reading)
