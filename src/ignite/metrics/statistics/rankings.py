"""Sums over users of measures of their ranked items."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite.metrics._output_arrays import array_of, detached, largest, smallest
from ignite.metrics.statistics._statistic import (
    LARGE,
    PendingBatches,
    Reading,
    Statistic,
    wide_dtype,
)
from ignite.metrics.statistics.totals import Totals

__all__ = ["Ranked", "RankingMeasure", "Rankings"]


class RankingMeasure(NamedTuple):
    """A measure of ranked items."""

    name: str
    function: Callable[..., Tensor]
    """``function(ranked, *args)`` returns sums over users, shape (V,)."""
    args: tuple[Hashable, ...]
    num_values: int
    """V."""
    depth: int
    """Number of first items that it depends on; 0 if it does not depend on the order."""

    @property
    def part(self) -> str:
        """The name of its sums in states."""
        return f"{self.name}{list(self.args)}"


class Ranked:
    """Items of users, which are ranked by their scores on first use.

    Of items with equal scores, those with lower relevance rank first, so that a model that assigns
    equal scores does not benefit from the order of items.

    Args:
        scores: shape (B, I), below infinity.
        relevance: shape (B, I).
        depth: number of first items that are needed.
    """

    def __init__(self, scores: Tensor, relevance: Tensor, depth: int) -> None:
        # Half precision cannot count items, and integers have no -inf.
        is_single = scores.dtype in (torch.float32, torch.float16, torch.bfloat16)
        self.scores = scores.float() if is_single else scores.to(wide_dtype(scores))
        self.relevance = relevance
        self._depth = depth

    @functools.cached_property
    def is_relevant(self) -> Tensor:
        """1.0 for items that are relevant, else 0.0, shape (B, I).

        Comparisons that write floats, and sums of floats, take a fifth of the time of booleans.
        """
        out = torch.empty(self.scores.shape, dtype=self.scores.dtype, device=self.scores.device)
        return torch.gt(self.relevance, 0, out=out)

    @functools.cached_property
    def num_relevant(self) -> Tensor:
        """Number of relevant items, shape (B,)."""
        return self.is_relevant.sum(dim=1).long()

    @functools.cached_property
    def num_before_first(self) -> Tensor:
        """Number of items that rank before the first relevant item, shape (B,).

        I if there is no relevant item. It is counted, which takes less time than sorting.
        """
        scores, is_relevant = self.scores, self.is_relevant
        # The scores of relevant items, and -inf for others.
        work = is_relevant.reciprocal().neg_().add_(1).add_(scores)
        best = work.amax(dim=1, keepdim=True)  # (B, 1)
        is_as_high = torch.ge(scores, best, out=work)
        count = is_as_high.sum(dim=1) - is_as_high.mul_(is_relevant).sum(dim=1)
        return torch.where(self.num_relevant > 0, count.long(), scores.shape[1])

    @functools.cached_property
    def first(self) -> Tensor:
        """Relevance of the first items in their order, shape (B, min(depth, I))."""
        scores, relevance, depth = self.scores, self.relevance, self._depth
        num_items = scores.shape[1]
        if depth * 2 >= num_items or not scores.is_cpu:
            return in_order(scores, relevance)[:, :depth]
        # One more item shows whether there is a tie at the end, for which topk returns any item.
        highest, indices = scores.topk(depth + 1, dim=1)
        found = relevance.gather(1, indices)
        is_tied = highest[:, 1:] == highest[:, :-1]  # (B, depth)
        if not is_tied.any():
            return found[:, :-1]
        found = in_order(highest, found)[:, :-1]
        rows = is_tied[:, -1].nonzero().flatten()
        if len(rows):
            found[rows] = in_order(scores[rows], relevance[rows])[:, :depth]
        return found


def in_order(scores: Tensor, relevance: Tensor) -> Tensor:
    """Returns ``relevance`` by descending scores, and in ascending order for equal scores."""
    relevance, order = relevance.sort(dim=1)
    order = scores.gather(1, order).sort(dim=1, descending=True, stable=True).indices
    return relevance.gather(1, order)


class Rankings(Statistic):
    """Ranks the items of each user, and sums measures of them over users.

    Metrics with different measures share it, so that items are sorted once. Small batches are
    joined before they are sorted.

    Args:
        measure: the measure.
        device: device on which to accumulate. None: that of the scores.

    Raises:
        TypeError: in ``update``, scores or relevance are complex.
        ValueError: in ``update``, they are not both of shape (B, I), a score is NaN or inf, or a
            relevance is not finite. For tensors on an accelerator, ``check`` raises for wrong
            values instead.

    Example:
        >>> measure = RankingMeasure("best", lambda ranked: ranked.first.sum(0), (), 1, depth=1)
        >>> rankings = Rankings(measure)
        >>> relevance = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
        >>> rankings.update(Reading((torch.tensor([[0.9, 0.4, 0.5], [0.1, 0.2, 0.1]]), relevance)))
        >>> rankings.sums(measure)  # the highest score is that of an item of relevance 1, and of 3
        [4.0]
    """

    def __init__(self, measure: RankingMeasure, device: torch.device | None = None) -> None:
        self.measures = {measure}
        super().__init__(device)

    def widen(self, other: Statistic) -> None:
        """Also computes the measures of ``other``."""
        assert isinstance(other, Rankings)
        self.measures = self.measures | other.measures

    def reset(self) -> None:
        """Clears all sums."""
        self.num_examples = 0
        self.num_invalid: int | Tensor = 0
        """Number of scores and relevances on accelerators that are not numbers."""
        self._sums: dict[RankingMeasure, Totals] = {}
        self._pending = PendingBatches()
        self.version += 1

    def _update(self, reading: Reading) -> None:
        scores, relevance = reading.derive(_read_pair)
        num_users, num_items = scores.shape
        if not scores.is_cpu:
            self.num_invalid = self.num_invalid + reading.derive(_num_invalid)
        if num_users and num_items:
            num_numbers = num_users * num_items
            if num_numbers >= LARGE:
                self._add(scores, relevance)
            elif self._pending.add(reading.copies_of(scores, relevance), num_numbers):
                self._measure_pending()
        self.num_examples += num_users

    def _measure_pending(self) -> None:
        for scores, relevance in self._pending.taken():
            self._add(scores, relevance)

    def _add(self, scores: Tensor, relevance: Tensor) -> None:
        ranked = Ranked(scores, relevance, max(measure.depth for measure in self.measures))
        found = [(measure, measure.function(ranked, *measure.args)) for measure in self.measures]
        for measure, values in found:
            if measure not in self._sums:
                self._sums[measure] = Totals(tuple, device=self.device)  # only adds up
            self._sums[measure]._add([values])

    def sums(self, measure: RankingMeasure) -> list[float]:
        """Returns the sums of a measure over all users, V numbers."""
        self._measure_pending()
        if measure not in self._sums:
            return [0.0] * measure.num_values
        values: list[float] = self._sums[measure].values[0].double().tolist()
        return values

    def check(self) -> None:
        """Raises if values on an accelerator were not numbers, which ``update`` does not check."""
        if isinstance(self.num_invalid, Tensor) and self.num_invalid.item():
            raise ValueError(
                "y_pred should be scores and y the relevance of items, but "
                f"{int(self.num_invalid)} of those given are NaN or infinite (only scores may be -inf)"
            )

    def parts(self) -> dict[str, Any]:
        """Returns the number of users, and the sums of each measure by its name."""
        self._measure_pending()
        sums = {
            measure.part: self._sums[measure].values[0] if measure in self._sums else None
            for measure in sorted(self.measures, key=lambda measure: measure.part)
        }
        return {"num_examples": self.num_examples, "num_invalid": self.num_invalid, **sums}

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces the sums."""
        self.reset()
        self.num_examples, self.num_invalid = values["num_examples"], values["num_invalid"]
        for measure in self.measures:
            if values[measure.part] is not None:
                self._sums[measure] = totals = Totals(tuple, device=self.device)
                totals.take({"num_examples": 0, "total_0": values[measure.part]})

    def op_of(self, name: str) -> str:
        """Returns SUM."""
        return "SUM"

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        return {measure.part: (measure.num_values,) for measure in self.measures}

    def narrowed(self, wanted: Statistic) -> Rankings:
        """Returns a copy with only the sums of ``wanted``."""
        assert isinstance(wanted, Rankings)
        values = self.clone().parts()
        other = wanted.fresh()
        other.take({name: values[name] for name in other.parts()})
        return other

    def __str__(self) -> str:
        return f"rankings ({', '.join(sorted(measure.name for measure in self.measures))})"


def _read_pair(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns scores and relevance, both of shape (B, I)."""
    scores, relevance = detached(output[0]), detached(output[1])
    if scores.ndim != 2 or scores.shape != relevance.shape:
        raise ValueError(
            "y_pred and y must be in the same shape, (number of users, number of items), but given "
            f"{tuple(scores.shape)} and {tuple(relevance.shape)}"
        )
    for name, values in (("y_pred", scores), ("y", relevance)):
        if values.is_complex():
            raise TypeError(f"{name} should be of real numbers, but given {values.dtype}")
    if scores.is_cpu and scores.numel():
        _check_numbers(scores, relevance)
    # Booleans have no order.
    return scores, relevance.to(torch.uint8) if relevance.dtype is torch.bool else relevance


def _check_numbers(scores: Tensor, relevance: Tensor) -> None:
    """Raises ValueError if a score on the CPU is NaN or inf, or a relevance is not finite."""
    if scores.is_floating_point():
        array = array_of(scores)
        highest = scores.max().item() if array is None else largest(array)
        if not highest < torch.inf:
            raise ValueError(
                f"y_pred should be scores, numbers or -inf for padding, but given {highest}"
            )
    if relevance.is_floating_point():
        array = array_of(relevance)
        extremes = (
            [extreme.item() for extreme in relevance.aminmax()]
            if array is None
            else [smallest(array), largest(array)]
        )
        wrong = [value for value in extremes if not -torch.inf < value < torch.inf]
        if wrong:
            raise ValueError(
                f"y should be the relevance of items, finite numbers, but given {wrong[0]}"
            )


def _num_invalid(output: Sequence[Tensor]) -> Tensor:
    scores, relevance = detached(output[0]), detached(output[1])
    return (~(scores < torch.inf)).sum() + (~relevance.isfinite()).sum()
