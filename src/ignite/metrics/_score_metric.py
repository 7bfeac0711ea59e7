"""The base of metrics of scores against targets of 0 and 1: exact from all samples, or from counts in bins."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics._curves import Ranking, rank_counts, rank_scores
from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric, select_samples
from ignite.metrics.statistics import KeptSamples, Reading, ScoreCounts, Statistic


class _ScoreMetric(EpochMetric):
    _calls_user_code = False
    _compute_fn: Callable[..., Any]
    """The value from all scores and targets."""
    _takes_columns: ClassVar[bool]
    """Whether targets of shape (B, K) are K problems whose values are averaged, or an error."""

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
        super().__init__(type(self)._compute_fn, output_transform, check_compute_fn, device, skip_unrolling)

    @abstractmethod
    def _of_ranking(self, ranking: Ranking) -> Any:
        """The value of one problem."""

    def _declare(self) -> list[Statistic]:
        if self.num_bins is None:
            return [KeptSamples(select_samples, device=self._accumulates_on)]
        return [ScoreCounts(select_samples, num_bins=self.num_bins, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        check_scores(reading.derive(select_samples), self._takes_columns)

    def _value(self, statistic: Any) -> Any:
        if isinstance(statistic, KeptSamples):
            return self.compute_fn(statistic.first, statistic.second)
        values = [self._of_ranking(rank_counts(*statistic.as_samples(i))) for i in range(len(statistic.counts))]
        return values[0] if statistic.num_columns == 1 else sum(values) / len(values)


def mean_over_columns(of_ranking: Callable[[Ranking], Any], y_pred: Tensor, y: Tensor) -> Any:
    """The value of scores (N,), or the mean of the values of each column of (N, K)."""
    if y.ndim == 1:
        return of_ranking(rank_scores(y_pred, y))
    values = [of_ranking(rank_scores(y_pred[:, i], y[:, i])) for i in range(y.shape[1])]
    return sum(values) / len(values)


def check_scores(output: Sequence[Tensor], takes_columns: bool) -> None:
    """Raises ValueError if scores and targets are not of the same shape, or have columns where they should not."""
    y_pred, y = output
    if y_pred.shape != y.shape or (y.ndim > 1 and not takes_columns):
        expected = "(batch_size,) or (batch_size, num_labels)" if takes_columns else "(batch_size,)"
        raise ValueError(
            f"y_pred and y should both be of shape {expected}, but given {tuple(y_pred.shape)} and {tuple(y.shape)}"
        )
