"""Mean reciprocal rank: the inverse of the rank of the first relevant item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.rec_sys._top_k import check_top_k, joined, means_over_users
from ignite.metrics.statistics import Statistic
from ignite.metrics.statistics._statistic import wide_dtype
from ignite.metrics.statistics.rankings import Ranked, RankingMeasure, Rankings

__all__ = ["MeanReciprocalRank"]


class MeanReciprocalRank(View):
    r"""The mean over users of one divided by the rank of the first relevant item.

    .. math:: \text{MRR} = \frac{1}{N} \sum_{u=1}^{N} \frac{1}{r_u}

    where :math:`r_u` is the rank of the first relevant item of user :math:`u`, from 1. Of items
    with equal scores, irrelevant ones rank first.

    Update with ``(y_pred, y)`` as for :class:`HitRate`: scores and relevance, both of shape
    (users, items).

    Args:
        top_k: count a user as 0 if the first relevant item ranks below ``top_k``. None: all ranks
            count.
        ignore_zero_hits: whether to ignore users without a relevant item. Otherwise they count as 0.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the scores.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``top_k`` is not a positive integer. In ``update``, the shapes do not match, a
            score is NaN or inf, or a relevance is not finite. For values on an accelerator,
            ``compute`` raises instead.
        NotComputableError: in ``compute``, all users so far are ignored, or there are none.

    Example:
        >>> metric = MeanReciprocalRank()
        >>> scores = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
        >>> metric.update((scores, torch.tensor([[0, 1, 0], [0, 0, 1]])))
        >>> metric.compute()  # the relevant items rank second, and first
        0.75

    References:
        Voorhees, "The TREC-8 question answering track report", 1999.
    """

    higher_is_better = True

    def __init__(
        self,
        top_k: int | None = None,
        ignore_zero_hits: bool = True,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if top_k is not None and not isinstance(top_k, int):
            raise ValueError(f"top_k must be a positive integer or None, but given {top_k!r}")
        self.top_k = None if top_k is None else check_top_k(top_k)[0]
        self.ignore_zero_hits = ignore_zero_hits
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Rankings(self._measure(), device=self._accumulates_on)]

    def _measure(self) -> RankingMeasure:
        return RankingMeasure("reciprocal_ranks", _reciprocal_ranks, (self.top_k,), 2, depth=0)

    def _value(self, rankings: Rankings) -> float:
        return means_over_users(self, rankings)[0]


def _reciprocal_ranks(ranked: Ranked, top_k: int | None) -> Tensor:
    """Returns the number of users with a relevant item, and the sum of reciprocal ranks."""
    num_before = ranked.num_before_first  # (B,)
    counts = has_relevant = ranked.num_relevant > 0
    if top_k is not None:
        counts = counts & (num_before < top_k)
    reciprocal = 1 / (num_before + 1).to(wide_dtype(num_before))
    total = torch.where(counts, reciprocal, 0.0).sum()
    return joined(has_relevant.sum(), total.reshape(1))
