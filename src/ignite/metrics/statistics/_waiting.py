"""Copies of small batches wait to be joined: what is computed from many of them together costs one call, not many."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from torch import Tensor

from ignite.metrics.statistics._copies import Copies

LARGE = 2**12
"""Batches of so many numbers do not wait: computing takes longer than calling for it."""
_PORTION = 2**14
"""How many numbers wait to be joined at most."""


class Waiting:
    """Copies that wait to be joined.

    Example:
        >>> import torch
        >>> waiting = Waiting()
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
        """Takes in copies of so many numbers; says whether it is time to go on with what waits."""
        group = self._groups.get(copies.like)
        if group is None:
            group = self._groups[copies.like] = []
        group.append(copies)
        self._num_numbers += num_numbers
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
        if len(groups) > 1:
            groups = _by_rows(groups)
        return [Copies.joined(group).tensors for group in groups.values()]


def _by_rows(groups: Mapping[Hashable, list[Copies]]) -> dict[Hashable, list[Copies]]:
    """The same in fewer groups: batches of different sizes can be joined."""
    found: dict[Hashable, list[Copies]] = {}
    for group in groups.values():
        found.setdefault(group[0].row, []).extend(group)
    return found
