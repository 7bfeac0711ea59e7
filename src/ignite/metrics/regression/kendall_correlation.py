"""Kendall rank correlation coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.regression._base import read_pair, widened
from ignite.metrics.statistics import Reading

__all__ = ["KendallRankCorrelation"]


class KendallRankCorrelation(EpochMetric):
    r"""Kendall rank correlation coefficient: concordant minus discordant pairs, scaled to the range from -1 to 1.

    .. math:: \tau_b = \frac{C - D}{\sqrt{(C + D + T_p)(C + D + T_a)}},
        \qquad \tau_c = \frac{2 (C - D)}{N^2 (m - 1) / m}

    with :math:`C` concordant pairs of examples, :math:`D` discordant ones, :math:`T_p` tied in
    predictions only, :math:`T_a` tied in targets only, and :math:`m` the smaller number of distinct
    values. Update with ``(y_pred, y)``: floating point, both of shape (B,) or both (B, 1), of the
    same dtypes each time. NaN if predictions or targets are all equal, or one is NaN. All samples
    are kept, and shared with other metrics that keep them. Memory is O(N), time O(N log² N).

    Args:
        variant: "b", which is 1 if predictions and targets have the same ties, or "c", for
            different numbers of distinct values.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        check_compute_fn: ignored; accepted for compatibility with Ignite.
        device: device on which to keep the tensors. By default, their own.
        skip_unrolling: see :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError, TypeError: ``variant`` is neither "b" nor "c"; in ``update``, shapes or dtypes
            are not those above. The batch is then not kept.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = KendallRankCorrelation()
        >>> metric.update((torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 30.0, 20.0, 40.0])))
        >>> round(metric.compute(), 4)  # five concordant pairs, one discordant
        0.6667

    References:
        Kendall, "The treatment of ties in ranking problems", 1945; Stuart, "The estimation and
        comparison of strengths of association in contingency tables", 1953.
    """

    higher_is_better = True
    _calls_user_code = False

    def __init__(
        self,
        variant: Literal["b", "c"] = "b",
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = True,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if variant not in ("b", "c"):
            raise ValueError(f"variant accepts 'b' or 'c', but given {variant!r}")
        compute_fn = partial(_kendall, variant=variant)
        super().__init__(compute_fn, output_transform, False, device, skip_unrolling)

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        reading.derive(read_pair)


def _kendall(y_pred: Tensor, y: Tensor, variant: str) -> float:
    if y_pred.isnan().any() or y.isnan().any():
        return float("nan")
    _, x, x_counts = widened(y_pred).unique(return_inverse=True, return_counts=True)
    _, y, y_counts = widened(y).unique(return_inverse=True, return_counts=True)
    num_distinct = min(len(x_counts), len(y_counts))
    if num_distinct == 1:
        return float("nan")
    # Sorted by x, and by y where x is tied, so that inversions of y are the discordant pairs.
    joint, _ = (x * len(y_counts) + y).sort()
    _, joint_counts = joint.unique_consecutive(return_counts=True)
    n = len(joint)
    num_pairs = n * (n - 1) // 2
    x_tied, y_tied, both_tied = (
        num_tied_pairs(counts) for counts in (x_counts, y_counts, joint_counts)
    )
    num_discordant = num_inversions(joint % len(y_counts))
    surplus = num_pairs - x_tied - y_tied + both_tied - 2 * num_discordant
    if variant == "b":
        # The root of the product is exact if all pairs are concordant, so the value is exactly 1.
        return surplus / math.sqrt((num_pairs - x_tied) * (num_pairs - y_tied))
    return 2 * surplus / (n**2 * (num_distinct - 1) / num_distinct)


def num_tied_pairs(counts: Tensor) -> int:
    """Returns the number of tied pairs, given the number of each value."""
    return int((counts * (counts - 1) // 2).sum())


def num_inversions(values: Tensor) -> int:
    """Returns the number of inversions among integers (N,). Memory is O(N), time O(N log² N).

    Merges sorted blocks in pairs, all of one width at once. A search of the values of one block in
    the other counts the inversions between both.

    References:
        Knight, "A computer method for calculating Kendall's tau with ungrouped data", 1966.
    """
    n = len(values)
    if n < 2:
        return 0
    # Padding with the largest value adds no inversions.
    padding = values.max().expand((1 << (n - 1).bit_length()) - n)
    blocks = torch.cat([values, padding]).view(-1, 1)
    total = torch.zeros((), dtype=torch.int64, device=values.device)
    while len(blocks) > 1:
        left, right = blocks[0::2].contiguous(), blocks[1::2].contiguous()
        num_not_greater = torch.searchsorted(left, right, right=True)
        total += left.shape[1] * right.numel() - num_not_greater.sum()
        blocks = blocks.view(len(left), -1).sort(dim=1).values
    return int(total)
