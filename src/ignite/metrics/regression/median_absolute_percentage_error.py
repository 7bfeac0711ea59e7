"""The median absolute error, in percent of targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.regression._base import check_columns, median_of, relative_errors
from ignite.metrics.statistics import Reading

__all__ = ["MedianAbsolutePercentageError", "median_absolute_percentage_error_compute_fn"]


def median_absolute_percentage_error_compute_fn(y_pred: Tensor, y: Tensor) -> float:
    """Computes :class:`MedianAbsolutePercentageError` for all predictions and targets, of shape (N,) or (N, 1)."""
    return 100 * median_of(relative_errors, y_pred, y)


class MedianAbsolutePercentageError(EpochMetric):
    r"""The median of absolute errors, each in percent of the target.

    .. math:: 100 \operatorname{median}_i \frac{|A_i - P_i|}{|A_i|}

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
        >>> metric = MedianAbsolutePercentageError()
        >>> metric.update((torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 4.0])))
        >>> metric.compute()  # of 0, 50 and 75
        50.0

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
            median_absolute_percentage_error_compute_fn,
            output_transform,
            check_compute_fn=False,
            device=device,
        )

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        check_columns(reading)
