"""Indices that know which batch of which pass they are, on their way from the sampler to the data set."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Indices", "Key", "tag"]


class Indices(list[Any]):
    """A list of indices of samples, with the number of their pass and the seed of their batch."""

    __slots__ = ("epoch", "seed")

    epoch: int
    seed: int

    def __reduce__(self) -> tuple[Any, ...]:
        return tag, (list(self), self.epoch, self.seed)


class Key(NamedTuple):
    """Any other kind of index, with the same numbers. Only our own data sets understand it."""

    value: Any
    epoch: int
    seed: int


def tag(indices: Any, epoch: int, seed: int) -> Indices | Key:
    """Adds the numbers of its pass and batch to what a sampler has given."""
    if type(indices) is not list:
        return Key(indices, epoch, seed)
    tagged = Indices(indices)
    tagged.epoch = epoch
    tagged.seed = seed
    return tagged
