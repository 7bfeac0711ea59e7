"""The ROC curve of true over false positive rates, and the area under it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._curves import (
    check_average,
    check_scores,
    kept_or_counted,
    rank_scores,
    roc_auc,
    roc_curve,
    takes_activation,
    takes_activation_of_scores,
    value_of_scores,
    value_of_statistic,
)
from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.statistics import Reading, Statistic

__all__ = ["ROC_AUC", "RocCurve", "roc_auc_compute_fn", "roc_auc_curve_compute_fn"]


@takes_activation_of_scores
def roc_auc_compute_fn(y_preds: Tensor, y_targets: Tensor, average: str | None = "macro") -> Any:
    """Computes :class:`ROC_AUC` for all scores and targets, of the shapes that it accepts."""
    return value_of_scores(roc_auc, y_preds, y_targets, check_average(average))


def roc_auc_curve_compute_fn(y_preds: Tensor, y_targets: Tensor) -> tuple[Any, Any, Any]:
    """Computes :class:`RocCurve` for all scores and targets, of shape (N,)."""
    return roc_curve(rank_scores(y_preds, y_targets))


class ROC_AUC(EpochMetric):  # noqa: N801 - Ignite's name
    """The area under the ROC curve: the probability that a positive has a higher score than a negative.

    A tie counts as one half. Update with ``(y_pred, y)``: scores and targets of 0 and 1, both of shape (B,),
    or (B, L) for L labels; or scores of shape (B, C) and classes of shape (B,), each class against
    the others. NaN if there are no positives, or no negatives.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        check_compute_fn: ignored; accepted for compatibility with Ignite.
        device: device on which to keep the tensors. By default, their own.
        skip_unrolling: see :class:`Metric`.
        num_bins: the number of bins of equal width to count scores in, instead of keeping all
            samples. Memory then does not grow with the data. Scores must be from 0 to 1, and scores
            in the same bin count as ties.
        average: how to average over labels or classes. "macro" is the mean of their values,
            "weighted" the mean weighted by the number of positives of each, "micro" the value for
            the scores of all of them together, "samples" the mean over examples of the value of
            each over its labels, which needs all samples, and None returns each value, a tensor of
            shape (L,) or (C,).

    Raises:
        ValueError: shapes or values are not those above, or the dtype has changed. Values on an
            accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = ROC_AUC()
        >>> metric.update((torch.tensor([0.9, 0.4, 0.6, 0.1]), torch.tensor([1, 1, 0, 0])))
        >>> metric.compute()  # one of four pairs is in the wrong order
        0.75

    References:
        Hanley, McNeil, "The meaning and use of the area under a receiver operating characteristic
        curve", 1982.
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
            functools.partial(roc_auc_compute_fn, average=average),
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
        return value_of_statistic(statistic, self.compute_fn, roc_auc, self._average)


class RocCurve(EpochMetric):
    """False positive rates, true positive rates and thresholds: three tensors of shape (K,), float64.

    They start at (0, 0) with an infinite threshold. Points on a straight line between others are
    omitted.

    Update with ``(y_pred, y)``: scores and targets of 0 and 1, of shape (B,). Arguments and errors
    are those of :class:`ROC_AUC`.

    Example:
        >>> metric = RocCurve()
        >>> metric.update((torch.tensor([0.75, 0.5, 0.25]), torch.tensor([1, 0, 1])))
        >>> [values.tolist() for values in metric.compute()]
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0], [inf, 0.75, 0.5, 0.25]]
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
            roc_auc_curve_compute_fn, output_transform, check_compute_fn, device, skip_unrolling
        )

    def _declare(self) -> list[Statistic]:
        return [kept_or_counted(self.num_bins, self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        check_scores(reading, self.num_bins, takes_columns=False)

    def _value(self, statistic: Any) -> Any:
        return value_of_statistic(statistic, self.compute_fn, roc_curve)
