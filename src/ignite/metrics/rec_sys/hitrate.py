"""Hit rate: the fraction of users with a relevant item among the first k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.rec_sys._top_k import (
    SumsOfIgnite,
    check_top_k,
    joined,
    means_over_users,
    measure_of,
)
from ignite.metrics.statistics import Statistic
from ignite.metrics.statistics._statistic import wide_dtype
from ignite.metrics.statistics.rankings import Ranked, RankingMeasure, Rankings

__all__ = ["HitRate"]


class HitRate(SumsOfIgnite, View):
    r"""The fraction of users with a relevant item among the ``k`` items with the highest scores.

    .. math:: \text{HitRate@}k = \frac{1}{N} \sum_{u=1}^{N} \mathbb{1}[r_u \le k]

    where :math:`r_u` is the rank of the first relevant item of user :math:`u`, from 1. Of items
    with equal scores, irrelevant ones rank first, so that a model that gives all items the same
    score does not benefit from their order. A ``k`` above the number of items counts all of them.

    Update with ``(y_pred, y)``:

    - ``y_pred``: scores, shape (users, items). Pad users with fewer items with a score of
      ``-inf`` and a relevance of 0.
    - ``y``: relevance, of the same shape. An item is relevant if it is above 0.

    The value is a list with a number for each ``k``, in ascending order.

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
        >>> metric = HitRate(top_k=[1, 2])
        >>> scores = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
        >>> metric.update((scores, torch.tensor([[0, 1, 0], [0, 0, 1]])))
        >>> metric.compute()  # the relevant items rank second, and first
        [0.5, 1.0]

    References:
        Deshpande, Karypis, "Item-based top-N recommendation algorithms", 2004.
    """

    higher_is_better = True
    _ignite_sums = "_hits_per_k"

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
        return measure_of(_hits, self.top_k, reads_order=False)

    def _value(self, rankings: Rankings) -> list[float]:
        return means_over_users(self, rankings)


def _hits(ranked: Ranked, ks: tuple[int, ...]) -> Tensor:
    """Returns the numbers of users with a relevant item, and with one among the first k."""
    num_before = ranked.num_before_first  # (B,)
    has_relevant = ranked.num_relevant > 0
    sums = torch.stack([((num_before < k) & has_relevant).sum() for k in ks])
    return joined(has_relevant.sum(), sums.to(wide_dtype(sums)))
