"""Indices that somebody else's sampler draws: the same again for the same seed and pass, the program none the wiser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from ignite.data._mixing import mix
from ignite.data._random import PrivateRandom
from ignite.data.order import Cutting, Order

__all__ = ["DrawnOrder", "cut_stream", "draw", "generators_of", "has_length"]

_NUM_AT_ONCE = 1024


class DrawnOrder:
    """The order of samples that a sampler draws for a pass.

    Args:
        sampler: gives indices. Told the pass by ``set_epoch``, if it has that; its ``generator`` is seeded, if it has
            one, and put back afterwards.
        seed: another seed lets the sampler draw others.

    Example:
        >>> sampler = torch.utils.data.RandomSampler(range(100), replacement=True)
        >>> order = DrawnOrder(sampler, seed=1)
        >>> bool((order.of(3) == order.of(3)).all()), bool((order.of(3) == order.of(4)).all())
        (True, False)
    """

    def __init__(self, sampler: Iterable[Any], seed: int = 0) -> None:
        self.sampler = sampler
        self.seed = seed

    @property
    def num_samples(self) -> int:
        """How many indices a pass has."""
        return len(self.sampler)  # type: ignore[arg-type]

    def of(self, epoch: int) -> Order:
        """All indices of a pass; as a tensor if they are numbers."""
        indices = list(draw(self.sampler, self.seed, epoch))
        if indices and all(type(index) is int for index in indices):
            return torch.tensor(indices)
        return indices


def draw(sampler: Iterable[Any], seed: int, epoch: int) -> Iterator[Any]:
    """What a sampler gives in a pass, drawn in private random state: at once if it has a length, else in chunks."""
    _set_epoch(sampler, epoch)
    private = PrivateRandom(mix(seed, epoch), generators_of(sampler))
    if has_length(sampler):
        with private:
            drawn = list(sampler)
        return iter(drawn)
    return _Chunks(sampler, private)


class _Chunks:
    """Gives indices one by one, and draws many at a time; the first ones at once, see ``Indexer.arm``."""

    def __init__(self, sampler: Iterable[Any], private: PrivateRandom) -> None:
        self._private = private
        with private:
            self._indices = iter(sampler)
            self._drawn = iter(list(islice(self._indices, _NUM_AT_ONCE)))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        for index in self._drawn:
            return index
        with self._private:
            self._drawn = iter(list(islice(self._indices, _NUM_AT_ONCE)))
        return next(self._drawn)


def cut_stream(indices: Iterator[Any], cutting: Cutting, num_seen: int = 0) -> Iterator[list[Any]]:
    """As :func:`~ignite.data.order.cut`, where nobody knows how many indices there are."""
    next(islice(indices, num_seen, num_seen), None)
    size = cutting.global_size
    held: list[Any] = []  # one global batch is held back, since a small remainder would join it
    while True:
        coming = list(islice(indices, size))
        if len(coming) == size:
            if held:
                yield _share(held, cutting)
            held = coming
            continue
        if cutting.drop_last:
            coming = []
        elif len(coming) < cutting.world_size:
            held, coming = held + coming, []
        for last in (held, coming):
            if share := _share(last, cutting):
                yield share
        return


def _share(samples: list[Any], cutting: Cutting) -> list[Any]:
    low, high = cutting.share(len(samples))
    return samples[low:high]


def has_length(x: Any) -> bool:
    """Whether ``len(x)`` is known; an iterable data set may have a ``__len__`` that raises TypeError."""
    try:
        len(x)
    except (TypeError, NotImplementedError):
        return False
    return True


def _set_epoch(sampler: Any, epoch: int) -> None:
    for each in _chain(sampler):
        if callable(set_epoch := getattr(each, "set_epoch", None)):
            set_epoch(epoch)


def generators_of(sampler: Any) -> list[torch.Generator]:
    """The generators that a sampler, and those it is made of, draw from."""
    found = [getattr(each, "generator", None) for each in _chain(sampler)]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _chain(sampler: Any) -> Iterator[Any]:
    """A sampler, and those it is made of: a batch sampler has a ``sampler``."""
    seen: list[Any] = []
    while sampler is not None and not any(sampler is each for each in seen):
        seen.append(sampler)
        yield sampler
        sampler = getattr(sampler, "sampler", None)
