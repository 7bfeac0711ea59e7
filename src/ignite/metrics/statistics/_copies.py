"""Copies of the two tensors of a batch, made and joined in few calls."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

_MANY = 2**10
"""Of so many numbers a copy takes longer than the call for it."""


class Copies:
    """Copies of two tensors, which do not change with them, without gradients.

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
    """Both, one after the other, if they are alike: one call instead of two."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        if x.requires_grad or y.requires_grad:
            are_same, x = x is y, x.detach()
            y = x if are_same else y.detach()
        shape, dtype, device = x.shape, x.dtype, x.device
        self.like: tuple[Hashable, ...]
        """Equal for copies that are alike; see also ``row``."""
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
        """Tensors that nobody else has, as they are."""
        copies = cls.__new__(cls)
        copies.like = (x.shape, x.dtype, x.device, y.shape, y.dtype, y.device)
        copies._both, copies._x, copies._y = None, x, y
        return copies

    @classmethod
    def joined(cls, batches: Sequence[Copies]) -> Copies:
        """Those of several batches, of which all have rows of the same kind, in their order."""
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
        """Both, each of its own shape."""
        if self._both is None:
            return self._x, self._y
        x, y = self._both.chunk(2)
        return x, y

    @property
    def together(self) -> Tensor | None:
        """Both, one after the other, if they are alike and small."""
        return self._both

    @property
    def row(self) -> tuple[Hashable, ...]:
        """Equal for copies that can be joined: which have rows of the same shapes, dtypes and devices."""
        x, y = self.tensors
        return (x.shape[1:], x.dtype, x.device, y.shape[1:], y.dtype, y.device, x is y)
