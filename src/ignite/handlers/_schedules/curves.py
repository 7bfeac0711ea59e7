"""Curves: a value for each event index. Plain numbers in and out; knows nothing of engines or optimizers."""

import math
from bisect import bisect_right
from collections.abc import Sequence


def straight(start: float, end: float, fraction: float) -> float:
    """On the line from ``start`` (at 0) to ``end`` (at 1)."""
    return start + (end - start) * fraction


def triangle(start: float, end: float, fraction: float) -> float:
    """From ``start`` to ``end`` (at 1/2) and back, in straight lines."""
    return end + (start - end) * abs(fraction - 0.5) * 2


def half_cosine(start: float, end: float, fraction: float) -> float:
    """From ``start`` to ``end``, slowly at both ends: half a period of a cosine.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5,
    https://arxiv.org/abs/1608.03983
    """
    return start + (end - start) / 2 * (1 - math.cos(math.pi * fraction))


def piecewise_linear(milestones: Sequence[int], values: Sequence[float], index: int) -> float:
    """Straight lines from one milestone to the next, constant outside of them; jumps where two are equal."""
    after = bisect_right(milestones, index)
    if after == 0:
        return values[0]
    if after == len(milestones):
        return values[-1]
    begin, end = milestones[after - 1], milestones[after]
    return straight(values[after - 1], values[after], (index - begin) / (end - begin))
