"""Precision and recall over thresholds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._curves import (
    check_scores,
    kept_or_counted,
    precision_recall_curve,
    rank_scores,
    value_of_statistic,
)
from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.statistics import Reading, Statistic

__all__ = ["PrecisionRecallCurve", "precision_recall_curve_compute_fn"]


def precision_recall_curve_compute_fn(y_preds: Tensor, y_targets: Tensor) -> tuple[Any, Any, Any]:
    """Computes :class:`PrecisionRecallCurve` for all scores and targets, of shape (N,)."""
    return precision_recall_curve(rank_scores(y_preds, y_targets))


class PrecisionRecallCurve(EpochMetric):
    """Precisions and recalls, shape (U + 1,), and thresholds, shape (U,): three tensors, float64.

    Thresholds are the U distinct scores in ascending order. Precision and recall are those of
    predicting 1 for scores at or above the threshold. The last point is (1, 0), without a threshold.

    Update with ``(y_pred, y)``: scores and targets of 0 and 1, of shape (B,).

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        check_compute_fn: ignored; accepted for compatibility with Ignite.
        device: device on which to keep the tensors. By default, their own.
        skip_unrolling: see :class:`Metric`.
        num_bins: the number of bins to count scores in; see :class:`ROC_AUC`.

    Raises:
        ValueError: see :class:`ROC_AUC`.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = PrecisionRecallCurve()
        >>> metric.update((torch.tensor([0.75, 0.5, 0.25]), torch.tensor([1, 0, 1])))
        >>> [values.tolist() for values in metric.compute()]
        [[0.666..., 0.5, 1.0, 1.0], [1.0, 0.5, 0.5, 0.0], [0.25, 0.5, 0.75]]
    """

    _calls_user_code = False

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        *,
        num_bins: int | None = None,
    ) -> None:
        self.num_bins = num_bins
        super().__init__(
            precision_recall_curve_compute_fn,
            output_transform,
            check_compute_fn,
            device,
            skip_unrolling,
        )

    def _declare(self) -> list[Statistic]:
        return [kept_or_counted(self.num_bins, self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        check_scores(reading, self.num_bins, takes_columns=False)

    def _value(self, statistic: Any) -> Any:
        return value_of_statistic(statistic, self.compute_fn, precision_recall_curve)
