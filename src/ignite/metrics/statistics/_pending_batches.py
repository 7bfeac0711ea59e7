"""Small batches that wait to be joined, so that one call measures many of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from torch import Tensor

LARGE = 2**12
"""Batches of this many numbers are not joined: the computation takes longer than the call."""
_MAX_PENDING = 2**14
"""Total of numbers from which pending batches should be processed."""


class PendingBatches:
    """Copies of small batches, to be joined.

    Example:
        >>> import torch
        >>> waiting = PendingBatches()
        >>> for _ in range(2):
        ...     is_full = waiting.add(Copies(torch.ones(2), torch.zeros(2)), num_numbers=2)
        >>> [(x.tolist(), y.tolist()) for x, y in waiting.taken()]
        [([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0])]
    """

    __slots__ = ("_groups", "_num_numbers")

    def __init__(self) -> None:
        self._groups: dict[Hashable, list[Copies]] = {}
        self._num_numbers = 0

    def add(self, copies: Copies, num_numbers: int) -> bool:
        """Adds copies of ``num_numbers`` numbers. Returns whether to process the pending batches."""
        group = self._groups.get(copies.like)
        if group is None:
            group = self._groups[copies.like] = []
        group.append(copies)
        self._num_numbers += num_numbers
        return self._num_numbers >= _MAX_PENDING

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all additions from now on."""
        groups, num_numbers = self._groups, self._num_numbers
        lengths = {kind: len(group) for kind, group in groups.items()}

        def roll_back() -> None:
            for kind, group in list(groups.items()):
                if kind in lengths:
                    del group[lengths[kind] :]
                else:
                    del groups[kind]
            self._groups, self._num_numbers = groups, num_numbers

        return roll_back

    def taken(self) -> list[tuple[Tensor, Tensor]]:
        """Removes and returns all batches, joined: one pair for each kind of tensors."""
        groups, self._groups, self._num_numbers = self._groups, {}, 0
        if len(groups) > 1:
            groups = _by_rows(groups)
        return [Copies.joined(group).tensors for group in groups.values()]


def _by_rows(groups: Mapping[Hashable, list[Copies]]) -> dict[Hashable, list[Copies]]:
    """Merges groups that differ only in the batch size."""
    found: dict[Hashable, list[Copies]] = {}
    for group in groups.values():
        found.setdefault(group[0].row, []).extend(group)
    return found


_MANY = 2**10
"""For tensors of this many numbers, copying takes longer than the call."""


class Copies:
    """Detached copies of two tensors, which do not share their memory.

    Args:
        x: shape (B, ...).
        y: shape (B, ...); it may be ``x`` itself.

    Example:
        >>> batches = [Copies(torch.tensor([i]), torch.tensor([-i])) for i in range(3)]
        >>> [tensor.tolist() for tensor in Copies.joined(batches).tensors]
        [[0, 1, 2], [0, -1, -2]]
    """

    __slots__ = ("_both", "_x", "_y", "like")

    _both: Tensor | None
    """Both tensors concatenated, if they are small and of the same kind: one call copies both."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        if x.requires_grad or y.requires_grad:
            are_same, x = x is y, x.detach()
            y = x if are_same else y.detach()
        shape, dtype, device = x.shape, x.dtype, x.device
        self.like: tuple[Hashable, ...]
        """Equal for copies of the same shapes, dtypes and devices; see also ``row``."""
        if x is y:
            self.like = (shape, dtype, device)
            self._both, self._x = None, x.clone()
            self._y = self._x
        elif dtype is y.dtype and shape == y.shape and device == y.device and x.numel() < _MANY:
            self.like = (shape, dtype, device, None)
            self._both = torch.cat((x, y))
        else:
            self.like = (shape, dtype, device, y.shape, y.dtype, y.device)
            self._both, self._x, self._y = None, x.clone(), y.clone()

    @classmethod
    def kept(cls, x: Tensor, y: Tensor) -> Copies:
        """Wraps two tensors without copying them. Nothing else may use them."""
        copies = cls.__new__(cls)
        copies.like = (x.shape, x.dtype, x.device, y.shape, y.dtype, y.device)
        copies._both, copies._x, copies._y = None, x, y
        return copies

    @classmethod
    def joined(cls, batches: Sequence[Copies]) -> Copies:
        """Concatenates batches with equal ``row``, in their order."""
        if len(batches) == 1:
            return batches[0]
        first = batches[0].like
        alike = [each._both for each in batches if each._both is not None and each.like == first]
        if len(alike) == len(batches):
            both = torch.cat(alike).unflatten(0, (len(batches), 2, -1))
            return cls.kept(both[:, 0].flatten(0, 1), both[:, 1].flatten(0, 1))
        xs, ys = zip(*(each.tensors for each in batches), strict=True)
        x = torch.cat(xs)
        are_same = all(a is b for a, b in zip(xs, ys, strict=True))
        return cls.kept(x, x if are_same else torch.cat(ys))

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """The two tensors."""
        if self._both is None:
            return self._x, self._y
        x, y = self._both.chunk(2)
        return x, y

    @property
    def together(self) -> Tensor | None:
        """Both tensors concatenated, if they were copied together, else None."""
        return self._both

    @property
    def row(self) -> tuple[Hashable, ...]:
        """Equal for copies that can be joined: their rows have the same shapes, dtypes, devices."""
        x, y = self.tensors
        return (x.shape[1:], x.dtype, x.device, y.shape[1:], y.dtype, y.device, x is y)
