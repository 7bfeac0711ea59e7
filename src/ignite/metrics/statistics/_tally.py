"""Counting in portions: a count costs the same for one batch as for many together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_PORTION = 4096
"""How many indices wait to be counted at most, unless a batch is larger."""


class Tally:
    """How often each index has come.

    Args:
        counts: one for each index, int64, shape (K,); what is counted is added to them.

    Example:
        >>> tally = Tally(torch.zeros(3, dtype=torch.int64))
        >>> tally.add(torch.tensor([0, 2, 2]))
        >>> tally.settled().tolist()
        [1, 0, 2]
    """

    __slots__ = ("_counted", "_counts", "_keeps", "_num_waiting", "_waiting")

    def __init__(self, counts: Tensor) -> None:
        self._counts = counts
        self._waiting: list[Tensor] = []
        self._num_waiting = 0
        self._keeps = False
        """Whether the last indices have to wait, because they may be taken back."""
        self._counted: list[Tensor] = []
        """What was counted all the same, since somebody could take it back."""

    def add(self, indices: Tensor) -> None:
        """Counts ``indices``, integers in [0, K), shape (M,), soon. They must not be written to after that."""
        self._waiting.append(indices)
        self._num_waiting += indices.shape[0]
        if self._num_waiting >= _PORTION and not self._keeps:
            self.settled()

    def _undoing(self) -> Callable[[], None]:
        """A function that takes back all indices from now on, up to the next call of ``_undoing``."""
        if self._num_waiting >= _PORTION:
            self.settled()
        self._keeps, self._counted = True, []
        length, num_waiting = len(self._waiting), self._num_waiting

        def undo() -> None:
            if not self._counted:
                del self._waiting[length:]
                self._num_waiting = num_waiting
                return
            newer = torch.cat(self._counted)[num_waiting:]  # those that had waited came first
            self._counts.index_add_(0, newer, torch.full_like(newer, -1))
            self._waiting, self._num_waiting, self._counted = [], 0, []

        return undo

    def settled(self) -> Tensor:
        """The counts, up to date."""
        if self._waiting:
            indices = torch.cat(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
            self._waiting, self._num_waiting = [], 0
            indices = indices.to(self._counts.device, torch.int64)
            if self._keeps:
                self._counted.append(indices)
            one = torch.ones(1, dtype=torch.int64, device=indices.device)
            self._counts.index_add_(0, indices, one.expand(indices.shape[0]))
        return self._counts
