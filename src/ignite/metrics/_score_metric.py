"""The base of metrics of scores against targets of 0 and 1: exact from all samples, or from counts in bins."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics._curves import Ranking, merge_rankings, rank_counts, rank_scores
from ignite.metrics._labels import as_classes, count_outside, is_binary, outside_message
from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric, select_samples
from ignite.metrics.statistics import KeptSamples, Reading, ScoreCounts, Statistic


class _ScoreMetric(EpochMetric):
    _calls_user_code = False
    _compute_fn: Callable[..., Any]
    """The value from all scores and targets."""
    _takes_columns: ClassVar[bool]
    """Whether targets of shape (B, K), or classes, are K problems whose values are averaged, or an error."""
    _average: str | None = "macro"

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
        return [ScoreCounts(select_columns, num_bins=self.num_bins, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        y_pred, y = reading.derive(select_samples)
        check_scores(y_pred, y, self._takes_columns)
        if self.num_bins is None and y.is_cpu:  # otherwise counting them is checking them
            reading.derive(check_values)

    def _value(self, statistic: Any) -> Any:
        if isinstance(statistic, KeptSamples):
            return self.compute_fn(statistic.first, statistic.second)
        columns = [statistic.as_samples(i) for i in range(len(statistic.counts))]
        if statistic.num_columns == 1:
            return self._of_ranking(rank_counts(*columns[0]))
        return average_rankings(self._of_ranking, [rank_counts(*column) for column in columns], self._average)


def check_average(average: str | None) -> str | None:
    """``average``, if it is one that metrics of several columns have.

    Raises:
        ValueError: it is none.
    """
    if average not in ("macro", "weighted", "micro", None):
        raise ValueError(f"average should be 'macro', 'weighted', 'micro' or None, but given {average!r}")
    return average


def value_of_scores(of_ranking: Callable[[Ranking], float], y_pred: Tensor, y: Tensor, average: str | None) -> Any:
    """The value of scores (N,), or the average of the values of each column of (N, K).

    Raises:
        ValueError: scores are NaN, targets neither 0 nor 1, or no class.
    """
    if y_pred.ndim == 1:
        return of_ranking(rank_scores(y_pred, y))
    if y.ndim == 1:
        num_outside = int(count_outside(y, y_pred.shape[1])) + int(as_classes("y", y)[1])
        if num_outside:
            raise ValueError(outside_message(y_pred.shape[1], num_outside))
    columns = [y == i if y.ndim == 1 else y[:, i] for i in range(y_pred.shape[1])]
    rankings = [rank_scores(y_pred[:, i], column) for i, column in enumerate(columns)]
    return average_rankings(of_ranking, rankings, average)


def average_rankings(of_ranking: Callable[[Ranking], float], rankings: list[Ranking], average: str | None) -> Any:
    """The values of several problems, or what ``average`` makes of them."""
    if average == "micro":
        return of_ranking(merge_rankings(rankings))
    values = torch.tensor([of_ranking(ranking) for ranking in rankings], dtype=torch.float64)  # (K,)
    if average is None:
        return values
    if average == "macro":
        return values.mean().item()
    support = torch.tensor([int(ranking.num_positives[-1]) for ranking in rankings], dtype=torch.float64)
    is_used = support > 0  # what has no positives weighs nothing, even if it has no value
    return (values[is_used] * support[is_used] / support.sum()).sum().item() if is_used.any() else 0.0


def select_columns(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Scores and targets of the same shape (B,) or (B, K): of classes, 1 in the column of their own.

    A target that is no class has 2 in all columns, which is as wrong as it was.
    """
    scores, targets = select_samples(output)
    if scores.ndim == targets.ndim:
        return scores, targets
    columns = (targets.unsqueeze(1) == torch.arange(scores.shape[1], device=targets.device)).long()
    return scores, torch.where(columns.any(dim=1, keepdim=True), columns, 2)


def check_scores(y_pred: Tensor, y: Tensor, takes_columns: bool) -> None:
    """Raises ValueError if shapes do not fit each other, or have columns where they should not."""
    are_classes = takes_columns and y_pred.ndim == 2 and y.ndim == 1  # the numbers of examples are checked before
    if not are_classes and (y_pred.shape != y.shape or (y.ndim > 1 and not takes_columns)):
        expected = "both be of shape (batch_size,)"
        if takes_columns:
            expected += " or (batch_size, num_labels), or (batch_size, num_classes) and (batch_size,)"
        raise ValueError(f"y_pred and y should {expected}, but given {tuple(y_pred.shape)} and {tuple(y.shape)}")


def check_values(output: Sequence[Tensor]) -> None:
    """Raises ValueError if a score on the CPU is NaN, or a target neither 0 nor 1, or no class."""
    y_pred, y = select_samples(output)
    if not torch.equal(y_pred, y_pred):  # NaN is not equal to itself
        raise ValueError(f"Scores should be numbers, but given {int(y_pred.isnan().sum())} that are NaN")
    if y_pred.ndim > y.ndim:
        num_outside = count_outside(as_classes("y", y)[0], y_pred.shape[1])
        if num_outside:
            raise ValueError(outside_message(y_pred.shape[1], int(num_outside)))
    elif not is_binary(y):
        raise ValueError(f"Targets should be 0 or 1, but given {y[(y != 0) & (y != 1)].flatten()[0].item()}")
