"""Spearman rank correlation coefficient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.regression._base import read_pair, widened
from ignite.metrics.statistics import Reading

__all__ = ["SpearmanRankCorrelation"]


class SpearmanRankCorrelation(EpochMetric):
    r"""Spearman rank correlation coefficient: the correlation of the ranks of predictions and targets.

    .. math:: \frac{\sum_i (p_i - \bar{p})(a_i - \bar{a})}{\sqrt{\sum_i (p_i - \bar{p})^2 \sum_i (a_i - \bar{a})^2}}

    with :math:`p` and :math:`a` the ranks of predictions and targets, where equal values
    share their mean rank. Update with ``(y_pred, y)``: floating point, both of shape (B,) or both (B,
    1), of the same dtypes each time. NaN if predictions or targets are all equal, or one is NaN.
    All samples are kept, and shared with other metrics that keep samples.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        check_compute_fn: ignored; accepted for compatibility with Ignite.
        device: device on which to keep the tensors. By default, their own.
        skip_unrolling: see :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is then
            not kept.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = SpearmanRankCorrelation()
        >>> metric.update((torch.tensor([0.1, 0.2, 0.9]), torch.tensor([10.0, 30.0, 20.0])))
        >>> metric.compute()  # ranks 1, 2, 3 and 1, 3, 2
        0.5

    References:
        Spearman, "The proof and measurement of association between two things", 1904.
    """

    higher_is_better = True
    _calls_user_code = False

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = True,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(_spearman, output_transform, False, device, skip_unrolling)

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        reading.derive(read_pair)


def _spearman(y_pred: Tensor, y: Tensor) -> float:
    if y_pred.isnan().any() or y.isnan().any():
        return float("nan")
    mean = (len(y) + 1) / 2
    x, y = mid_ranks(widened(y_pred)) - mean, mid_ranks(widened(y)) - mean
    # The root of the product is exact if ranks are equal, so the value is exactly 1.
    return float(x @ y / ((x @ x) * (y @ y)).sqrt())


def mid_ranks(values: Tensor) -> Tensor:
    """Returns ranks from 1 to N of floating point numbers, in their dtype. Equal values share their mean rank."""
    _, group, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(values)
    ranks: Tensor = last - (counts.to(values) - 1) / 2
    return ranks[group]
