"""Common parts of ranking metrics: reading ranks, and means over users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics._saved_state import IgniteStates
from ignite.metrics.statistics.rankings import Ranked, RankingMeasure, Rankings


class SumsOfIgnite(IgniteStates):
    """Mixin of ranking metrics that Ignite has."""

    _ignite_sums: ClassVar[str]
    """Name of the sums over users in Ignite's states, shape (K,)."""

    def _ignite_names(self) -> tuple[str, ...]:
        return (self._ignite_sums, "_num_examples")

    def _to_ignite(self: Any) -> dict[str, Any]:
        rankings: Rankings = self._statistics_in_use()[0]
        num_with_relevant, *sums = rankings.sums(self._measure())
        num_users = int(num_with_relevant) if self.ignore_zero_hits else rankings.num_examples
        total = torch.tensor(sums, dtype=self._double_dtype, device=self._device)
        return {self._ignite_sums: total, "_num_examples": num_users}

    def _take_from_ignite(self: Any, state: Mapping[str, Any]) -> None:
        num_users, sums = state["_num_examples"], state[self._ignite_sums].to(self._double_dtype)
        part = joined(sums.new_tensor(num_users), sums)
        parts = {"num_invalid": 0, self._measure().part: part}
        self._own_statistic().take({"num_examples": num_users, **parts})


def means_over_users(metric: Any, rankings: Rankings) -> list[float]:
    """Returns the means over users of the measure of a metric.

    Args:
        metric: a ranking metric. The first sum of its measure is the number of users with a
            relevant item; its ``ignore_zero_hits`` tells whether the others count as 0.
        rankings: the accumulated statistic.

    Raises:
        NotComputableError: all users so far are ignored, or there are none.
    """
    num_with_relevant, *sums = rankings.sums(metric._measure())
    num_users = num_with_relevant if metric.ignore_zero_hits else rankings.num_examples
    if not num_users:
        raise NotComputableError(
            f"{type(metric).__name__} must have at least one example with a relevant item before "
            "it can be computed; ignore_zero_hits=False counts users without one as 0."
        )
    return [total / num_users for total in sums]


def check_top_k(top_k: int | Sequence[int]) -> list[int]:
    """Returns the numbers of items, in ascending order.

    Raises:
        ValueError: they are not positive integers, or there is none.
    """
    numbers = [top_k] if isinstance(top_k, int) else top_k
    if not isinstance(numbers, list | tuple):
        raise ValueError(f"top_k must be either int or a list[int], but given {top_k!r}")
    if not numbers:
        raise ValueError("top_k must have at least one positive value, but given none")
    if not all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in numbers):
        raise ValueError(f"top_k must be list of positive integers only, but given {top_k!r}")
    return sorted(numbers)


def measure_of(
    function: Callable[..., Tensor], top_k: Sequence[int], *args: Any, reads_order: bool = True
) -> RankingMeasure:
    """Returns a measure with the number of counted users and a value for each k.

    Args:
        function: ``function(ranked, ks, *args)``.
        top_k: the values of k, in ascending order.
        args: further arguments.
        reads_order: whether ``function`` uses ``ranked.first``.
    """
    depth = max(top_k) if reads_order else 0
    name = function.__name__.lstrip("_")
    return RankingMeasure(name, function, (tuple(top_k), *args), 1 + len(top_k), depth)


def joined(count: Tensor, sums: Tensor) -> Tensor:
    """Returns a number of users, shape (), and sums (K,) as one tensor (1 + K,) of wide floats."""
    return torch.cat([count.reshape(1).to(sums.dtype), sums])


def num_hits(ranked: Ranked, ks: Sequence[int]) -> Tensor:
    """Returns how many relevant items are among the first k, shape (B, K)."""
    found = (ranked.first > 0).cumsum(dim=1)  # (B, depth)
    return found[:, [min(k, found.shape[1]) - 1 for k in ks]]
