"""Recall at k: the fraction of the relevant items that are among the first k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.rec_sys._top_k import (
    check_top_k,
    joined,
    means_over_users,
    measure_of,
    num_hits,
)
from ignite.metrics.statistics import Statistic
from ignite.metrics.statistics._statistic import wide_dtype
from ignite.metrics.statistics.rankings import Ranked, RankingMeasure, Rankings

__all__ = ["RecallAtK"]


class RecallAtK(View):
    r"""The mean over users of the fraction of their relevant items that are among the first ``k``.

    .. math:: \text{Recall@}k = \frac{1}{N} \sum_{u=1}^{N} \frac{h_{uk}}{n_u}

    where :math:`h_{uk}` of the :math:`n_u` relevant items of user :math:`u` are among the ``k``
    items with the highest scores. Of items with equal scores, those that are not relevant rank
    first. A ``k`` above the number of items counts all of them.

    Update with ``(y_pred, y)`` as for :class:`HitRate`: scores and relevance, both of shape
    (users, items). The value is a list with a number for each ``k``, in ascending order.

    Args:
        top_k: the values of ``k``, a number or a list.
        ignore_zero_hits: whether to ignore users without a relevant item. Otherwise they count as 0.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the scores.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``top_k`` is not a positive integer or a list of them. In ``update``, the shapes
            do not match, a score is NaN or inf, or a relevance is not finite. For values on an
            accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, all users so far are ignored, or there are none.

    Example:
        >>> metric = RecallAtK(top_k=[1, 2])
        >>> metric.update((torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[1, 0, 1]])))
        >>> metric.compute()  # one of two relevant items is among the first
        [0.5, 0.5]

    References:
        Manning, Raghavan, Schütze, "Introduction to information retrieval", 2008, section 8.4.
    """

    higher_is_better = True

    def __init__(
        self,
        top_k: list[int] | int = 1,
        ignore_zero_hits: bool = True,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self.top_k = check_top_k(top_k)
        self.ignore_zero_hits = ignore_zero_hits
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Rankings(self._measure(), device=self._accumulates_on)]

    def _measure(self) -> RankingMeasure:
        return measure_of(_recalls, self.top_k)

    def _value(self, rankings: Rankings) -> list[float]:
        return means_over_users(self, rankings)


def _recalls(ranked: Ranked, ks: tuple[int, ...]) -> Tensor:
    """Returns the number of users with a relevant item, and sums of recalls for each k."""
    num_relevant = ranked.num_relevant
    found = num_hits(ranked, ks).to(wide_dtype(num_relevant))  # (B, K)
    recalls = found / num_relevant.clamp(min=1).unsqueeze(1)
    return joined((num_relevant > 0).sum(), recalls.sum(dim=0))
