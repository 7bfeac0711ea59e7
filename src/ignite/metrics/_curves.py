"""Curves over thresholds for scores and binary targets, the areas under them, and averages over labels.

Values are exact if all samples are kept, and approximate if scores are counted in bins. N is the
number of examples, U that of distinct scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from ignite._core.old_arguments import Old, OldOrder, takes_old
from ignite.metrics._distances import NARROW
from ignite.metrics._output_arrays import (
    arrays_of,
    as_classes,
    count_outside,
    is_binary,
    numpy,
    outside_message,
)
from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.statistics import KeptSamples, Reading, ScoreCounts, Statistic


class Ranking(NamedTuple):
    """Numbers of positives and negatives with at least each score.

    Highest score first, shape (U,).
    """

    thresholds: Tensor
    num_positives: Tensor
    num_negatives: Tensor


def rank_scores(scores: Tensor, targets: Tensor) -> Ranking:
    """Ranks scores (N,) with targets 0 or 1.

    Raises:
        ValueError: a score is NaN, or a target is neither 0 nor 1.
    """
    if scores.isnan().any():
        raise ValueError(
            f"Scores should be numbers, but given {int(scores.isnan().sum())} that are NaN"
        )
    if not is_binary(targets):
        wrong = targets[(targets != 0) & (targets != 1)][0].item()
        raise ValueError(f"Targets should be 0 or 1, but given {wrong}")
    scores, positives = _sorted(scores, targets)
    is_last = torch.ones_like(positives, dtype=torch.bool)  # of the examples with its score
    is_last[:-1] = scores[1:] != scores[:-1]
    num_positives = positives.cumsum(0)[is_last]
    num_seen = torch.arange(1, len(scores) + 1, device=scores.device)[is_last]
    return Ranking(scores[is_last], num_positives, num_seen - num_positives)


def _sorted(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scores (N,) in descending order, and their targets as int64."""
    single = scores.detach().float() if scores.dtype in NARROW else scores
    arrays = arrays_of(single, targets.detach()) if scores.dtype in NARROW else None
    if arrays is None:
        scores, order = scores.sort(descending=True)
        return scores, targets[order].to(torch.int64)
    # Packs each score and its target into one integer that sorts like the score: sorting numbers
    # takes a tenth of the time of sorting with indices.
    bits = (
        (arrays[0] + numpy.float32(0)).view(numpy.int32).astype(numpy.int64)
    )  # adding 0 turns -0.0 into 0.0
    keys = (_in_order(bits) << 1) | arrays[1].astype(numpy.int64)
    keys.sort()
    keys = keys[::-1]
    found = _in_order(keys >> 1).astype(numpy.int32).view(numpy.float32)
    return torch.from_numpy(found).to(scores.dtype), torch.from_numpy(keys & 1)


def _in_order(bits: Any) -> Any:
    """Maps bits of float32 to integers that sort like the numbers, and back; negative numbers sort in reverse."""
    return numpy.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def merge_rankings(rankings: Sequence[Ranking]) -> Ranking:
    """Merges the rankings of several problems into one of all their examples."""
    thresholds = torch.cat([ranking.thresholds for ranking in rankings])
    distinct, index = thresholds.unique(return_inverse=True)  # lowest first
    counts = []
    for name in ("num_positives", "num_negatives"):
        each = [getattr(ranking, name) for ranking in rankings]
        gains = torch.cat([torch.diff(count, prepend=count.new_zeros(1)) for count in each])
        counts.append(gains.new_zeros(len(distinct)).index_add_(0, index, gains).flip(0).cumsum(0))
    return Ranking(distinct.flip(0), *counts)


def rank_counts(edges: Tensor, negatives: Tensor, positives: Tensor) -> Ranking:
    """Ranks counts in bins with these lower edges, in ascending order. Empty bins are skipped."""
    is_used = (negatives + positives > 0).flip(0)
    return Ranking(
        edges.flip(0)[is_used],
        positives.flip(0).cumsum(0)[is_used],
        negatives.flip(0).cumsum(0)[is_used],
    )


def roc_curve(ranking: Ranking) -> tuple[Tensor, Tensor, Tensor]:
    """Returns false and true positive rates and thresholds, shape (K,), from (0, 0) with an infinite threshold.

    Points on a straight line between others are omitted. True positive rates are NaN without positives, and
    false positive rates without negatives.
    """
    thresholds, positives, negatives = ranking
    corners = torch.ones_like(positives, dtype=torch.bool)
    if len(positives) > 2:
        bends = (positives.diff(n=2) != 0) | (negatives.diff(n=2) != 0)
        corners[1:-1] = bends
    zero = torch.zeros(1, dtype=torch.float64, device=positives.device)
    infinity = torch.full((1,), float("inf"), dtype=torch.float64, device=positives.device)
    tpr, fpr = (
        torch.cat([zero, counts[corners].double()]) / counts[-1]
        for counts in (positives, negatives)
    )
    return fpr, tpr, torch.cat([infinity, thresholds[corners].double()])


def roc_auc(ranking: Ranking) -> float:
    """Returns the area under the ROC curve: the probability that a positive has a higher score than a negative.

    A tie counts as one half. The area is NaN without positives or without negatives.
    """
    positives, negatives = ranking.num_positives.double(), ranking.num_negatives.double()
    steps = torch.diff(negatives, prepend=negatives.new_zeros(1))
    heights = positives - torch.diff(positives, prepend=positives.new_zeros(1)) / 2
    return float((steps * heights).sum() / (positives[-1] * negatives[-1]))


def precision_recall_curve(ranking: Ranking) -> tuple[Tensor, Tensor, Tensor]:
    """Returns precision and recall, shape (U + 1,), and ascending thresholds, shape (U,). The last point is (1, 0).

    Without positives, recall is 1 at all thresholds.
    """
    positives = ranking.num_positives.double()
    precision = positives / (positives + ranking.num_negatives)
    recall = positives / positives[-1] if positives[-1] > 0 else torch.ones_like(positives)
    one, zero = torch.ones_like(precision[:1]), torch.zeros_like(precision[:1])
    return (
        torch.cat([precision.flip(0), one]),
        torch.cat([recall.flip(0), zero]),
        ranking.thresholds.double().flip(0),
    )


def average_precision(ranking: Ranking) -> float:
    """Returns the mean of precisions weighted by the increase in recall at each threshold; 0 without positives."""
    positives = ranking.num_positives.double()
    if positives[-1] == 0:
        return 0.0
    gains = torch.diff(positives, prepend=positives.new_zeros(1)) / positives[-1]
    return float((gains * positives / (positives + ranking.num_negatives)).sum())


class _Activated:
    """Applies an activation function to the scores of an output."""

    def __init__(
        self, activation: Callable[[Tensor], Tensor], transform: Callable[[Any], Any]
    ) -> None:
        self._activation, self._transform = activation, transform

    def __call__(self, output: Any) -> Any:
        y_pred, y = self._transform(output)
        return self._activation(y_pred), y


def _activate_outputs(arguments: dict[str, Any]) -> None:
    activation, transform = arguments.pop("activation"), arguments.get("output_transform", identity)
    if activation is not None:
        arguments["output_transform"] = _Activated(activation, transform)


def _activate_scores(arguments: dict[str, Any]) -> None:
    activation = arguments.pop("activation")
    if activation is not None:
        arguments["y_preds"] = activation(arguments["y_preds"])


takes_activation = takes_old(
    OldOrder(
        "activation output_transform",
        lambda values: bool(values) and (values[0] is None or callable((*values, None)[1])),
    ),
    arguments={
        "activation": Old(
            "use output_transform=lambda output: (activation(output[0]), output[1])",
            _activate_outputs,
        )
    },
)
"""Makes a metric accept ``activation`` as in Ignite 0.1 and 0.2."""

takes_activation_of_scores = takes_old(
    OldOrder(
        "y_preds y_targets activation", lambda values: len(values) > 2 and callable(values[2])
    ),
    arguments={"activation": Old("pass activation(y_preds)", _activate_scores)},
)
"""Makes a function of scores and targets accept ``activation`` as in Ignite 0.1 and 0.2."""


def kept_or_counted(num_bins: int | None, device: torch.device | None) -> Statistic:
    """Returns the statistic that metrics of scores are computed from: all samples, or counts of scores in bins."""
    if num_bins is None:
        return KeptSamples(select_samples, device=device)
    return ScoreCounts(select_columns, num_bins=num_bins, device=device)


def value_of_statistic(
    statistic: Any,
    compute_fn: Callable[[Tensor, Tensor], Any],
    of_ranking: Callable[[Ranking], Any],
    average: str | None = "macro",
) -> Any:
    """Returns the value of a metric of scores.

    Args:
        statistic: made by :func:`kept_or_counted`.
        compute_fn: computes the value from all scores and targets.
        of_ranking: computes the value of one label from its counts.
        average: how to average over labels.
    """
    if isinstance(statistic, KeptSamples):
        return compute_fn(statistic.first, statistic.second)
    columns = [statistic.as_samples(i) for i in range(len(statistic.counts))]
    if statistic.num_columns == 1:
        return of_ranking(rank_counts(*columns[0]))
    return average_rankings(of_ranking, [rank_counts(*column) for column in columns], average)


def check_average(average: str | None, num_bins: int | None = None) -> str | None:
    """Returns ``average`` after checking it.

    Raises:
        ValueError: it is not a way to average over labels or classes.
    """
    if average not in ("macro", "weighted", "micro", "samples", None):
        raise ValueError(
            "average should be 'macro', 'weighted', 'micro', 'samples' or None, "
            f"but given {average!r}"
        )
    if average == "samples" and num_bins is not None:
        raise ValueError(
            f"num_bins should be None for average='samples', but given {num_bins}: a bin counts "
            "scores of all examples together"
        )
    return average


def value_of_scores(
    of_ranking: Callable[[Ranking], float], y_pred: Tensor, y: Tensor, average: str | None
) -> Any:
    """Returns the value of scores (N,), or the average over the K columns of scores (N, K).

    Raises:
        ValueError: a score is NaN, or a target is neither 0 nor 1, or not a class.
    """
    if y_pred.ndim == 1:
        return of_ranking(rank_scores(y_pred, y))
    if y.ndim == 1:
        num_outside = int(count_outside(y, y_pred.shape[1])) + int(as_classes("y", y)[1])
        if num_outside:
            raise ValueError(outside_message(y_pred.shape[1], num_outside))
    if average == "samples":
        targets = (
            y if y.ndim > 1 else y.unsqueeze(1) == torch.arange(y_pred.shape[1], device=y.device)
        )
        return _mean_of_rows(of_ranking, y_pred, targets)
    columns = [y == i if y.ndim == 1 else y[:, i] for i in range(y_pred.shape[1])]
    rankings = [rank_scores(y_pred[:, i], column) for i, column in enumerate(columns)]
    return average_rankings(of_ranking, rankings, average)


def average_rankings(
    of_ranking: Callable[[Ranking], float], rankings: list[Ranking], average: str | None
) -> Any:
    """Returns the values of several problems, or their average."""
    if average == "micro":
        return of_ranking(merge_rankings(rankings))
    values = torch.tensor(
        [of_ranking(ranking) for ranking in rankings], dtype=torch.float64
    )  # (K,)
    if average is None:
        return values
    if average == "macro":
        return values.mean().item()
    support = torch.tensor(
        [int(ranking.num_positives[-1]) for ranking in rankings], dtype=torch.float64
    )
    is_used = support > 0  # without positives the weight is 0, and the value may be NaN
    return (
        (values[is_used] * support[is_used] / support.sum()).sum().item() if is_used.any() else 0.0
    )


def _mean_of_rows(of_ranking: Callable[[Ranking], float], scores: Tensor, targets: Tensor) -> float:
    """Returns the mean over examples of the value of each, from scores and targets (N, K)."""
    if scores.isnan().any() or not is_binary(targets.cpu()):
        for i in range(scores.shape[1]):
            rank_scores(scores[:, i], targets[:, i])  # raises
    scores, order = scores.sort(dim=1, descending=True)
    positives = targets.gather(1, order).bool()
    last = scores.shape[1] - 1
    places = torch.arange(last + 1, device=scores.device).expand_as(order)
    ends = torch.ones_like(positives)  # whether it is the last of those with its score
    ends[:, :-1] = scores[:, 1:] != scores[:, :-1]
    end = torch.where(ends, places, last).flip(1).cummin(dim=1).values.flip(1)
    above = positives.cumsum(dim=1)
    num_positives = above[:, -1].double()
    seen = above.gather(1, end).double()  # positives with at least this score
    if of_ranking is average_precision:
        precisions = (seen / (end + 1)).where(positives, 0).sum(dim=1)
        return (precisions / num_positives.clamp(min=1)).mean().item()
    # Of the negatives with this score, half are below.
    starts = torch.ones_like(positives)
    starts[:, 1:] = ends[:, :-1]
    start = torch.where(starts, places, 0).cummax(dim=1).values
    higher = (start - (above - positives.long()).gather(1, start)).double()
    num_negatives = last + 1 - num_positives
    below = num_negatives.unsqueeze(1) - (higher + (end + 1 - seen)) / 2
    areas = below.where(positives, 0).sum(dim=1) / (num_positives * num_negatives)
    return areas.mean().item()


def select_columns(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns scores and targets of the same shape (B,) or (B, K). Classes are one-hot encoded.

    A target that is not a class becomes 2 in all columns, so that it is refused later.
    """
    scores, targets = select_samples(output)
    if scores.ndim == targets.ndim:
        return scores, targets
    columns = (targets.unsqueeze(1) == torch.arange(scores.shape[1], device=targets.device)).long()
    return scores, torch.where(columns.any(dim=1, keepdim=True), columns, 2)


def check_scores(reading: Reading, num_bins: int | None, takes_columns: bool) -> None:
    """Checks a batch for a metric of scores.

    Args:
        reading: the batch.
        num_bins: None if all samples are kept.
        takes_columns: whether the metric accepts targets of shape (B, K), and classes with scores of
            shape (B, K).

    Raises:
        ValueError: shapes do not match; or, on the CPU, values are invalid.
    """
    y_pred, y = reading.derive(select_samples)
    if y_pred.shape != y.shape or (y.ndim > 1 and not takes_columns):
        are_classes = (
            y_pred.ndim == 2 and y.ndim == 1
        )  # select_samples has compared the numbers of rows
        if not (takes_columns and are_classes):
            _refuse_shapes(y_pred, y, takes_columns)
    if num_bins is None and y.is_cpu:  # ScoreCounts checks values itself
        reading.derive(check_values)


def _refuse_shapes(y_pred: Tensor, y: Tensor, takes_columns: bool) -> NoReturn:
    expected = "both be of shape (batch_size,)"
    if takes_columns:
        expected += " or (batch_size, num_labels), or (batch_size, num_classes) and (batch_size,)"
    raise ValueError(
        f"y_pred and y should {expected}, but given {tuple(y_pred.shape)} and {tuple(y.shape)}"
    )


def check_values(output: Sequence[Tensor]) -> None:
    """Raises ValueError if a score is NaN, or a target is neither 0 nor 1, or not a class."""
    y_pred, y = select_samples(output)
    if not torch.equal(y_pred, y_pred):  # NaN is not equal to itself
        raise ValueError(
            f"Scores should be numbers, but given {int(y_pred.isnan().sum())} that are NaN"
        )
    if y_pred.ndim > y.ndim:
        num_outside = count_outside(as_classes("y", y)[0], y_pred.shape[1])
        if num_outside:
            raise ValueError(outside_message(y_pred.shape[1], int(num_outside)))
    elif not is_binary(y):
        raise ValueError(
            f"Targets should be 0 or 1, but given {y[(y != 0) & (y != 1)].flatten()[0].item()}"
        )
