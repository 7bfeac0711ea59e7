"""Curves over thresholds, and the areas under them, from scores or from counts in bins; pure functions.

N examples; U distinct scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite.metrics._distances import NARROW
from ignite.metrics._labels import is_binary
from ignite.metrics._scratch import arrays_of, numpy


class Ranking(NamedTuple):
    """How many positives and negatives have at least each score. Highest score first, shape (U,)."""

    thresholds: Tensor
    num_positives: Tensor
    num_negatives: Tensor


def rank_scores(scores: Tensor, targets: Tensor) -> Ranking:
    """Of scores (N,), with targets 0 or 1.

    Raises:
        ValueError: a score is NaN, or a target is neither 0 nor 1.
    """
    if scores.isnan().any():
        raise ValueError(f"Scores should be numbers, but given {int(scores.isnan().sum())} that are NaN")
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
    """Scores (N,) from the highest on, and their targets, int64."""
    single = scores.detach().float() if scores.dtype in NARROW else scores
    arrays = arrays_of(single, targets.detach()) if scores.dtype in NARROW else None
    if arrays is None:
        scores, order = scores.sort(descending=True)
        return scores, targets[order].to(torch.int64)
    # A score and its target in one integer of the same order: sorting numbers takes a tenth of sorting with indices.
    bits = (arrays[0] + numpy.float32(0)).view(numpy.int32).astype(numpy.int64)  # of which -0.0 has become 0.0
    keys = (_in_order(bits) << 1) | arrays[1].astype(numpy.int64)
    keys.sort()
    keys = keys[::-1]
    found = _in_order(keys >> 1).astype(numpy.int32).view(numpy.float32)
    return torch.from_numpy(found).to(scores.dtype), torch.from_numpy(keys & 1)


def _in_order(bits: Any) -> Any:
    """Bits of float32 as integers of the same order, and back: those of negative numbers are the other way round."""
    return numpy.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def merge_rankings(rankings: Sequence[Ranking]) -> Ranking:
    """Of the examples of all problems together."""
    thresholds = torch.cat([ranking.thresholds for ranking in rankings])
    distinct, index = thresholds.unique(return_inverse=True)  # lowest first
    counts = []
    for name in ("num_positives", "num_negatives"):
        each = [getattr(ranking, name) for ranking in rankings]
        gains = torch.cat([torch.diff(count, prepend=count.new_zeros(1)) for count in each])
        counts.append(gains.new_zeros(len(distinct)).index_add_(0, index, gains).flip(0).cumsum(0))
    return Ranking(distinct.flip(0), *counts)


def rank_counts(edges: Tensor, negatives: Tensor, positives: Tensor) -> Ranking:
    """Of counts in bins with these lower edges, lowest first; bins without examples are left out."""
    is_used = (negatives + positives > 0).flip(0)
    return Ranking(edges.flip(0)[is_used], positives.flip(0).cumsum(0)[is_used], negatives.flip(0).cumsum(0)[is_used])


def roc_curve(ranking: Ranking) -> tuple[Tensor, Tensor, Tensor]:
    """False and true positive rates and thresholds, shape (K,), beginning at (0, 0) with an infinite threshold.

    Points on a straight line between others are left out. The rate of what there is none of is NaN.
    """
    thresholds, positives, negatives = ranking
    corners = torch.ones_like(positives, dtype=torch.bool)
    if len(positives) > 2:
        bends = (positives.diff(n=2) != 0) | (negatives.diff(n=2) != 0)
        corners[1:-1] = bends
    zero = torch.zeros(1, dtype=torch.float64, device=positives.device)
    infinity = torch.full((1,), float("inf"), dtype=torch.float64, device=positives.device)
    tpr, fpr = (torch.cat([zero, counts[corners].double()]) / counts[-1] for counts in (positives, negatives))
    return fpr, tpr, torch.cat([infinity, thresholds[corners].double()])


def roc_auc(ranking: Ranking) -> float:
    """The area under the curve of true over false positive rates: how often a positive outscores a negative.

    Ties count half. NaN without positives or without negatives.
    """
    positives, negatives = ranking.num_positives.double(), ranking.num_negatives.double()
    steps = torch.diff(negatives, prepend=negatives.new_zeros(1))
    heights = positives - torch.diff(positives, prepend=positives.new_zeros(1)) / 2
    return float((steps * heights).sum() / (positives[-1] * negatives[-1]))


def precision_recall_curve(ranking: Ranking) -> tuple[Tensor, Tensor, Tensor]:
    """Precision and recall, shape (U + 1,), with rising thresholds, shape (U,), and at the end the point (1, 0).

    Without positives, recall is 1 throughout.
    """
    positives = ranking.num_positives.double()
    precision = positives / (positives + ranking.num_negatives)
    recall = positives / positives[-1] if positives[-1] > 0 else torch.ones_like(positives)
    one, zero = torch.ones_like(precision[:1]), torch.zeros_like(precision[:1])
    return torch.cat([precision.flip(0), one]), torch.cat([recall.flip(0), zero]), ranking.thresholds.double().flip(0)


def average_precision(ranking: Ranking) -> float:
    """The mean of precisions, weighted by the gain of recall at each threshold; 0 without positives."""
    positives = ranking.num_positives.double()
    if positives[-1] == 0:
        return 0.0
    gains = torch.diff(positives, prepend=positives.new_zeros(1)) / positives[-1]
    return float((gains * positives / (positives + ranking.num_negatives)).sum())
