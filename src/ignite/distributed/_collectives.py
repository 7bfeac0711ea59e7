"""What processes tell each other. Without a process group, each function returns what one process would get."""

from __future__ import annotations

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
        group: a process group, or a list of ranks; None means all.

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
    is_bool = tensor.dtype == torch.bool
    sent = tensor.detach().to(communication_device(), dtype=torch.uint8 if is_bool else tensor.dtype, copy=True)
    operation = {"AND": dist.ReduceOp.BAND, "OR": dist.ReduceOp.BOR}.get(op) or getattr(dist.ReduceOp, op)
    dist.all_reduce(sent, op=operation, group=_group(group))
    return sent.to(tensor.device, dtype=tensor.dtype)


def all_gather(tensor: Any, group: Any = None) -> Any:
    """Collects the values of all processes; each gets all of them, in the order of ranks.

    Args:
        tensor: a tensor of the same shape on every process, or a number, a string or any object that can be pickled.
        group: a process group, or a list of ranks; None means all.

    Returns:
        For tensors of shape (N, ...) one of shape (world_size * N, ...); a tensor without dimensions counts as one of
        shape (1,). For everything else a list.

    Example:
        >>> all_gather("here")
        ['here']
    """
    if not has_group():
        return tensor if isinstance(tensor, Tensor) else [tensor]
    found = _group(group)
    size = dist.get_world_size(found)
    if not isinstance(tensor, Tensor):
        values: list[Any] = [None] * size
        dist.all_gather_object(values, tensor, group=found)
        return values
    sent = tensor.detach().reshape(tensor.shape or (1,)).to(communication_device()).contiguous()
    received = [torch.empty_like(sent) for _ in range(size)]
    dist.all_gather(received, sent, group=found)
    return torch.cat(received).to(tensor.device)


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


def _group(group: Any) -> Any:
    if group is None or isinstance(group, dist.ProcessGroup):
        return group
    if isinstance(group, list) and all(isinstance(rank, int) for rank in group):
        return dist.group.WORLD if sorted(group) == list(range(get_world_size())) else dist.new_group(group)
    raise ValueError(f"Argument group should be list of int or ProcessGroup, but given {group!r}")
