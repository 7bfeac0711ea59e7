"""Copies of tensors on the host, which nobody waits for until they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ignite.handlers._trackers.values import Path, Scalar, expand

__all__ = ["HostCopy", "InOrder", "stacked"]

_MOST_WAITING = 256
"""Entries that may wait for a device; the oldest is then waited for, which by then has long been there."""
_COPIED_ASIDE = ("cuda", "xpu")
"""Devices that copy into pinned memory while the host goes on."""


class HostCopy:
    """Starts to copy a tensor to the host, as it is now: later changes in place are not seen.

    Args:
        tensor: of any shape and device. What is on the CPU, or on a device that cannot copy aside, is read at once.

    Example:
        >>> copy = HostCopy(torch.tensor([1, 2]))
        >>> copy.is_ready(), copy.value()
        (True, [1, 2])
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = tensor.detach()
        self._host: Tensor | None = None
        self._value: Any = None
        if tensor.device.type not in _COPIED_ASIDE:
            self._value = tensor.tolist()
            return
        self._host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._done = torch.Event(device=tensor.device)
        self._done.record(torch.accelerator.current_stream(tensor.device))

    def is_ready(self) -> bool:
        """Whether :meth:`value` would not wait."""
        return self._host is None or self._done.query()

    def value(self) -> Any:
        """The number, or a list of numbers; waits for the copy."""
        if self._host is None:
            return self._value
        self._done.synchronize()
        return self._host.tolist()


class _Part(HostCopy):
    """One number of a copied vector.

    Args:
        whole: the copy.
        place: its index.
    """

    def __init__(self, whole: HostCopy, place: int) -> None:
        self._whole = whole
        self._place = place

    def is_ready(self) -> bool:
        """Whether the vector is there."""
        return self._whole.is_ready()

    def value(self) -> Any:
        """The number; waits for the vector."""
        return self._whole.value()[self._place]


def stacked(values: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Single numbers on one accelerator, of one dtype, as parts of one tensor, so that they are copied together.

    Args:
        values: pairs of a name and anything.

    Returns:
        The same pairs, in the same order.
    """
    pairs = list(values)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, (_, value) in enumerate(pairs):
        if isinstance(value, Tensor) and value.ndim == 0 and value.device.type in _COPIED_ASIDE:
            groups.setdefault((value.device, value.dtype), []).append(index)
    for indices in groups.values():
        together = HostCopy(torch.stack([pairs[index][1].detach() for index in indices]))
        for place, index in enumerate(indices):
            pairs[index] = (pairs[index][0], _Part(together, place))
    yield from pairs


class InOrder:
    """Entries of numbers, given out in the order in which they came, each when all of its numbers are on the host."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[list[tuple[Path, Any]], int]] = deque()

    def add(self, values: Iterable[tuple[Path, Scalar]], step: int) -> Iterator[tuple[list[tuple[Path, Any]], int]]:
        """Takes an entry, and gives out those that need not wait any more."""
        copies = [(path, HostCopy(value) if isinstance(value, Tensor) else value) for path, value in values]
        self._waiting.append((copies, step))
        while self._waiting and (len(self._waiting) > _MOST_WAITING or _is_ready(self._waiting[0][0])):
            yield self._take()

    def take_all(self) -> Iterator[tuple[list[tuple[Path, Any]], int]]:
        """Gives out all entries; waits for those that are not there yet."""
        while self._waiting:
            yield self._take()

    def _take(self) -> tuple[list[tuple[Path, Any]], int]:
        copies, step = self._waiting.popleft()
        values = ((path, value.value() if isinstance(value, HostCopy) else value) for path, value in copies)
        return [one for path, value in values for one in expand(path, value)], step


def _is_ready(copies: list[tuple[Path, Any]]) -> bool:
    return all(value.is_ready() for _, value in copies if isinstance(value, HostCopy))
