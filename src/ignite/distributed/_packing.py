"""Tensors of several processes, combined with few collectives; all processes hold tensors of the same kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from ignite.distributed._place import communication_device, get_world_size

SUM, MIN, MAX, PRODUCT = "SUM", "MIN", "MAX", "PRODUCT"

_MAX_GATHERED_BYTES = 2**22
"""Up to this many bytes of all processes, gathering everything and combining it here takes one collective, the fastest
there is; more would cost memory that grows with the number of processes."""


def combine_tensors(
    tensors: Sequence[Tensor], ops: Sequence[str], rows: Sequence[Tensor], num_rows: list[list[int]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Tensors reduced by their operations, and tensors joined along their first dimension.

    Args:
        tensors: of the same shapes and dtypes on all processes.
        ops: one of the words above, for each.
        rows: of the same dtypes and shapes, but for their first dimension.
        num_rows: for each process, the number of rows of each.

    Returns:
        The reduced tensors, wider than they came, and the joined ones.
    """
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if num_bytes * get_world_size() <= _MAX_GATHERED_BYTES:
        everything = [tensor.unsqueeze(0) for tensor in tensors] + list(rows)
        found = gather(everything, [[1] * len(tensors) + of_rank for of_rank in num_rows]) if everything else []
        stacks = found[: len(tensors)]
        return [_REDUCE[op](stack) for stack, op in zip(stacks, ops, strict=True)], found[len(tensors) :]
    totals: list[Tensor] = list(tensors)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, (tensor, op) in enumerate(zip(tensors, ops, strict=True)):
        groups.setdefault((op, op != SUM and tensor.is_floating_point()), []).append(i)
    for (op, _), members in sorted(groups.items()):
        for i, total in zip(members, _reduce([tensors[i] for i in members], op), strict=True):
            totals[i] = total
    return totals, gather(rows, num_rows) if rows else []


def _sum(stack: Tensor) -> Tensor:
    return stack.cpu().sum(dim=0, dtype=torch.float64 if stack.is_floating_point() else None)


def _extreme(function: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda stack: function(stack.to(torch.uint8) if stack.dtype == torch.bool else stack, dim=0)


_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    SUM: _sum,
    MIN: _extreme(torch.amin),
    MAX: _extreme(torch.amax),
    PRODUCT: lambda stack: _to_wide(stack).prod(dim=0),
}


def all_gather_equal(tensor: Tensor) -> list[Tensor]:
    """The tensors of all processes, which are of one shape and dtype, where they can be sent from."""
    sent = tensor.to(communication_device())
    received = [torch.empty_like(sent) for _ in range(get_world_size())]
    dist.all_gather(received, sent)
    return received


def _reduce(tensors: Sequence[Tensor], op: str) -> list[Tensor]:
    """Combines tensors with one collective: float64 for sums of all kinds, else float64 or int64."""
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
    """Whole numbers as two halves of 32 bits, whose sums are exact in float64."""
    tensor = tensor.detach().cpu()
    if tensor.is_complex():
        return torch.view_as_real(tensor).double()
    if tensor.is_floating_point():
        return tensor.double()
    whole = tensor.long()
    return torch.stack([whole >> 32, whole & 0xFFFFFFFF]).double()


def _from_doubles(values: Tensor, like: Tensor) -> Tensor:
    if like.is_complex():
        return torch.view_as_complex(values.clone())  # cloned, as views want alignment
    if like.is_floating_point():
        return values
    high, low = values.long().unbind()
    return high * 2**32 + low


def _to_wide(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().to(torch.float64 if tensor.is_floating_point() else torch.int64)


def _from_wide(values: Tensor, like: Tensor) -> Tensor:
    return values


def gather(values: Sequence[Tensor], rows_of_all: list[list[int]]) -> list[Tensor]:
    """The rows of all processes: one collective, of bytes, padded to the longest."""
    own = [value.detach().contiguous() for value in values]
    row_bytes = [math.prod(value.shape[1:]) * value.element_size() for value in own]
    lengths = [[rows * size for rows, size in zip(of_rank, row_bytes, strict=True)] for of_rank in rows_of_all]
    longest = max(map(sum, lengths))
    raw = torch.cat([value.cpu().reshape(-1).view(torch.uint8) for value in own])
    sent = torch.zeros(longest, dtype=torch.uint8)
    sent[: len(raw)] = raw
    received = [chunk.cpu() for chunk in all_gather_equal(sent)] if longest else []
    pieces = [chunk[: sum(sizes)].split(sizes) for chunk, sizes in zip(received, lengths, strict=False)]
    gathered = []
    for i, value in enumerate(own):
        of_ranks = [
            # Cloned, because views of another dtype want alignment.
            piece[i].clone().view(value.dtype).reshape(rows[i], *value.shape[1:])
            for piece, rows in zip(pieces, rows_of_all, strict=False)
        ]
        gathered.append(torch.cat(of_ranks).to(value.device) if of_ranks else value)
    return gathered
