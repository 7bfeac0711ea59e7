"""Average precision: the mean of precision over recall."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._curves import (
    average_precision,
    check_average,
    check_scores,
    kept_or_counted,
    takes_activation,
    takes_activation_of_scores,
    value_of_scores,
    value_of_statistic,
)
from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.statistics import Reading, Statistic

__all__ = ["AveragePrecision", "average_precision_compute_fn"]


@takes_activation_of_scores
def average_precision_compute_fn(
    y_preds: Tensor, y_targets: Tensor, average: str | None = "macro"
) -> Any:
    """Computes :class:`AveragePrecision` for all scores and targets, of the shapes that it accepts."""
    return value_of_scores(average_precision, y_preds, y_targets, check_average(average))


class AveragePrecision(EpochMetric):
    r"""The mean of precisions weighted by the increase in recall at each threshold, :math:`\sum_k (R_k - R_{k-1}) P_k`.

    Update with ``(y_pred, y)``: scores and targets of 0 and 1, both of shape (B,), or (B, L) for L
    labels; or scores of shape (B, C) and classes of shape (B,), each class against the others. 0 if
    there are no positives.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        check_compute_fn: ignored; accepted for compatibility with Ignite.
        device: device on which to keep the tensors. By default, their own.
        skip_unrolling: see :class:`Metric`.
        num_bins: the number of bins to count scores in; see :class:`ROC_AUC`.
        average: how to average over labels or classes; see :class:`ROC_AUC`.

    Raises:
        ValueError: see :class:`ROC_AUC`.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = AveragePrecision()
        >>> metric.update((torch.tensor([0.9, 0.6, 0.4]), torch.tensor([1, 0, 1])))
        >>> round(metric.compute(), 4)  # half of 1/1 plus half of 2/3
        0.8333

    References:
        Zhu, "Recall, precision and average precision", 2004.
    """

    higher_is_better = True
    _calls_user_code = False

    @takes_activation
    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        *,
        num_bins: int | None = None,
        average: Literal["macro", "weighted", "micro", "samples"] | None = "macro",
    ) -> None:
        self.num_bins = num_bins
        self._average = check_average(average, num_bins)
        super().__init__(
            functools.partial(average_precision_compute_fn, average=average),
            output_transform,
            check_compute_fn,
            device,
            skip_unrolling,
        )

    def _declare(self) -> list[Statistic]:
        return [kept_or_counted(self.num_bins, self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        check_scores(reading, self.num_bins, takes_columns=True)

    def _value(self, statistic: Any) -> Any:
        return value_of_statistic(statistic, self.compute_fn, average_precision, self._average)
