"""Collectives for tensors, numbers and objects.

Without a process group, they return the result of a single process.
"""

from __future__ import annotations

import functools
import hashlib
import math
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ignite.distributed._process_group import (
    as_group,
    communication_device,
    device,
    get_rank,
    get_world_size,
    has_group,
    is_outside,
)


def barrier() -> None:
    """Waits until all ranks have called this function.

    Example:
        >>> barrier()
    """
    if has_group():
        # Without its device, torch warns where the backend communicates through accelerators.
        place = communication_device()
        dist.barrier(device_ids=None if place.type == "cpu" else [place.index])


def all_reduce(tensor: Tensor | float, op: str = "SUM", group: Any = None) -> Tensor | float:
    """Reduces a value over all ranks; every rank gets the result.

    A tensor is changed in place and returned.

    Numbers are reduced as in Python: integers exactly, others as float64; the result is a float if
    one of the values is. The result has the dtype of the tensor, so that the sum of booleans is
    true if one of them is.

    Args:
        tensor: a tensor of the same shape and dtype on all ranks, or a number.
        op: SUM, PRODUCT, MIN, MAX; or bitwise AND, OR for booleans and integers.
        group: a process group or a list of ranks, see :func:`new_group`; None for all ranks. Ranks
            outside of the group get their own value back.

    Raises:
        TypeError: ``tensor`` is neither a tensor nor a number, or ``op`` is AND or OR and
            ``tensor`` is floating point.
        ValueError: ``op`` is unknown, or ``group`` is neither a group nor a list of ranks.

    Example:
        >>> all_reduce(3.5)
        3.5
    """
    if not isinstance(tensor, Tensor | int | float):
        raise TypeError(
            "Unhandled input type: tensor should be a tensor or a number, "
            f"but given {type(tensor).__name__}"
        )
    if op not in _FOLDS:
        raise ValueError(
            f"Unsupported reduction operation: op should be one of {tuple(_FOLDS)}, "
            f"but given {op!r}"
        )
    is_floating_point = (
        tensor.is_floating_point() if isinstance(tensor, Tensor) else isinstance(tensor, float)
    )
    if is_floating_point and op in ("AND", "OR"):
        raise TypeError(f"tensor should be boolean or integer with op={op}, but given {tensor}")
    if not has_group():
        return tensor
    found = as_group(group)
    if is_outside(found):
        return tensor
    return _reduce(tensor, op, found) if isinstance(tensor, Tensor) else _fold(tensor, op, found)


_OF_BOOLEANS = {"SUM": "MAX", "OR": "MAX", "PRODUCT": "MIN", "AND": "MIN"}
_SENT_AS = {torch.bool: torch.uint8, torch.int16: torch.int32}  # gloo supports neither dtype
_REDUCE_OPS = {"AND": "BAND", "OR": "BOR"}


def _reduce(tensor: Tensor, op: str, group: Any) -> Tensor:
    if tensor.dtype == torch.bool:
        op = _OF_BOOLEANS.get(op, op)
    sent = tensor.detach().to(
        communication_device(group),
        dtype=_SENT_AS.get(tensor.dtype, tensor.dtype),
        copy=True,
        memory_format=torch.contiguous_format,
    )
    dist.all_reduce(sent, op=getattr(dist.ReduceOp, _REDUCE_OPS.get(op, op)), group=group)
    # Inference tensors can be written to in inference mode only.
    with torch.inference_mode(tensor.is_inference()):
        tensor.detach().copy_(sent)
    return tensor


def _fold(number: float, op: str, group: Any) -> float:
    """Reduces numbers; some ranks may pass integers, and others floats."""
    is_float = isinstance(number, float)
    bits = torch.tensor(number, dtype=torch.float64 if is_float else torch.int64).view(torch.int64)
    gathered = all_gather_equal(torch.stack([bits, torch.tensor(int(is_float))]).cpu(), group)
    values = [
        theirs[:1].view(torch.float64).item() if theirs[1] else theirs[0].item()
        for theirs in gathered
    ]
    if any(theirs[1] for theirs in gathered):
        values = [float(value) for value in values]
    result: float = _FOLDS[op](values)
    return result


def _extreme(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """Returns NaN if a value is NaN, so that the order of ranks does not matter."""
    return lambda values: next((value for value in values if math.isnan(value)), function(values))


_FOLDS: dict[str, Callable[[list[Any]], Any]] = {
    "SUM": sum,
    "PRODUCT": math.prod,
    "MIN": _extreme(min),
    "MAX": _extreme(max),
    "AND": functools.partial(functools.reduce, operator.and_),
    "OR": functools.partial(functools.reduce, operator.or_),
}


def all_gather(tensor: Any, group: Any = None) -> Any:
    """Gathers the values of all ranks on every rank, in the order of ranks.

    Args:
        tensor: a tensor, of the same dtype and shape on all ranks except for the first dimension;
            or a number, a string or any object that can be pickled.
        group: a process group or a list of ranks, see :func:`new_group`; None for all ranks. Ranks
            outside of the group get their own value back.

    Returns:
        For tensors of shape (N, ...), a tensor of shape (sum of all N, ...); a tensor without
        dimensions counts as shape (1,). For other values, a list.

    Raises:
        ValueError: dtypes or shapes differ. Raised on all ranks.

    Example:
        >>> all_gather("here")
        ['here']
    """
    if not has_group():
        return tensor if isinstance(tensor, Tensor) else [tensor]
    found = as_group(group)
    if is_outside(found):
        return tensor
    if not isinstance(tensor, Tensor):
        values: list[Any] = [None] * dist.get_world_size(found)
        dist.all_gather_object(values, tensor, group=found)
        return values
    own = tensor.detach().reshape(tensor.shape or (1,))
    kind = f"{own.dtype} in rows of shape {tuple(own.shape[1:])}"
    rows, agree = _exchange(len(own), kind, found)
    if not agree:
        raise ValueError(
            "Tensors should have the same dtype and shape except for the first dimension, "
            "but given " + _values_by_rank(f"{own.dtype} of shape {tuple(own.shape)}", found)
        )
    lengths = [num_rows * math.prod(own.shape[1:]) for num_rows in rows]
    if not sum(lengths):
        return own.new_zeros((sum(rows), *own.shape[1:]))
    return torch.cat(
        [each.reshape(-1, *own.shape[1:]) for each in _gather_flat(own, lengths, found)]
    )


def all_gather_tensors_with_shapes(
    tensor: Tensor, shapes: Sequence[Sequence[int]], group: Any = None
) -> list[Tensor]:
    """Gathers tensors of different, known shapes on every rank.

    Args:
        tensor: the tensor of this rank; all ranks need the same dtype.
        shapes: the shapes of the tensors in the order of ranks; the same on all ranks.
        group: a process group or a list of ranks, see :func:`new_group`; None for all ranks. Ranks
            outside of the group get their own tensor back.

    Raises:
        TypeError: ``tensor`` is not a tensor.
        ValueError: ``shapes`` are not the shapes of the tensors, or dtypes differ. Raised on all
            ranks.

    Example:
        >>> all_gather_tensors_with_shapes(torch.ones(2), [(2,)])
        [tensor([1., 1.])]
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor should be a tensor, but given {type(tensor).__name__}")
    found = as_group(group) if has_group() else None
    if is_outside(found):
        return [tensor]
    size, rank = (dist.get_world_size(found), dist.get_rank(found)) if has_group() else (1, 0)
    all_shapes = [tuple(shape) for shape in shapes]
    fits = len(all_shapes) == size and all_shapes[rank] == tuple(tensor.shape)
    held = f"{tensor.dtype} of shape {tuple(tensor.shape)} and shapes={all_shapes}"
    # The collective is entered even if the shapes are wrong here: the other ranks would hang.
    everyone_fits, agree = (
        _exchange(int(fits), f"{tensor.dtype} {all_shapes}", found)
        if has_group()
        else ([fits], True)
    )
    if not agree or not all(everyone_fits):
        raise ValueError(
            f"shapes should be the shapes of the tensors of {size} ranks, of one dtype, but given "
            + (_values_by_rank(held, found) if has_group() else held)
        )
    if not has_group():
        return [tensor]
    received = _gather_flat(tensor.detach(), [math.prod(shape) for shape in all_shapes], found)
    return [each.reshape(shape) for each, shape in zip(received, all_shapes, strict=True)]


def _exchange(number: int, kind: str, group: Any) -> tuple[list[int], bool]:
    """Gathers a number of each rank, and compares ``kind`` across ranks, with one collective."""
    digest = int.from_bytes(hashlib.blake2b(kind.encode(), digest_size=7).digest())
    header = torch.tensor([number, digest])
    headers = [theirs.tolist() for theirs in all_gather_equal(header, group)]
    return [theirs[0] for theirs in headers], all(theirs[1] == digest for theirs in headers)


def _values_by_rank(held: str, group: Any) -> str:
    """Describes the values of all ranks, for an error message that is raised on all ranks."""
    gathered: list[str] = [""] * dist.get_world_size(group)
    dist.all_gather_object(gathered, held, group=group)
    ranks = dist.get_process_group_ranks(group)
    return ", ".join(
        f"rank {rank} has {theirs}" for rank, theirs in zip(ranks, gathered, strict=True)
    )


def _gather_flat(tensor: Tensor, lengths: list[int], group: Any) -> list[Tensor]:
    """Gathers flattened tensors; ``lengths`` are their numbers of elements."""
    own = tensor.resolve_conj().resolve_neg().flatten().contiguous()
    longest = max(lengths)
    if longest == 0:
        return [own] * len(lengths)
    if len(own) < longest:
        own = torch.cat([own, own.new_zeros(longest - len(own))])
    # As bytes, because not every backend supports every dtype.
    received = all_gather_equal(own.view(torch.uint8), group)
    return [
        each.view(tensor.dtype)[:length].to(tensor.device)
        for each, length in zip(received, lengths, strict=True)
    ]


def all_gather_equal(tensor: Tensor, group: Any = None) -> list[Tensor]:
    """Gathers tensors of one shape and dtype; the results are on the device of the backend."""
    sent = tensor.to(communication_device(group))
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group=group)
    return received


def broadcast(tensor: Any, src: int = 0, safe_mode: bool = False) -> Any:
    """Sends the value of one rank to all ranks. The type of a number and its value are kept.

    Args:
        tensor: a tensor, number, string or path. Other ranks need to pass a value of the same type,
            and a tensor of the same shape and dtype; with ``safe_mode``, anything, such as None.
        src: the rank whose value is sent.
        safe_mode: whether type and shape are sent, too, so that other ranks need not know them.

    Returns:
        The value. The given tensor is not changed; the result is on its device. With
        ``safe_mode``, on ranks that pass no tensor, the result is on the CPU if it was there, and
        otherwise on :func:`device`.

    Raises:
        TypeError: the value has another type.
        ValueError: the value is None on rank ``src`` or without ``safe_mode``, or there is no rank
            ``src``.

    Example:
        >>> broadcast(7)
        7
    """
    if not has_group() and tensor is None:
        raise ValueError("Argument tensor should not be None, but given None in a single process")
    if has_group() and not 0 <= src < get_world_size():
        raise ValueError(f"src should be between 0 and {get_world_size() - 1}, but given {src}")
    is_source = not has_group() or get_rank() == src
    if tensor is None and is_source:
        raise ValueError(
            "Source data can not be None: tensor should be a tensor, number, string or path"
        )
    if tensor is None and not safe_mode:
        raise ValueError("Argument safe_mode should be True if None is passed for non src rank")
    if (is_source or not safe_mode) and not isinstance(tensor, Tensor | int | float | str | Path):
        raise TypeError(
            "Unhandled input type: tensor should be a tensor, number, string or path, "
            f"but given {type(tensor).__name__}"
        )
    if not has_group():
        return tensor
    if isinstance(tensor, Tensor) and not safe_mode:
        return _broadcast_tensor(tensor, src)
    # Pickled, so that numbers arrive exactly and shapes need not be known.
    # Cloned, because a view would be pickled with its whole storage.
    values = (
        [tensor.detach().clone().cpu(), tensor.device.type]
        if isinstance(tensor, Tensor)
        else [tensor, None]
    )
    dist.broadcast_object_list(values, src=src)
    value, device_type = values
    if not isinstance(value, Tensor):
        return value
    if isinstance(tensor, Tensor):
        return value.to(tensor.device)
    return value if device_type == "cpu" else value.to(device())


def _broadcast_tensor(tensor: Tensor, src: int) -> Tensor:
    sent = (
        tensor.detach()
        .to(communication_device(), copy=True, memory_format=torch.contiguous_format)
        .resolve_conj()
    )
    if sent.numel():
        # As bytes, because gloo does not support every dtype.
        dist.broadcast(sent.view(-1).view(torch.uint8), src=src)
    return sent.to(tensor.device)
