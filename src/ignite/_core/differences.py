"""Describes the first difference between two states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["first_difference"]

_MAX_TEXT = 80


def first_difference(found: Any, expected: Any, path: str = "") -> str | None:
    """Describes where ``found`` differs from ``expected``; None if they are bitwise equal.

    NaN equals NaN, and 0.0 does not equal -0.0. The order of keys in mappings does not matter.
    Other objects are compared with ``==``.

    Example:
        >>> first_difference({"lr": [0.1, 0.2]}, {"lr": [0.1, 0.3]}, "scheduler")
        "scheduler['lr'][1] is 0.2 and should be 0.3"
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return _in_mappings(found, expected, path)
    if isinstance(expected, Tensor) and isinstance(found, Tensor):
        return _in_tensors(found, expected, path)
    if type(found) is not type(expected):
        return f"{path} is a {type(found).__name__} and should be a {type(expected).__name__}"
    if isinstance(expected, list | tuple):
        return _in_sequences(found, expected, path)
    if hasattr(expected, "__array__"):  # numpy arrays, without importing numpy
        return _in_tensors(torch.as_tensor(found), torch.as_tensor(expected), path)
    if isinstance(expected, float):
        is_equal = found.hex() == expected.hex() or (math.isnan(found) and math.isnan(expected))
    else:
        is_equal = bool(found == expected)
    return None if is_equal else f"{path} is {_short(found)} and should be {_short(expected)}"


def _in_mappings(found: Mapping[Any, Any], expected: Mapping[Any, Any], path: str) -> str | None:
    for key in expected:
        if key not in found:
            return f"{path}[{key!r}] is missing"
        if difference := first_difference(found[key], expected[key], f"{path}[{key!r}]"):
            return difference
    surplus = [key for key in found if key not in expected]
    return f"{path}[{surplus[0]!r}] should not be there" if surplus else None


def _in_sequences(found: Any, expected: Any, path: str) -> str | None:
    for i, (item, other) in enumerate(zip(found, expected, strict=False)):
        if difference := first_difference(item, other, f"{path}[{i}]"):
            return difference
    if len(found) != len(expected):
        return f"{path} has {len(found)} items and should have {len(expected)}"
    return None


def _in_tensors(found: Tensor, expected: Tensor, path: str) -> str | None:
    for what in ("dtype", "shape", "device"):
        own, other = getattr(found, what), getattr(expected, what)
        if own != other:
            return f"{path} has {what} {own} and should have {other}"
    found, expected = _comparable(found), _comparable(expected)
    is_same = (found == expected) | (found.isnan() & expected.isnan())
    if found.is_floating_point():
        is_same &= found.isnan() | (found.signbit() == expected.signbit())
    if bool(is_same.all()):
        return None
    index = tuple((~is_same).nonzero()[0].tolist())
    num_wrong = int((~is_same).sum())
    where = f"{path}{list(index)}" if index else path
    return (
        f"{where} is {found[index].item()!r} and should be {expected[index].item()!r} "
        f"({num_wrong} of {found.numel()} numbers differ)"
    )


def _comparable(tensor: Tensor) -> Tensor:
    """Returns the tensor on the CPU, in a dtype and layout that support all comparisons."""
    plain = tensor.detach().cpu()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    return torch.view_as_real(plain) if plain.is_complex() else plain


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
