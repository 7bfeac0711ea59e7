"""Values that no training survives: where the first of them is, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Finding", "find", "is_finite", "not_finite", "out_of_range"]

_NUM_AT_ONCE = 1 << 22  # elements that are looked at together: the mask takes 4 MiB


@dataclass(frozen=True)
class Finding:
    """Values that should not be there."""

    count: int
    """How many of them."""
    row: int
    """The first sample that has one."""
    value: float
    """The first one."""
    column: int | None
    """Where it is in the sample, if samples are vectors."""

    def describe(self, features: Sequence[Any] = ()) -> str:
        """For an error message."""
        where = "" if self.column is None else f", column {self.column}"
        if self.column is not None and self.column < len(features):
            where = f", column {features[self.column]!r}"
        return f"{self.count} of them, the first is {self.value:g} in row {self.row}{where}"


def is_finite(tensor: Tensor) -> bool:
    """One pass without a copy: a sum is not finite if anything is not, nor are the extremes."""
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return True
    if bool(torch.isfinite(tensor.detach().sum())):
        return True
    low, high = torch.aminmax(tensor.detach())  # twice as slow, but many large values do not overflow
    return bool(torch.isfinite(low) & torch.isfinite(high))


def not_finite(tensor: Tensor) -> Finding | None:
    """NaN and infinite values, if there are any."""
    return None if is_finite(tensor) else find(tensor, lambda part: ~torch.isfinite(part))


def out_of_range(tensor: Tensor, low: float, high: float, ignored: int | None = None) -> Finding | None:
    """Values below ``low`` or above ``high`` that are not ``ignored``, if there are any."""
    if tensor.numel() == 0:
        return None
    least, most = torch.aminmax(tensor.detach())
    if bool((least >= low) & (most <= high)):
        return None

    def is_outside(part: Tensor) -> Tensor:
        outside = (part < low) | (part > high)
        return outside if ignored is None else outside & (part != ignored)

    return find(tensor, is_outside)


def find(tensor: Tensor, is_bad: Callable[[Tensor], Tensor]) -> Finding | None:
    """The values for which ``is_bad`` is true, piece by piece.

    Args:
        tensor: shape (N, ...).
        is_bad: gives a mask for some of the rows.
    """
    num_rows = max(_NUM_AT_ONCE // max(tensor[0].numel(), 1), 1)
    count, first = 0, None
    for begin in range(0, len(tensor), num_rows):
        part = tensor[begin : begin + num_rows].detach()
        mask = is_bad(part)
        num_bad = int(mask.sum())
        if num_bad and first is None:
            place = [int(i) for i in mask.nonzero()[0]]
            first = (begin + place[0], float(part[tuple(place)]), place[1] if len(place) == 2 else None)
        count += num_bad
    return None if first is None else Finding(count, *first)
