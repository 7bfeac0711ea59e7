"""Small batches wait to be joined, so that what is summed up over many of them is summed up once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import Reading

LARGE = 2**12
"""Batches of so many numbers do not wait: looking at them takes longer than calling for it."""
_PORTION = 2**14
"""How many numbers wait to be joined at most."""


class Pair:
    """Two tensors of an output, and copies of them, made when the first of several statistics asks.

    Args:
        reading: of the output.
        select: ``select(output, *args) -> (x, y)``, two tensors of shape (B, ...).
        args: further arguments of ``select``.
    """

    __slots__ = ("_copies", "is_large", "num_examples", "x", "y")

    def __init__(self, reading: Reading, select: Callable[..., tuple[Tensor, Tensor]], *args: Hashable) -> None:
        pair: tuple[Tensor, Tensor] = reading.derive(select, *args)
        self.x, self.y = pair
        self.num_examples: int = self.x.shape[0]
        self.is_large = self.x.numel() >= LARGE
        self._copies: Any = None

    def copies(self) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Copies that do not change with the output, and before them what tells those that can be joined."""
        if self._copies is None:
            x, y = self.x, self.y
            kind = (x.dtype, y.dtype, x.shape[1:], y.shape[1:], x.device, y.device)
            self._copies = (kind, (x.clone(), y.clone()))
        return self._copies  # type: ignore[no-any-return]


class Waiting:
    """Pairs of small tensors that wait to be joined.

    Example:
        >>> waiting, reading = Waiting(), Reading((torch.ones(2), torch.zeros(2)))
        >>> for _ in range(2):
        ...     is_full = waiting.add(Pair(reading, lambda output: output))
        >>> [(x.tolist(), y.tolist()) for x, y in waiting.taken()]
        [([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0])]
    """

    __slots__ = ("_groups", "_num_numbers")

    def __init__(self) -> None:
        self._groups: dict[Any, list[tuple[Tensor, Tensor]]] = {}
        self._num_numbers = 0

    def add(self, pair: Pair) -> bool:
        """Takes in a copy; says whether it is time to go on with what waits."""
        kind, copies = pair.copies()
        group = self._groups.get(kind)
        if group is None:
            group = self._groups[kind] = []
        group.append(copies)
        self._num_numbers += copies[0].numel()
        return self._num_numbers >= _PORTION

    def _undoing(self) -> Callable[[], None]:
        """A function that takes back all that comes from now on."""
        groups, num_numbers = self._groups, self._num_numbers
        lengths = {kind: len(group) for kind, group in groups.items()}

        def undo() -> None:
            for kind, group in list(groups.items()):
                if kind in lengths:
                    del group[lengths[kind] :]
                else:
                    del groups[kind]
            self._groups, self._num_numbers = groups, num_numbers

        return undo

    def taken(self) -> list[tuple[Tensor, Tensor]]:
        """What has waited, joined: one pair for each kind of tensors. Nothing waits any more."""
        groups, self._groups, self._num_numbers = self._groups, {}, 0
        return [_joined(group) for group in groups.values()]


def _joined(group: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(group) == 1:
        return group[0]
    xs, ys = zip(*group, strict=True)
    return torch.cat(xs), torch.cat(ys)
