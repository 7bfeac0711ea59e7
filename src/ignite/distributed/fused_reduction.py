"""Reduces values of different shapes, dtypes and operations over all ranks, with few collectives.

First, the ranks gather a small vector that describes the values of each. If all have values of the
same kinds, one more collective reduces everything, or one per operation if the values are large. If
the kinds differ, because a rank has seen no data, the ranks exchange full descriptions: all fill in
what is missing, or all raise the same error.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ignite.distributed._collectives import all_gather_equal
from ignite.distributed._process_group import communication_device, get_world_size, has_group

__all__ = ["MAX", "MIN", "PRODUCT", "ROWS", "SAME", "SUM", "Part", "combine"]

SUM, MIN, MAX, PRODUCT = "SUM", "MIN", "MAX", "PRODUCT"
ROWS = "ROWS"
"""Concatenates the rows of all ranks."""
SAME = "SAME"
"""A constant; all ranks that know it must have the same."""

_MAX_SIZES = 15  # numbers of rows that fit into the first vector
_MAX_GATHERED_BYTES = 2**22
"""Up to this total size, values are gathered with one collective and reduced locally (fastest).

Above it, the memory would grow with the number of ranks.
"""
_NEUTRAL = {SUM: 0, PRODUCT: 1, MIN: math.inf, MAX: -math.inf}


class Part(NamedTuple):
    """A value to reduce over all ranks."""

    op: str
    """SUM, MIN, MAX, PRODUCT, ROWS or SAME."""
    value: Any
    """A tensor or a number, or for SAME anything with an exact ``repr``; None if unknown here."""
    name: str = ""
    """For error messages."""


class _Kind(NamedTuple):
    """The kind of a value. All ranks must agree on it before the value is sent."""

    name: str
    op: str
    dtype: str
    """Of a tensor; "int" or "float" for a number; the constant for SAME; empty if unknown."""
    shape: tuple[int, ...] | None
    """Of a tensor, or of a row for ROWS; None for a number."""


def combine(parts: Sequence[Part]) -> list[Any]:
    """Reduces values over all ranks.

    A collective: call it on all ranks, with the same parts in the same order.

    Returns:
        One value per part, tensors on their device. A value is None if no rank knows it. In a
        single process, the unchanged values.

    Raises:
        RuntimeError: the parts of the ranks do not match. Raised on all ranks.
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
    totals, gathered = _combine_tensors(
        tensors, [kinds[i].op for i in reduced], [parts[i].value for i in joined], rows
    )
    for i, tensor, total in zip(reduced, tensors, totals, strict=True):
        results[i] = (
            total.item() if kinds[i].shape is None else total.to(tensor.device, tensor.dtype)
        )
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
        return _Kind(
            name, op, str(value.dtype), tuple(value.shape[1:] if op == ROWS else value.shape)
        )
    return _Kind(name, op, type(value).__name__, None)


def _compare(kinds: list[_Kind], num_rows: list[int]) -> list[list[int]] | None:
    """Returns the numbers of rows of each rank; None if kinds differ or the vector is too short."""
    fits = len(num_rows) <= _MAX_SIZES
    digest = hashlib.blake2b(repr(kinds).encode(), digest_size=7).digest()
    own = [int.from_bytes(digest) if fits else -1, *num_rows][: _MAX_SIZES + 1]
    sent = torch.zeros(_MAX_SIZES + 1, dtype=torch.int64)
    sent[: len(own)] = torch.tensor(own)
    headers = [header.tolist() for header in all_gather_equal(sent)]
    if own[0] == -1 or any(header[0] != own[0] for header in headers):
        return None
    return [header[1 : 1 + len(num_rows)] for header in headers]


def _negotiate(
    parts: Sequence[Part], kinds: list[_Kind], num_rows: list[int]
) -> tuple[list[_Kind], list[list[int]], list[Any]]:
    """Returns the agreed kinds, the numbers of rows of each rank, and the constants."""
    constants = [part.value if part.op == SAME else None for part in parts]
    gathered: list[Any] = [None] * get_world_size()
    dist.all_gather_object(gathered, (kinds, num_rows, constants))
    if len({len(theirs) for theirs, *_ in gathered}) > 1:
        counts = ", ".join(
            f"rank {rank} has {len(theirs)}" for rank, (theirs, *_) in enumerate(gathered)
        )
        raise RuntimeError(
            f"All ranks should combine the same values, but {counts}: "
            "attach the same metrics on all ranks"
        )
    agreed = [_agree([theirs[i] for theirs, *_ in gathered]) for i in range(len(parts))]
    known = [
        next((theirs[i] for *_, theirs in gathered if theirs[i] is not None), None)
        for i in range(len(parts))
    ]
    return agreed, [rows for _, rows, _ in gathered], known


def _agree(kinds: list[_Kind]) -> _Kind:
    """Returns the common kind: tensor before number, float before integer, known before unknown."""
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
    raise RuntimeError(
        f"All ranks should have values of one kind, but {held}: "
        "attach the same metrics on all ranks"
    )


def _filled(part: Part, kind: _Kind, constant: Any) -> Any:
    """Returns the value of a part as the common kind; the neutral element if unknown here."""
    value = part.value
    if part.op == SAME or not kind.dtype:
        return constant
    if kind.shape is None:
        neutral = _NEUTRAL[part.op] if value is None else value
        # Integers cannot be infinite; the limit of int64 is neutral, too.
        return (
            float(neutral) if kind.dtype == "float" else int(max(min(neutral, 2**63 - 1), -(2**63)))
        )
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


def _combine_tensors(
    tensors: Sequence[Tensor], ops: Sequence[str], rows: Sequence[Tensor], num_rows: list[list[int]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Reduces tensors by their operations, and concatenates others along their first dimension.

    Args:
        tensors: tensors to reduce, of the same shapes and dtypes on all ranks.
        ops: SUM, MIN, MAX or PRODUCT for each tensor.
        rows: tensors to concatenate, of the same dtypes and shapes except for the first dimension.
        num_rows: for each rank, the number of rows of each of ``rows``.

    Returns:
        The reduced tensors, as float64 or int64, and the concatenated ones.
    """
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if num_bytes * get_world_size() <= _MAX_GATHERED_BYTES:
        everything = [tensor.unsqueeze(0) for tensor in tensors] + list(rows)
        found = (
            _gather_rows(everything, [[1] * len(tensors) + of_rank for of_rank in num_rows])
            if everything
            else []
        )
        stacks = found[: len(tensors)]
        totals = [_REDUCE[op](stack) for stack, op in zip(stacks, ops, strict=True)]
        return totals, found[len(tensors) :]
    totals = list(tensors)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, (tensor, op) in enumerate(zip(tensors, ops, strict=True)):
        groups.setdefault((op, op != SUM and tensor.is_floating_point()), []).append(i)
    for (op, _), members in sorted(groups.items()):
        for i, total in zip(members, _reduce([tensors[i] for i in members], op), strict=True):
            totals[i] = total
    return totals, _gather_rows(rows, num_rows) if rows else []


def _sum(stack: Tensor) -> Tensor:
    return stack.cpu().sum(dim=0, dtype=torch.float64 if stack.is_floating_point() else None)


def _extreme(function: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda stack: function(
        stack.to(torch.uint8) if stack.dtype == torch.bool else stack, dim=0
    )


_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    SUM: _sum,
    MIN: _extreme(torch.amin),
    MAX: _extreme(torch.amax),
    PRODUCT: lambda stack: _to_wide(stack).prod(dim=0),
}


def _reduce(tensors: Sequence[Tensor], op: str) -> list[Tensor]:
    """Reduces tensors with one collective, in float64 for sums, otherwise in float64 or int64."""
    pack, unpack = (_to_doubles, _from_doubles) if op == SUM else (_to_wide, _from_wide)
    packed = [pack(tensor) for tensor in tensors]
    buffer = torch.cat([values.flatten() for values in packed]).to(communication_device())
    dist.all_reduce(buffer, op=getattr(dist.ReduceOp, op))
    chunks = buffer.cpu().split([values.numel() for values in packed])
    return [
        unpack(chunk.reshape(values.shape), tensor)
        for chunk, values, tensor in zip(chunks, packed, tensors, strict=True)
    ]


def _to_doubles(tensor: Tensor) -> Tensor:
    """Converts to float64; splits integers into halves of 32 bits, whose sums are exact."""
    tensor = tensor.detach().cpu()
    if tensor.is_complex():
        return torch.view_as_real(tensor).double()
    if tensor.is_floating_point():
        return tensor.double()
    whole = tensor.long()
    return torch.stack([whole >> 32, whole & 0xFFFFFFFF]).double()


def _from_doubles(values: Tensor, like: Tensor) -> Tensor:
    if like.is_complex():
        return torch.view_as_complex(values.clone())  # cloned, because views need alignment
    if like.is_floating_point():
        return values
    high, low = values.long().unbind()
    return high * 2**32 + low


def _to_wide(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().to(torch.float64 if tensor.is_floating_point() else torch.int64)


def _from_wide(values: Tensor, like: Tensor) -> Tensor:
    return values


def _gather_rows(values: Sequence[Tensor], rows_of_all: list[list[int]]) -> list[Tensor]:
    """Concatenates the rows of all ranks with one collective of bytes, padded to the longest."""
    own = [value.detach().contiguous() for value in values]
    row_bytes = [math.prod(value.shape[1:]) * value.element_size() for value in own]
    lengths = [
        [rows * size for rows, size in zip(of_rank, row_bytes, strict=True)]
        for of_rank in rows_of_all
    ]
    longest = max(map(sum, lengths))
    raw = torch.cat([value.cpu().reshape(-1).view(torch.uint8) for value in own])
    sent = torch.zeros(longest, dtype=torch.uint8)
    sent[: len(raw)] = raw
    received = [chunk.cpu() for chunk in all_gather_equal(sent)] if longest else []
    pieces = [
        chunk[: sum(sizes)].split(sizes) for chunk, sizes in zip(received, lengths, strict=False)
    ]
    gathered = []
    for i, value in enumerate(own):
        of_ranks = [
            # Cloned, because views of another dtype need alignment.
            piece[i].clone().view(value.dtype).reshape(rows[i], *value.shape[1:])
            for piece, rows in zip(pieces, rows_of_all, strict=False)
        ]
        gathered.append(torch.cat(of_ranks).to(value.device) if of_ranks else value)
    return gathered
