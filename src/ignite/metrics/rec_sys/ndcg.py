"""Normalized discounted cumulative gain: graded relevance, discounted by rank."""

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

__all__ = ["NDCG"]

_GAINS = ("exp_rank", "linear_rank")


class NDCG(SumsOfIgnite, View):
    r"""Normalized discounted cumulative gain of the ``k`` items with the highest scores.

    .. math::
        \text{NDCG@}k = \frac{1}{N} \sum_{u=1}^{N} \frac{\text{DCG}_u}{\text{IDCG}_u} \qquad
        \text{DCG}_u = \sum_{i=1}^{k} \frac{g(r_{ui})}{\log_2(i + 1)}

    where :math:`r_{ui}` is the relevance of the item of user :math:`u` with the :math:`i`-th
    highest score, and the ideal :math:`\text{IDCG}_u` is that of items in the order of their
    relevance. Of items with equal scores, those of lower relevance rank first. A ``k`` above the
    number of items counts all of them.

    Update with ``(y_pred, y)`` as for :class:`HitRate`: scores and graded relevance, both of shape
    (users, items). The value is a list with a number for each ``k``, in ascending order.

    Args:
        top_k: the values of ``k``, a list or a number.
        ignore_zero_hits: whether to ignore users whose items all have a relevance of 0, or below
            ``relevance_threshold``. Otherwise they count as 0.
        relevance_threshold: a lower relevance counts as 0.
        gain_function: the gain :math:`g(r)`: "exp_rank" for :math:`2^r - 1`, "linear_rank" for
            :math:`r`.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the scores.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``top_k`` is not a positive integer or a list of them, ``relevance_threshold``
            is not a number from 0, or ``gain_function`` is unknown. In ``update``, the shapes do
            not match, a score is NaN or inf, or a relevance is not finite. For values on an
            accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, all users so far are ignored, or there are none.

    Example:
        >>> metric = NDCG(top_k=[1, 2], gain_function="linear_rank")
        >>> metric.update((torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[1.0, 2.0, 0.0]])))
        >>> [round(value, 4) for value in metric.compute()]
        [0.5, 0.8597]

    References:
        Järvelin, Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002.
    """

    higher_is_better = True
    _ignite_sums = "_sum_ndcg_per_k"

    def __init__(
        self,
        top_k: list[int] | int,
        ignore_zero_hits: bool = True,
        relevance_threshold: float = 1.0,
        gain_function: str = "exp_rank",
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self.top_k = check_top_k(top_k)
        if not isinstance(relevance_threshold, int | float) or not relevance_threshold >= 0:
            raise ValueError(
                f"relevance_threshold should be a number from 0, but given {relevance_threshold!r}"
            )
        if gain_function not in _GAINS:
            raise ValueError(
                f"gain_function must be either 'exp_rank' or 'linear_rank', but given {gain_function!r}"
            )
        self.relevance_threshold = relevance_threshold
        self.gain_function = gain_function
        self.ignore_zero_hits = ignore_zero_hits
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Rankings(self._measure(), device=self._accumulates_on)]

    def _measure(self) -> RankingMeasure:
        return measure_of(_ratios, self.top_k, float(self.relevance_threshold), self.gain_function)

    def _value(self, rankings: Rankings) -> list[float]:
        return means_over_users(self, rankings)


def _ratios(ranked: Ranked, ks: tuple[int, ...], threshold: float, gain_function: str) -> Tensor:
    """Returns the number of users with a gain, and for each k the sum of DCG / IDCG."""
    dtype = wide_dtype(ranked.relevance)
    depth = min(max(ks), ranked.relevance.shape[1])
    first, ideal = ranked.first[:, :depth], ranked.relevance.topk(depth, dim=1).values
    first, ideal = (_thresholded(each.to(dtype), threshold) for each in (first, ideal))
    highest = ideal[:, :1]  # (B, 1)
    if gain_function == "exp_rank":
        # Both sums are divided by 2 ** highest, so that large relevances do not overflow.
        first, ideal = ((each - highest).exp2() - (-highest).exp2() for each in (first, ideal))
    discounts = torch.arange(2, depth + 2, dtype=dtype, device=first.device).log2()  # (depth,)
    columns = [min(k, depth) - 1 for k in ks]
    sums, ideals = (
        (gains / discounts).cumsum(dim=1)[:, columns] for gains in (first, ideal)
    )  # (B, K)
    has_gain = highest > 0
    ratios = torch.where(has_gain, sums / torch.where(has_gain, ideals, 1), 0.0)
    return joined(has_gain.sum(), ratios.sum(dim=0))


def _thresholded(relevance: Tensor, threshold: float) -> Tensor:
    return torch.where(relevance >= threshold, relevance.clamp(min=0), 0.0)
