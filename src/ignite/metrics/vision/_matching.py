"""Matches predicted boxes with true ones by the rules of COCO, and computes average precision and recall.

In this module: N images, P predicted boxes, G true boxes, T thresholds of the overlap, R thresholds
of the recall. A group consists of the boxes of one class in one image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ignite.metrics._output_arrays import has_numpy, numpy
from ignite.metrics.statistics.boxes import Boxes

AREA_RANGES = {
    "all": (0.0, float("inf")),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, float("inf")),
}
"""Name -> smallest and largest area in square pixels, both included."""

_MAX_PAIRS = 2**21
"""Number of overlaps that are computed at once, which take about 200 MB."""


class Candidates(NamedTuple):
    """Predicted boxes that overlap true ones enough to be matched, and all pairs of the two.

    Round i takes the box with the i-th highest score from each group. Boxes are sorted by round;
    pairs by round, box, overlap and position of the true box. The last possible pair of a box is
    the best one.
    """

    position: Tensor
    """Positions of the boxes in the ranking, ascending; shape (D,)."""
    rank: Tensor
    """Number of boxes of the same group before each of them; shape (D,)."""
    order: Tensor
    """The same boxes in this order; shape (D,)."""
    num_boxes: list[int]
    """Number of boxes in each round."""
    num_pairs: list[int]
    """Number of pairs in each round."""
    box: Tensor
    """The box of each pair, an index into the boxes sorted by round; shape (M,)."""
    true: Tensor
    """The true box of each pair; shape (M,)."""
    overlap: Tensor
    """The overlap of each pair; shape (M,)."""
    lowest: float
    """The smallest overlap of the pairs."""


class Matches(NamedTuple):
    """Results of matching the candidates, in the order of the ranking, for T thresholds."""

    position: Tensor
    """Shape (D,)."""
    rank: Tensor
    """Shape (D,)."""
    is_matched: Tensor
    """Whether each is matched with a true box; shape (T, D)."""
    is_true: Tensor
    """Whether the true box counts: it is not a crowd, and in the range of areas; shape (T, D)."""


class Evaluation:
    """Average precision and recall of boxes, by the rules of COCO.

    Predicted boxes are ranked by class, then by descending score; equal scores keep the order of
    images and boxes. In this order, each box is matched with the unmatched true box of its group
    with which it overlaps most, among those that count, or else among those that do not count.
    Predicted boxes of classes without a true box are ignored.
    """

    def __init__(self, boxes: Boxes, num_classes: int) -> None:
        counts, predicted, true = (tensor.cpu() for tensor in boxes)
        self.num_classes = num_classes
        images = torch.arange(len(counts))
        groups = images.repeat_interleave(counts[:, 1]) * num_classes + true[:, 4].long()
        order = stable_order(groups)
        self._true_group = groups[order]
        self._true = true[order].double()
        self._true_label = self._true[:, 4].long()
        self._is_crowd = self._true[:, 5] > 0

        labels = predicted[:, 5].long()
        ranked = _ranking(predicted[:, 4], labels, self._true_label.unique())
        groups = images.repeat_interleave(counts[:, 0]) * num_classes + labels
        self._label, self._group = labels[ranked], groups[ranked]
        self._box = predicted[ranked, :4].double()
        self._most_per_image = int(counts[:, 0].max()) if len(counts) else 0
        self._candidates: Candidates | None = None
        self._columns: dict[tuple[float, str], tuple[Tensor, Tensor]] = {}

    def average_precision(
        self, overlaps: Tensor, recalls: Tensor, area: str, max_detections: int
    ) -> float:
        """Returns the mean of precisions over classes, overlaps and recalls; -1 without a class.

        The precision at a recall is the highest one at this or a higher recall.

        Args:
            overlaps: thresholds, shape (T,).
            recalls: thresholds, shape (R,).
            area: a key of ``AREA_RANGES``.
            max_detections: number of boxes of each group that count, those with the highest scores.
        """
        matches, num_true = self._match(overlaps, area), self._num_true(area)
        counts = self._is_in_range(area)
        if self._most_per_image > max_detections:
            counts = counts & (self._rank < max_detections)
        is_used = matches.rank < max_detections
        is_true = matches.is_true & is_used  # (T, D)
        # Whether a matched box counts depends on the true box, and not on its own area.
        is_counted = matches.is_matched & (is_used & counts[matches.position])
        changes = _padded((is_true.int() - is_counted.int()).cumsum(1))  # (T, 1 + D)
        num_before = _padded(counts.cumsum(0))  # (1 + P,)
        starts = torch.searchsorted(self._label, torch.arange(self.num_classes + 1))
        bounds = torch.searchsorted(matches.position, starts).tolist()
        precisions = []
        for i in num_true.nonzero().flatten().tolist():
            own = slice(bounds[i], bounds[i + 1])
            hits = is_true[:, own].cumsum(1)  # (T, D of this class)
            num_counted = (
                num_before[1 + matches.position[own]]
                - num_before[starts[i]]
                + changes[:, bounds[i] + 1 : bounds[i + 1] + 1]
                - changes[:, bounds[i], None]
            )
            precision = torch.where(is_true[:, own], hits.double() / num_counted, 0.0)
            precisions.append(_mean_at(recalls, hits.double() / num_true[i], precision))
        return float(torch.stack(precisions).mean()) if precisions else -1.0

    def average_recall(self, overlaps: Tensor, area: str, max_detections: int) -> float:
        """Returns the mean over classes and overlaps of the recall of all boxes; -1 without a class."""
        matches, num_true = self._match(overlaps, area), self._num_true(area)
        is_true = matches.is_true & (matches.rank < max_detections)
        hits = torch.zeros(len(overlaps), self.num_classes, dtype=torch.float64)
        hits.index_add_(1, self._label[matches.position], is_true.double())
        is_there = num_true > 0
        return float((hits[:, is_there] / num_true[is_there]).mean()) if is_there.any() else -1.0

    def _num_true(self, area: str) -> Tensor:
        """Counts the true boxes of each class that count, shape (num_classes,)."""
        return torch.bincount(self._true_label[~self._is_ignored(area)], minlength=self.num_classes)

    def _is_ignored(self, area: str) -> Tensor:
        """Returns a mask of the true boxes that do not count, shape (G,)."""
        low, high = AREA_RANGES[area]
        return self._is_crowd | (self._true[:, 6] < low) | (self._true[:, 6] > high)

    def _is_in_range(self, area: str) -> Tensor:
        """Returns a mask of the predicted boxes that count if they are not matched, shape (P,)."""
        low, high = AREA_RANGES[area]
        areas = _areas(self._box)
        return (areas >= low) & (areas <= high)

    @cached_property
    def _rank(self) -> Tensor:
        """Returns the number of boxes of the same group ranked before each predicted box, shape (P,)."""
        order = stable_order(self._group)
        ranks = torch.empty_like(order)
        ranks[order] = _positions_in_runs(self._group[order])
        return ranks

    def _match(self, overlaps: Tensor, area: str) -> Matches:
        """Returns the matches for each threshold, computed once."""
        thresholds = overlaps.tolist()
        found = self._candidates_above(min(thresholds))
        missing = [each for each in thresholds if (each, area) not in self._columns]
        if missing:
            matched = _match(found, missing, self._is_ignored(area), self._is_crowd)
            self._columns.update(zip([(each, area) for each in missing], matched, strict=True))
        is_matched, is_true = zip(*(self._columns[each, area] for each in thresholds), strict=True)
        return Matches(found.position, found.rank, torch.stack(is_matched), torch.stack(is_true))

    def _candidates_above(self, lowest: float) -> Candidates:
        """Returns the candidates whose overlap is at least ``lowest``; may include further ones."""
        if self._candidates is None or lowest < self._candidates.lowest:
            self._columns.clear()
            self._candidates = self._find_candidates(lowest)
        return self._candidates

    def _find_candidates(self, lowest: float) -> Candidates:
        groups, sizes = self._true_group.unique_consecutive(return_counts=True)
        place = torch.searchsorted(groups, self._group)
        has_true = groups[place.clamp(max=len(groups) - 1)] == self._group
        position = has_true.nonzero().flatten()
        position = position[stable_order(place[position])]  # by group, then by score
        place = place[position]
        rank = _positions_in_runs(place)
        sizes, firsts = sizes[place], (sizes.cumsum(0) - sizes)[place]

        found = []
        for part in _parts(sizes, _MAX_PAIRS):
            box, true = _pairs(sizes[part], firsts[part])
            overlap = _overlaps(self._box[position[part]][box], self._true[true])
            is_enough = overlap >= min(lowest, _NEARLY_ONE)
            found.append((box[is_enough] + part.start, true[is_enough], overlap[is_enough]))
        box, true, overlap = (torch.cat(each) for each in zip(*found, strict=True))

        used, box = box.unique_consecutive(return_inverse=True)
        rounds = _positions_in_runs(place[used])
        order = stable_order(rounds)
        box = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))[box]
        used, rounds = used[order], rounds[order]
        pairs = overlap.argsort(stable=True)
        pairs = pairs[stable_order(box[pairs])]
        order = stable_order(position[used])
        return Candidates(
            position=position[used][order],
            rank=rank[used][order],
            order=order,
            num_boxes=rounds.bincount().tolist(),
            num_pairs=rounds[box].bincount().tolist(),
            box=box[pairs],
            true=true[pairs],
            overlap=overlap[pairs],
            lowest=lowest,
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Context in which torch uses a single thread.

    An evaluation consists of thousands of small operations. While the workers of a loader use all
    cores, waiting for other threads takes several times as long as the operations.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


_NEARLY_ONE = 1 - 1e-10
"""Equal boxes may overlap by less than 1 because of rounding."""


def _match(
    found: Candidates, thresholds: Sequence[float], is_ignored: Tensor, is_crowd: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Matches boxes with true ones, independently for each threshold.

    Args:
        found: the boxes and the possible pairs.
        thresholds: minimum overlaps of a pair.
        is_ignored: mask of the true boxes that do not count, shape (G,).
        is_crowd: mask of the true boxes that can be matched several times, shape (G,).

    Returns:
        For each threshold: whether each box is matched, and whether with one that counts, both of
        shape (D,), in the order of the ranking.
    """
    levels = torch.tensor(thresholds, dtype=torch.float64).clamp(max=_NEARLY_ONE)[:, None]
    num_pairs, num_true = len(found.true), len(is_ignored)
    # The best pair has the highest value. True boxes that count precede those that do not.
    values = torch.arange(num_pairs) + num_pairs * ~is_ignored[found.true]
    is_taken = torch.zeros(len(levels), num_true + 1, dtype=torch.bool)
    chosen = [torch.zeros(len(levels), 0, dtype=torch.int64)]
    box_end = pair_end = 0
    for num_boxes, size in zip(found.num_boxes, found.num_pairs, strict=True):
        own = slice(pair_end, pair_end + size)
        true = found.true[own]
        is_free = (found.overlap[own] >= levels) & (is_crowd[true] | ~is_taken[:, true])
        best = torch.where(is_free, values[own], -1)  # (T, pairs)
        if size > num_boxes:
            box = (found.box[own] - box_end).expand_as(best)
            best = best.new_full((len(levels), num_boxes), -1).scatter_reduce_(1, box, best, "amax")
        taken = found.true[best.clamp(min=0) % num_pairs].masked_fill_(best < 0, num_true)
        is_taken.scatter_(1, taken, True)
        chosen.append(best)  # (T, boxes)
        box_end, pair_end = box_end + num_boxes, own.stop
    best = torch.cat(chosen, dim=1)[:, found.order]
    return list(zip((best >= 0).unbind(), (best >= num_pairs).unbind(), strict=True))


def _mean_at(thresholds: Tensor, recall: Tensor, precision: Tensor) -> Tensor:
    """Returns the mean of the precisions at given recalls, of curves (T, D), as a scalar tensor."""
    highest = precision.flip(1).cummax(1).values.flip(1)
    highest = torch.cat([highest, highest.new_zeros(len(highest), 1)], dim=1)  # not reached: 0
    first = torch.searchsorted(recall, thresholds.expand(len(recall), -1).contiguous())
    return highest.gather(1, first).mean()


def _overlaps(predicted: Tensor, true: Tensor) -> Tensor:
    """Intersection over union of each pair of boxes; over the predicted box for a crowd; 0 for 0 / 0."""
    sides = torch.minimum(predicted[:, 2:], true[:, 2:4]) - torch.maximum(
        predicted[:, :2], true[:, :2]
    )
    shared = sides.clamp(min=0).prod(1)
    areas = _areas(predicted)
    union = torch.where(true[:, 5] > 0, areas, areas + _areas(true) - shared)
    return torch.where(shared > 0, shared / union, 0.0)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _ranking(scores: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Returns the indices of the boxes of some classes, by class, then by descending score."""
    kept = torch.isin(labels, classes).nonzero().flatten()
    scores, labels = scores[kept], labels[kept]
    single = scores.float() + 0.0  # turns -0.0 into 0.0
    if not torch.equal(single.double(), scores.double()):
        order = scores.sort(descending=True, stable=True).indices
        return kept[order[stable_order(labels[order])]]
    # The bits of float32 are integers of the same order, except that negative ones are reversed.
    bits = single.view(torch.int32).long()
    ascending = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return kept[stable_order((labels << 32) + (0x7FFFFFFF - ascending))]


def stable_order(keys: Tensor) -> Tensor:
    """Returns the indices that stably sort nonnegative integers.

    With NumPy, sorts numbers that include their index, in a tenth of the time of a stable sort.
    """
    num_bits = len(keys).bit_length()
    if not len(keys) or not has_numpy() or int(keys.max()) >= 2 ** (63 - num_bits):
        return keys.sort(stable=True).indices
    packed = (keys << num_bits) | torch.arange(len(keys))
    ordered: Tensor = torch.from_numpy(numpy.sort(packed.numpy()))
    return ordered.bitwise_and(2**num_bits - 1)


def _positions_in_runs(values: Tensor) -> Tensor:
    """Returns the number of equal values directly before each one: 0 0 1 2 0 for 3 5 5 5 3."""
    sizes = values.unique_consecutive(return_counts=True)[1]
    return _pairs(sizes, torch.zeros_like(sizes))[1]


def _pairs(sizes: Tensor, firsts: Tensor) -> tuple[Tensor, Tensor]:
    """Returns i, and firsts[i], firsts[i] + 1, ..., in ``sizes[i]`` pairs for each i."""
    index = torch.arange(len(sizes)).repeat_interleave(sizes)
    starts = sizes.cumsum(0) - sizes
    return index, torch.arange(len(index)) + (firsts - starts)[index]


def _parts(sizes: Tensor, limit: int) -> Iterator[slice]:
    """Yields slices of at least one size, with a sum of at most ``limit`` if possible."""
    ends, begin = sizes.cumsum(0), 0
    while True:
        done = int(ends[begin - 1]) if begin else 0
        end = int(torch.searchsorted(ends, done + limit, right=True))
        end = min(max(end, begin + 1), len(sizes))
        yield slice(begin, end)
        begin = end
        if begin >= len(sizes):
            return


def _padded(sums: Tensor) -> Tensor:
    """Prepends a zero to cumulative sums."""
    return torch.nn.functional.pad(sums, (1, 0))
