"""Tensors in nested containers: moved, mapped, encoded."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from ignite._core.trees import apply_to_type

__all__ = ["apply_to_tensor", "convert_tensor", "in_float32", "to_onehot"]

_HALVES = (torch.float16, torch.bfloat16)


def apply_to_tensor(x: Any, func: Callable[[torch.Tensor], Any]) -> Any:
    """Calls ``func`` on every tensor in nested mappings, sequences and namedtuples.

    Containers are rebuilt with their own type; strings and bytes stay as they are.

    Args:
        x: the tensor or container.
        func: called with a tensor, returns what takes its place.

    Raises:
        TypeError: there is something else in ``x``, a number for example.

    Example:
        >>> apply_to_tensor({"x": torch.tensor([1, 2]), "id": "a"}, torch.Tensor.tolist)
        {'x': [1, 2], 'id': 'a'}
    """
    return apply_to_type(x, torch.Tensor, func)


def convert_tensor(
    x: Any, device: str | torch.device | None = None, non_blocking: bool = False
) -> Any:
    """Moves every tensor and packed sequence in nested mappings, sequences and namedtuples to ``device``.

    Args:
        x: the tensor or container.
        device: where to; None leaves the very tensors that came.
        non_blocking: return before a copy from pinned memory has ended.

    Raises:
        TypeError: there is something else in ``x``, a number for example.

    Example:
        >>> convert_tensor([torch.zeros(2)], device="meta")
        [tensor(..., device='meta', size=(2,))]
    """
    kinds = (torch.Tensor, PackedSequence)
    if device is None:
        return apply_to_type(x, kinds, lambda leaf: leaf)
    return apply_to_type(x, kinds, lambda leaf: leaf.to(device=device, non_blocking=non_blocking))


def in_float32(output: Any) -> Any:
    """Converts float16 and bfloat16 tensors in nested containers to float32; others stay the same objects.

    Example:
        >>> in_float32((torch.ones(1, dtype=torch.bfloat16), "a"))
        (tensor([1.]), 'a')
    """
    if isinstance(output, torch.Tensor):
        return output.float() if output.dtype in _HALVES else output
    if isinstance(output, tuple | list):
        items = [in_float32(item) for item in output]
        if all(new is old for new, old in zip(items, output, strict=True)):
            return output
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    if isinstance(output, Mapping):
        return _replaced(output, dict(output), lambda new, key, value: new.__setitem__(key, value))
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        fields = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        return _replaced(output, fields, object.__setattr__)
    return output


def _replaced(output: Any, values: Mapping[Any, Any], put: Callable[[Any, Any, Any], None]) -> Any:
    """Returns a copy of the output with values in float32; the output itself if nothing changes."""
    changed = {key: new for key, value in values.items() if (new := in_float32(value)) is not value}
    if not changed:
        return output
    output = copy.copy(output)
    for key, value in changed.items():
        put(output, key, value)
    return output


def to_onehot(indices: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Turns class indices into one-hot vectors along a new dimension 1. Can be scripted.

    Args:
        indices: integers in [0, num_classes), shape (N, ...).
        num_classes: length of the new dimension.

    Returns:
        0 and 1 as uint8, shape (N, num_classes, ...), on the device of ``indices``.

    Raises:
        TypeError: ``indices`` are floating point.
        RuntimeError: an index is out of range. On an accelerator, torch reports this later.

    Example:
        >>> to_onehot(torch.tensor([2, 0]), num_classes=3).tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    if indices.is_floating_point():
        raise TypeError(f"indices should be integers, but given a tensor of {indices.dtype}")
    shape = list(indices.shape)
    shape.insert(1, num_classes)  # (N, C, ...)
    onehot = torch.zeros(shape, dtype=torch.uint8, device=indices.device)
    return onehot.scatter_(1, indices.long().unsqueeze(1), 1)
