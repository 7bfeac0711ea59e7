"""Ranks, and how many pairs two variables order alike. N values."""

from __future__ import annotations

import torch
from torch import Tensor


def mid_ranks(values: Tensor) -> Tensor:
    """Ranks from 1 to N of floating point numbers, in their dtype; equal values share the mean of theirs."""
    _, group, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(values)
    ranks: Tensor = last - (counts.to(values) - 1) / 2
    return ranks[group]


def num_tied_pairs(counts: Tensor) -> int:
    """How many pairs are equal, if there are so many of each value."""
    return int((counts * (counts - 1) // 2).sum())


def num_inversions(values: Tensor) -> int:
    """How many pairs of integers (N,) stand in falling order. Memory is O(N), time O(N log² N).

    Blocks are merged two by two, all of a width at once; of those pairs that have one value in each block, searching
    one in the other tells how many stand in falling order.

    References:
        Knight, "A computer method for calculating Kendall's tau with ungrouped data", 1966.
    """
    n = len(values)
    if n < 2:
        return 0
    # Values at the end that are as large as the largest are in no inversion.
    padding = values.max().expand((1 << (n - 1).bit_length()) - n)
    blocks = torch.cat([values, padding]).view(-1, 1)
    total = torch.zeros((), dtype=torch.int64, device=values.device)
    while len(blocks) > 1:
        left, right = blocks[0::2].contiguous(), blocks[1::2].contiguous()
        num_not_greater = torch.searchsorted(left, right, right=True)
        total += left.shape[1] * right.numel() - num_not_greater.sum()
        blocks = blocks.view(len(left), -1).sort(dim=1).values
    return int(total)
