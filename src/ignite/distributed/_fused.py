"""Many values of many processes, combined with as few collectives as there are kinds of combining.

First one small vector from each process says what it holds. If all hold the same kinds of values, one collective more
combines them all, or a few if they are large. Where processes hold different kinds, because one of them has seen no
data, they tell each other, and all fill in what is missing, or all raise the same error.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ignite.distributed._packing import MAX, MIN, PRODUCT, SUM, all_gather_equal, combine_tensors
from ignite.distributed._place import get_world_size, has_group

ROWS = "ROWS"
"""The rows of all processes, one after the other."""
SAME = "SAME"
"""A constant that has to be the same wherever it is known."""

_MAX_SIZES = 15  # of the numbers of rows that fit into the first vector
_NEUTRAL = {SUM: 0, PRODUCT: 1, MIN: math.inf, MAX: -math.inf}


class Part(NamedTuple):
    """A value to combine."""

    op: str
    """One of the words above."""
    value: Any
    """A tensor or a number, for SAME anything with a faithful ``repr``; None if this process does not know it."""
    name: str = ""
    """For error messages."""


class _Kind(NamedTuple):
    """What the processes have to agree on before a part is sent."""

    name: str
    op: str
    dtype: str
    """Of a tensor; "int" or "float" for a number; the constant for SAME; empty if it is not known."""
    shape: tuple[int, ...] | None
    """Of a tensor, for ROWS that of a row; None for a number."""


def combine(parts: Sequence[Part]) -> list[Any]:
    """What all processes hold together. All of them have to call it, with parts for the same things in the same order.

    Returns:
        A value for each part, tensors on the device where they were. It is None only if no process knows it. In a
        single process, the values as they are.

    Raises:
        RuntimeError: parts of different processes do not go together. All processes raise it.
    """
    if not has_group() or get_world_size() == 1:
        return [part.value for part in parts]
    kinds = [_kind_of(part) for part in parts]
    num_rows = [0 if part.value is None else len(part.value) for part in parts if part.op == ROWS]
    rows_of_all = _compare(kinds, num_rows)
    if rows_of_all is None:
        kinds, rows_of_all, constants = _negotiate(parts, kinds, num_rows)
        parts = [
            Part(part.op, _filled(part, kind, constant))
            for part, kind, constant in zip(parts, kinds, constants, strict=True)
        ]
    results = [part.value for part in parts]
    reduced = [i for i, kind in enumerate(kinds) if kind.dtype and kind.op not in (SAME, ROWS)]
    joined = [i for i, kind in enumerate(kinds) if kind.dtype and kind.op == ROWS]
    columns = [sum(kind.op == ROWS for kind in kinds[:i]) for i in joined]
    rows = [[of_rank[column] for column in columns] for of_rank in rows_of_all]
    tensors = [_as_tensor(parts[i].value) for i in reduced]
    totals, gathered = combine_tensors(tensors, [kinds[i].op for i in reduced], [parts[i].value for i in joined], rows)
    for i, tensor, total in zip(reduced, tensors, totals, strict=True):
        results[i] = total.item() if kinds[i].shape is None else total.to(tensor.device, tensor.dtype)
    for i, value in zip(joined, gathered, strict=True):
        results[i] = value
    return results


def _as_tensor(value: Tensor | float) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)


def _kind_of(part: Part) -> _Kind:
    op, value, name = part
    if value is None:
        return _Kind(name, op, "", None)
    if op == SAME:
        return _Kind(name, op, repr(value), None)
    if isinstance(value, Tensor):
        return _Kind(name, op, str(value.dtype), tuple(value.shape[1:] if op == ROWS else value.shape))
    return _Kind(name, op, type(value).__name__, None)


def _compare(kinds: list[_Kind], num_rows: list[int]) -> list[list[int]] | None:
    """The numbers of rows of each process; None if the processes hold different kinds, or too many to say it here."""
    fits = len(num_rows) <= _MAX_SIZES
    digest = hashlib.blake2b(repr(kinds).encode(), digest_size=7).digest()
    own = [int.from_bytes(digest) if fits else -1, *num_rows][: _MAX_SIZES + 1]
    sent = torch.zeros(_MAX_SIZES + 1, dtype=torch.int64)
    sent[: len(own)] = torch.tensor(own)
    everyones = [header.tolist() for header in all_gather_equal(sent)]
    if own[0] == -1 or any(header[0] != own[0] for header in everyones):
        return None
    return [header[1 : 1 + len(num_rows)] for header in everyones]


def _negotiate(
    parts: Sequence[Part], kinds: list[_Kind], num_rows: list[int]
) -> tuple[list[_Kind], list[list[int]], list[Any]]:
    """The kinds that all processes can follow, the numbers of rows of each, and what the constants are."""
    constants = [part.value if part.op == SAME else None for part in parts]
    told: list[Any] = [None] * get_world_size()
    dist.all_gather_object(told, (kinds, num_rows, constants))
    if len({len(theirs) for theirs, *_ in told}) > 1:
        counts = ", ".join(f"rank {rank} has {len(theirs)}" for rank, (theirs, *_) in enumerate(told))
        raise RuntimeError(
            f"All processes should combine the same values, but {counts}: attach the same metrics to all"
        )
    agreed = [_agree([theirs[i] for theirs, *_ in told]) for i in range(len(parts))]
    known = [next((c[i] for *_, c in told if c[i] is not None), None) for i in range(len(parts))]
    return agreed, [rows for _, rows, _ in told], known


def _agree(kinds: list[_Kind]) -> _Kind:
    """What all can follow: numbers give way to tensors, whole numbers to others, and the unknown to everything."""
    known = {kind for kind in kinds if kind.dtype}
    candidates = {kind for kind in known if kind.shape is not None} or known
    if len(candidates) > 1 and {kind.dtype for kind in candidates} == {"int", "float"}:
        candidates = {kind for kind in candidates if kind.dtype == "float"}
    if len(candidates) <= 1 and len({(kind.name, kind.op) for kind in kinds}) == 1:
        return candidates.pop() if candidates else kinds[0]
    held = ", ".join(
        f"rank {rank} has for {kind.op} of {kind.name or 'a value'}: {kind.dtype or 'nothing'}"
        f"{'' if kind.shape is None else f' of shape {kind.shape}'}"
        for rank, kind in enumerate(kinds)
    )
    raise RuntimeError(f"All processes should hold values of one kind, but {held}: attach the same metrics to all")


def _filled(part: Part, kind: _Kind, constant: Any) -> Any:
    """The part's value, as the kind that was agreed on; what changes nothing if this process does not know it."""
    value = part.value
    if part.op == SAME or not kind.dtype:
        return constant
    if kind.shape is None:
        neutral = _NEUTRAL[part.op] if value is None else value
        # An infinite whole number does not exist; the limit of int64 is neutral, too.
        return float(neutral) if kind.dtype == "float" else int(max(min(neutral, 2**63 - 1), -(2**63)))
    if isinstance(value, Tensor):
        return value
    dtype = getattr(torch, kind.dtype.removeprefix("torch."))
    if part.op == ROWS:
        return torch.empty((0, *kind.shape), dtype=dtype)
    neutral = _NEUTRAL[part.op] if value is None else value
    if not dtype.is_floating_point and not dtype.is_complex and math.isinf(neutral):
        limits = torch.iinfo(torch.uint8 if dtype == torch.bool else dtype)
        neutral = limits.max if neutral > 0 else limits.min
    return torch.full(kind.shape, neutral, dtype=dtype)
