"""Scalars for trackers: flattens nested values, and copies tensors to the host asynchronously."""

from __future__ import annotations

import numbers
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "HostCopy",
    "HostQueue",
    "Path",
    "Scalar",
    "expand",
    "named_leaves",
    "on_host",
    "stacked",
]

Path: TypeAlias = tuple[Any, ...]
"""Parts of a name: tag, name, then nested keys or indices.

Strings, unless users chose keys of another type.
"""
Scalar: TypeAlias = Any
"""A number, a string, or a tensor of at most one dimension."""


def named_leaves(
    values: Mapping[Any, Any], prefix: Path, with_text: bool
) -> Iterator[tuple[Path, Scalar]]:
    """Flattens nested mappings and sequences into pairs of path and scalar.

    Values other than numbers, tensors of at most one dimension and, with ``with_text``, strings are
    skipped with a ``UserWarning``.

    Args:
        values: the values by name.
        prefix: the first parts of all paths.
        with_text: whether to keep strings.

    Example:
        >>> list(named_leaves({"a": 1, "b": {"c": [2, 3]}}, ("train",), with_text=False))
        [(('train', 'a'), 1), (('train', 'b', 'c', '0'), 2), (('train', 'b', 'c', '1'), 3)]
    """
    for name, value in values.items():
        yield from _leaves((*prefix, name), value, with_text)


def _leaves(path: Path, value: Any, with_text: bool) -> Iterator[tuple[Path, Scalar]]:
    is_scalar = isinstance(value, numbers.Number) or (isinstance(value, Tensor) and value.ndim <= 1)
    if is_scalar or (with_text and isinstance(value, str)):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves((*path, str(key)), item, with_text)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _leaves((*path, str(index)), item, with_text)
    else:
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        warnings.warn(
            f"{'/'.join(map(str, path))} should be a number, a tensor of at most one dimension, "
            "or a dictionary or sequence of these, "
            f"but given {type(value).__name__}{shape}: it is not logged",
            stacklevel=2,
        )


def expand(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """Yields one entry per element of a list, or one entry for a number.

    Example:
        >>> list(expand(("a",), [1.0, 2.0]))
        [(('a', '0'), 1.0), (('a', '1'), 2.0)]
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, str(index)), item
    else:
        yield path, value


def on_host(leaves: Iterable[tuple[Path, Scalar]]) -> dict[Path, Any]:
    """Returns numbers and strings by path; synchronizes with the device of tensors."""
    found: dict[Path, Any] = {}
    for path, value in leaves:
        found.update(expand(path, value.tolist() if isinstance(value, Tensor) else value))
    return found


_MAX_QUEUED = 256
"""Maximum number of queued entries; beyond it, the oldest is waited for."""
_ASYNC_DEVICE_TYPES = ("cuda", "xpu")
"""Devices that copy to pinned memory asynchronously."""


class HostCopy:
    """Asynchronous copy of a tensor to the host.

    Later in-place changes of the tensor have no effect.

    Args:
        tensor: any shape and device. Tensors on the CPU, and on devices without asynchronous
            copies, are read at once.

    Example:
        >>> copy = HostCopy(torch.tensor([1, 2]))
        >>> copy.is_ready(), copy.value()
        (True, [1, 2])
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = tensor.detach()
        self._host: Tensor | None = None
        self._value: Any = None
        if tensor.device.type not in _ASYNC_DEVICE_TYPES:
            self._value = tensor.tolist()
            return
        self._host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._done = torch.Event(device=tensor.device)
        self._done.record(torch.accelerator.current_stream(tensor.device))

    def is_ready(self) -> bool:
        """Whether :meth:`value` returns without waiting."""
        return self._host is None or self._done.query()

    def value(self) -> Any:
        """Returns the number or list of numbers; waits for the copy."""
        if self._host is None:
            return self._value
        self._done.synchronize()
        return self._host.tolist()


class _Element(HostCopy):
    """One element of a copied vector.

    Args:
        whole: the copy of the vector.
        index: its index.
    """

    def __init__(self, whole: HostCopy, index: int) -> None:
        self._whole = whole
        self._index = index

    def is_ready(self) -> bool:
        """Whether the copy of the vector is complete."""
        return self._whole.is_ready()

    def value(self) -> Any:
        """Returns the number; waits for the copy of the vector."""
        return self._whole.value()[self._index]


def stacked(values: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Stacks single numbers of the same device and dtype, so that one copy moves them to the host.

    Args:
        values: pairs of a name and any value.

    Returns:
        The same pairs, in the same order.
    """
    pairs = list(values)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, (_, value) in enumerate(pairs):
        if (
            isinstance(value, Tensor)
            and value.ndim == 0
            and value.device.type in _ASYNC_DEVICE_TYPES
        ):
            groups.setdefault((value.device, value.dtype), []).append(index)
    for indices in groups.values():
        together = HostCopy(torch.stack([pairs[index][1].detach() for index in indices]))
        for i, index in enumerate(indices):
            pairs[index] = (pairs[index][0], _Element(together, i))
    yield from pairs


class HostQueue:
    """FIFO queue of entries, which yields each entry when all its numbers are on the host."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[list[tuple[Path, Any]], int]] = deque()

    def add(
        self, values: Iterable[tuple[Path, Scalar]], step: int
    ) -> Iterator[tuple[list[tuple[Path, Any]], int]]:
        """Adds an entry, and yields those that are complete."""
        copies = [
            (path, HostCopy(value) if isinstance(value, Tensor) else value)
            for path, value in values
        ]
        self._waiting.append((copies, step))
        while self._waiting and (
            len(self._waiting) > _MAX_QUEUED or _is_ready(self._waiting[0][0])
        ):
            yield self._take()

    def take_all(self) -> Iterator[tuple[list[tuple[Path, Any]], int]]:
        """Yields all entries; waits for incomplete copies."""
        while self._waiting:
            yield self._take()

    def _take(self) -> tuple[list[tuple[Path, Any]], int]:
        copies, step = self._waiting.popleft()
        values = (
            (path, value.value() if isinstance(value, HostCopy) else value)
            for path, value in copies
        )
        return [one for path, value in values for one in expand(path, value)], step


def _is_ready(copies: list[tuple[Path, Any]]) -> bool:
    return all(value.is_ready() for _, value in copies if isinstance(value, HostCopy))
