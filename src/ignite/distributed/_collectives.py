"""What processes tell each other. Without a process group, each function returns what one process would get."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ignite.distributed._place import communication_device, get_rank, get_world_size, has_group

T = TypeVar("T")

_OPERATIONS = ("SUM", "PRODUCT", "MIN", "MAX", "AND", "OR")


def barrier() -> None:
    """Waits until all processes are here."""
    if has_group():
        dist.barrier()


def all_reduce(tensor: Tensor | float, op: str = "SUM", group: Any = None) -> Tensor | float:
    """Combines the values of all processes; each gets the result. The tensor that was given stays as it is.

    Args:
        tensor: a tensor of the same shape on every process, or a number. Numbers are combined as float64, or as
            int64 if they are whole.
        op: SUM, PRODUCT, MIN, MAX; AND, OR for booleans and integers bit by bit.
        group: a process group, or a list of ranks; None means all. Processes outside of it get back what they gave.

    Raises:
        TypeError: ``tensor`` is neither a tensor nor a number.
        ValueError: ``op`` is none of the above.

    Example:
        >>> all_reduce(3.5)
        3.5
    """
    if not isinstance(tensor, Tensor | int | float):
        raise TypeError(
            f"Unhandled input type: tensor should be a tensor or a number, but given {type(tensor).__name__}"
        )
    if op not in _OPERATIONS:
        raise ValueError(f"Unsupported reduction operation: op should be one of {_OPERATIONS}, but given {op!r}")
    if not has_group():
        return tensor
    if not isinstance(tensor, Tensor):
        whole = isinstance(tensor, int)
        number = torch.tensor(tensor, dtype=torch.int64 if whole else torch.float64)
        return _reduce(number, op, group).item()
    return _reduce(tensor, op, group)


def _reduce(tensor: Tensor, op: str, group: Any) -> Tensor:
    found = as_group(group)
    if is_outside(found):
        return tensor
    is_bool = tensor.dtype == torch.bool
    sent = tensor.detach().to(communication_device(), dtype=torch.uint8 if is_bool else tensor.dtype, copy=True)
    operation = {"AND": dist.ReduceOp.BAND, "OR": dist.ReduceOp.BOR}.get(op) or getattr(dist.ReduceOp, op)
    dist.all_reduce(sent, op=operation, group=found)
    return sent.to(tensor.device, dtype=tensor.dtype)


def all_gather(tensor: Any, group: Any = None) -> Any:
    """Collects the values of all processes; each gets all of them, in the order of ranks.

    Args:
        tensor: a tensor, of the same dtype and shape on every process but for the first dimension, or a number, a
            string or any object that can be pickled.
        group: a process group, or a list of ranks; None means all. Processes outside of it get back what they gave.

    Returns:
        For tensors of shape (N, ...) one of shape (sum of all N, ...); a tensor without dimensions counts as one of
        shape (1,). For everything else a list.

    Raises:
        ValueError: tensors do not go together. All processes raise it.

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
    rows = _exchange_rows(own, found)
    longest = max(rows)
    padded = own.new_zeros((longest, *own.shape[1:]))
    padded[: len(own)] = own
    received = _gather_equal(padded, found)
    return torch.cat([each[:length] for each, length in zip(received, rows, strict=True)]).to(tensor.device)


def all_gather_tensors_with_shapes(tensor: Tensor, shapes: Sequence[Sequence[int]], group: Any = None) -> list[Tensor]:
    """Collects tensors of different shapes that are known beforehand.

    Args:
        tensor: this process's, with as many dimensions as all others, and of the same dtype.
        shapes: the shape of each process's tensor, in the order of ranks.
        group: a process group, or a list of ranks; None means all. Processes outside of it get back what they gave.

    Raises:
        TypeError: ``tensor`` is none.
        ValueError: ``shapes`` are not those of as many processes, or not that of this one.

    Example:
        >>> all_gather_tensors_with_shapes(torch.ones(2), [(2,)])
        [tensor([1., 1.])]
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor should be a tensor, but given {type(tensor).__name__}")
    found = as_group(group) if has_group() else None
    if found is not None and is_outside(found):
        return [tensor]
    size, rank = (dist.get_world_size(found), dist.get_rank(found)) if has_group() else (1, 0)
    if len(shapes) != size or tuple(shapes[rank]) != tuple(tensor.shape):
        raise ValueError(
            f"shapes should be those of {size} tensors, with {tuple(tensor.shape)} in place {rank}, but given {shapes}"
        )
    if not has_group():
        return [tensor]
    lengths = [math.prod(shape) for shape in shapes]
    padded = tensor.new_zeros(max(lengths))
    padded[: tensor.numel()] = tensor.detach().flatten()
    received = _gather_equal(padded, found)
    return [
        each[:length].reshape(tuple(shape)).to(tensor.device)
        for each, length, shape in zip(received, lengths, shapes, strict=True)
    ]


def _exchange_rows(own: Tensor, group: Any) -> list[int]:
    """The number of rows of each process.

    Raises:
        ValueError: the shapes of rows or the dtypes differ.
    """
    kind = repr((str(own.dtype), tuple(own.shape[1:])))
    digest = int.from_bytes(hashlib.blake2b(kind.encode(), digest_size=7).digest())
    told = [header.tolist() for header in _gather_equal(torch.tensor([len(own), digest]), group)]
    if any(theirs[1] != digest for theirs in told):
        kinds: list[Any] = [None] * len(told)
        dist.all_gather_object(kinds, kind, group=group)
        held = ", ".join(f"rank {rank} has {theirs}" for rank, theirs in enumerate(kinds))
        raise ValueError(f"Tensors should have the same dtype and shape but for the first dimension, but {held}")
    return [theirs[0] for theirs in told]


def _gather_equal(tensor: Tensor, group: Any) -> list[Tensor]:
    sent = tensor.to(communication_device()).contiguous()
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group=group)
    return received


def new_group(ranks: list[int], **kwargs: Any) -> Any:
    """Makes a group of some processes. All processes have to call it, also those that do not belong to it.

    Args:
        ranks: of those that belong to it.
        **kwargs: for ``torch.distributed.new_group``.

    Returns:
        The group; in a single process, the list.

    Raises:
        ValueError: ``ranks`` is no list of integers.

    Example:
        >>> new_group([0])
        [0]
    """
    if not isinstance(ranks, list) or not all(isinstance(rank, int) for rank in ranks):
        raise ValueError(f"Argument ranks should be list of int, but given {ranks!r}")
    return dist.new_group(sorted(ranks), **kwargs) if has_group() else ranks


def broadcast(tensor: Any, src: int = 0, safe_mode: bool = False) -> Any:
    """Gives all processes the value of one of them.

    Args:
        tensor: a tensor, number, string or path; with ``safe_mode`` anything, None included, on the others.
        src: the rank whose value it is.
        safe_mode: tell the others first what comes, so that they need not know its type and shape.

    Raises:
        TypeError: the value is of another type.
        ValueError: it is None where it must not be.

    Example:
        >>> broadcast(7)
        7
    """
    is_source = get_rank() == src
    if tensor is None and is_source:
        raise ValueError("Source data can not be None: tensor should be a tensor, number, string or path")
    if tensor is None and not safe_mode:
        raise ValueError("Argument safe_mode should be True if None is passed for non src rank")
    if (is_source or not safe_mode) and not isinstance(tensor, Tensor | int | float | str | Path):
        raise TypeError(
            "Unhandled input type: tensor should be a tensor, number, string or path, but given "
            f"{type(tensor).__name__}"
        )
    if not has_group():
        return tensor
    if isinstance(tensor, Tensor) and not safe_mode:
        sent = tensor.detach().to(communication_device(), copy=True)
        dist.broadcast(sent, src=src)
        return sent.to(tensor.device)
    # Pickled, so that numbers arrive exactly and shapes need not be agreed on.
    values = [tensor.detach().cpu() if isinstance(tensor, Tensor) else tensor]
    dist.broadcast_object_list(values, src=src)
    return values[0]


_groups: dict[tuple[int, ...], Any] = {}
"""Groups made of lists of ranks, so that each is made once."""


def as_group(group: Any) -> Any:
    """The process group that is meant; None means all.

    A list of ranks makes a group when it is first given, which all processes have to do.

    Raises:
        ValueError: it is neither a group nor a list of ranks.
    """
    if group is None or isinstance(group, dist.ProcessGroup) or group is dist.GroupMember.NON_GROUP_MEMBER:
        return group
    if not isinstance(group, list) or not all(isinstance(rank, int) for rank in group):
        raise ValueError(f"Argument group should be list of int or ProcessGroup, but given {group!r}")
    ranks = tuple(sorted(group))
    if ranks == tuple(range(get_world_size())):
        return dist.group.WORLD
    if ranks not in _groups:
        _groups[ranks] = new_group(list(ranks))
    return _groups[ranks]


def is_outside(group: Any) -> bool:
    """Whether this process does not belong to ``group``."""
    return group is not None and (group is dist.GroupMember.NON_GROUP_MEMBER or dist.get_rank(group) < 0)


def forget() -> None:
    """The default group has gone, and all others with it."""
    _groups.clear()
