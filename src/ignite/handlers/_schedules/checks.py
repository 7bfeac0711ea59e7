"""What schedulers accept as arguments and in states that are loaded."""

import math
import numbers
from collections.abc import Iterable
from typing import Any

import torch


def number(name: str, value: Any) -> float:
    """``value`` as a number that torch can save; also from numpy, or a tensor with one element.

    Raises:
        TypeError: it is something else.
        ValueError: it is NaN or infinite.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, torch.Tensor) and value.numel() == 1):
        raise TypeError(f"{name} should be a number, but given {value!r}")
    plain = value if type(value) in (int, float) else float(value)
    if not math.isfinite(plain):
        raise ValueError(f"{name} should be a finite number, but given {value!r}")
    return plain


def is_whole(value: Any) -> bool:
    """Whether it is an integer, also one from numpy, but no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def count(name: str, value: Any, least: int = 0) -> int:
    """``value`` as an integer that is at least ``least``.

    Raises:
        TypeError: it is no integer.
        ValueError: it is too small.
    """
    if not is_whole(value):
        raise TypeError(f"{name} should be an integer, but given {value!r}")
    if value < least:
        raise ValueError(f"{name} should be at least {least}, but given {value!r}")
    return int(value)


def milestones_and_values(pairs: Any) -> tuple[list[int], list[float]]:
    """The two columns of ``[(event index, value), ...]``.

    Raises:
        TypeError: it is no list or tuple of pairs of an integer and a number.
        ValueError: there is no pair, or a milestone comes before the one that it follows.
    """
    if not isinstance(pairs, list | tuple):
        raise TypeError(f"Argument milestones_values should be a list or tuple, but given {type(pairs)}")
    if not pairs:
        raise ValueError(f"Argument milestones_values should be with at least one value, but given {pairs}")
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(
                "Argument milestones_values should be a list of pairs (milestone, param_value), "
                f"but given one with {pair!r}"
            )
    values = [number("Value of a milestone", value) for _, value in pairs]
    return increasing([milestone for milestone, _ in pairs]), values


def increasing(milestones: Iterable[Any]) -> list[int]:
    """Milestones as integers that do not decrease.

    Raises:
        TypeError: one is no integer.
        ValueError: one is smaller than the one before.
    """
    found: list[int] = []
    for milestone in milestones:
        if not is_whole(milestone):
            raise TypeError(f"Value of a milestone should be integer, but given {milestone!r}")
        if found and milestone < found[-1]:
            raise ValueError(
                "Milestones should be increasing integers, but given "
                f"{milestone} is smaller than the previous milestone {found[-1]}"
            )
        found.append(int(milestone))
    return found
