"""Arrays as data that can be put to a position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ignite.data._position import Position
from ignite.data.arrays import ArrayLoader

__all__ = ["ArraySource"]


class ArraySource:
    """An :class:`~ignite.data.ArrayLoader`, from any position on: indices are skipped, nothing is gathered.

    Args:
        loader: the user's; stays as it is.
        seed: of the orders, instead of the loader's.
        rank: number of this process, unless the loader knows that it shares its samples.
        world_size: among how many processes the samples are shared, unless the loader knows.
    """

    def __init__(self, loader: ArrayLoader, seed: int | None, rank: int, world_size: int) -> None:
        self._loader = loader.copy()
        if loader.cutting.world_size == 1:
            self._loader.cutting = replace(loader.cutting, rank=rank, world_size=world_size)
        if seed is not None:
            self._loader.seed = seed

    @property
    def seed(self) -> int:
        return self._loader.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._loader.seed = seed

    def __len__(self) -> int:
        return len(self._loader)

    def fingerprint(self) -> dict[str, Any]:
        cutting = self._loader.cutting
        return {
            "kind": "arrays",
            "length": self._loader.order.num_samples,
            "batch_size": cutting.batch_size,
            "drop_last": cutting.drop_last,
            "world_size": cutting.world_size,
        }

    def begin(self, start: Position) -> Iterator[Any]:
        """Batches from ``start`` on."""
        return self._loader.batches(start.epoch, start.num_samples)

    def num_samples_after(self, start: Position, num_batches: int) -> int:
        """Samples of all processes in this pass."""
        return start.num_samples + self._loader.cutting.num_seen(self._num_left(start), num_batches)

    def num_left(self, start: Position) -> int:
        """Batches of this process from ``start`` on."""
        return self._loader.cutting.num_batches(self._num_left(start))

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        """The position as it can be taken up by the processes there are now."""
        if self._num_left(position) < self._loader.cutting.world_size:
            return replace(position, is_complete=True)
        return position

    def describe(self, number: int) -> str:
        """What is in a batch, for error messages."""
        return f"of arrays in batches of {self._loader.batch_size}"

    def inner_state(self) -> None:
        """Indices are all there is to know."""
        return

    def give_up(self, batches: Iterator[Any]) -> None:
        """There are no workers."""

    def _num_left(self, position: Position) -> int:
        return self._loader.order.num_samples - position.num_samples
