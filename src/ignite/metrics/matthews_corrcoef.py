"""Matthews correlation coefficient of predicted and true labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._classification import (
    check_labels,
    count_labels,
    cross_table,
    labels_of_samples,
    outside_message,
)
from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric, select_samples
from ignite.metrics.statistics import KeptSamples, Reading, Statistic, Totals

__all__ = ["MatthewsCorrCoef", "matthews_corrcoef_compute_fn"]

_NAME = "MatthewsCorrCoef"


def matthews_corrcoef_compute_fn(y_preds: Tensor, y_targets: Tensor) -> float:
    """Computes :class:`MatthewsCorrCoef` for all labels, of shape (N,), or scores and one-hot vectors (N, C).

    Raises:
        ValueError: targets have a class dimension, and predictions have none.
    """
    if y_preds.ndim == 1 and y_targets.ndim == 2:
        raise ValueError(
            "y_pred should have as many dimensions as y, but given shapes "
            f"{tuple(y_preds.shape)} and {tuple(y_targets.shape)}"
        )
    table, _ = cross_table(*labels_of_samples(y_preds, y_targets, _NAME))
    return _correlation(table)


class MatthewsCorrCoef(EpochMetric):
    r"""The correlation of predicted and true labels, from -1 to 1; 0 if all predictions or all targets are equal.

    .. math:: \frac{c\,n - \sum_k p_k t_k}{\sqrt{(n^2 - \sum_k p_k^2)(n^2 - \sum_k t_k^2)}}

    for :math:`n` examples of which :math:`c` are correct, where class :math:`k` is predicted
    :math:`p_k` times and true :math:`t_k` times. Update with ``(y_pred, y)``: labels of
    shape (B,), or scores and one-hot vectors (B, C).

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        check_compute_fn: ignored; accepted for compatibility with Ignite.
        device: device on which to keep the labels. By default, that of the labels.
        skip_unrolling: see :class:`Metric`.
        num_classes: if given, labels are counted instead of kept, so memory does not grow with the
            data. Labels must be from 0 to ``num_classes - 1``.

    Raises:
        ValueError: in ``update``, shapes are not those above, the dtype has changed, a label is out
            of range, not an integer, or -100, which losses ignore, or a score is NaN. Values on an
            accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = MatthewsCorrCoef()
        >>> metric.update((torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])))
        >>> round(metric.compute(), 4)
        0.5774

    References:
        Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
        2004.
    """

    higher_is_better = True
    _calls_user_code = False

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        *,
        num_classes: int | None = None,
    ) -> None:
        self.num_classes = num_classes
        super().__init__(
            matthews_corrcoef_compute_fn, output_transform, check_compute_fn, device, skip_unrolling
        )

    def _declare(self) -> list[Statistic]:
        if self.num_classes is None:
            return super()._declare()
        return [
            Totals(
                count_labels, (self.num_classes, _NAME), num_values=2, device=self._accumulates_on
            )
        ]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        _check_dimensions(reading.output)
        if self.num_classes is None and reading.output[1].is_cpu:  # counting checks them otherwise
            y_pred, y = reading.derive(select_samples)
            check_labels(reading, y_pred, y, _NAME)

    def _value(self, statistic: Any) -> float:
        if isinstance(statistic, KeptSamples):
            return matthews_corrcoef_compute_fn(statistic.first, statistic.second)
        table, num_outside = statistic.values
        if int(num_outside):
            raise ValueError(outside_message(self.num_classes, int(num_outside)))
        return _correlation(table)


def _check_dimensions(output: Sequence[Tensor]) -> None:
    if output[0].ndim == 1 and output[1].ndim == 2 and output[1].shape[1] > 1:
        raise ValueError(
            "y_pred should have as many dimensions as y, but given shapes "
            f"{tuple(output[0].shape)} and {tuple(output[1].shape)}"
        )


def _correlation(table: Tensor) -> float:
    table = table.double()
    n, num_true, num_predicted = table.sum(), table.sum(dim=1), table.sum(dim=0)
    covariance = table.diagonal().sum() * n - (num_true * num_predicted).sum()
    variances = (n**2 - (num_predicted**2).sum()) * (n**2 - (num_true**2).sum())
    return float(covariance / variances.sqrt()) if variances > 0 else 0.0
