"""Samplers of batches of indices that can start at any position."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, Protocol

import torch
from torch.utils.data import Sampler

from ignite._core.rng import mix
from ignite.data._passes import has_length
from ignite.data.order import Cutting, Order, SampleOrder, cut
from ignite.data.random_state import PrivateRandom

__all__ = ["ShardedBatchSampler"]

_NUM_AT_ONCE = 1024  # indices drawn together from a sampler without length


class ShardedBatchSampler(Sampler[list[int]]):
    """Shards batches of indices over processes, without padding or dropping samples.

    The order of samples depends only on the seed and the epoch, and the position in it only on the
    number of samples that all processes have seen. So an epoch can be stopped anywhere and resumed,
    also with another number of processes. See :class:`~ignite.data.order.Cutting` for how batches
    are formed.

    Args:
        num_samples_or_sampler: the number of samples; or a sampler whose indices are drawn once per
            epoch, with private random state, and must be the same in all processes.
        batch_size: samples per batch and process.
        shuffle: whether to shuffle in each epoch; no effect with a sampler.
        seed: seed for shuffling, the same in all processes.
        rank: rank of this process.
        world_size: number of processes.
        drop_last: whether to drop the last batch of all processes if it is incomplete.

    State:
        ``epoch``, ``num_seen`` (samples seen by all processes in this epoch), ``seed``,
        ``num_samples``. Batches that the workers of a loader prefetch count as seen: to save the
        position after the last delivered batch, use :func:`~ignite.data.resumable`.

    Example:
        >>> sampler = ShardedBatchSampler(5, batch_size=2, shuffle=False)
        >>> list(sampler), len(sampler)
        ([[0, 1], [2, 3], [4]], 3)
        >>> sampler.load_state_dict(sampler.state_dict() | {"num_seen": 2})
        >>> list(sampler)
        [[2, 3], [4]]
    """

    passes_can_be_repeated: ClassVar[bool] = True
    """The order depends on the seed and the epoch alone."""

    def __init__(
        self,
        num_samples_or_sampler: int | Iterable[Any],
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        self.cutting = Cutting(batch_size, rank, world_size, drop_last)
        self.order: SampleOrder | DrawnOrder
        if isinstance(num_samples_or_sampler, int):
            self.order = SampleOrder(num_samples_or_sampler, seed, shuffle)
        else:
            self.order = DrawnOrder(num_samples_or_sampler, seed)
        self.epoch = 0
        self._num_seen = 0
        self._resumes_at = 0

    @property
    def seed(self) -> int:
        """The seed for shuffling."""
        return self.order.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self.order.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Sets the next epoch; a loaded position in the same epoch is kept."""
        if epoch != self.epoch:
            self.epoch, self._num_seen, self._resumes_at = epoch, 0, 0

    def __len__(self) -> int:
        """Returns the number of batches of this process in a whole epoch."""
        return self.cutting.num_batches(self.order.num_samples)

    def __iter__(self) -> Iterator[list[int]]:
        return self._give()

    def _give(self) -> Iterator[list[int]]:
        # At the first batch, not at iter(): a loader with workers creates two iterators, and uses
        # the second one.
        num_seen, self._resumes_at = self._resumes_at, 0
        for i, batch in enumerate(self.batches(self.epoch, num_seen), start=1):
            self._num_seen = self.num_seen_after(num_seen, i)
            yield batch

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[list[Any]]:
        """Returns an iterator over an epoch from a position on; does not change the sampler."""
        return cut(self.order.of(epoch), self.cutting, num_seen)

    def num_seen_after(self, num_seen: int, num_batches: int) -> int:
        """Returns the samples seen by all processes, ``num_batches`` batches after ``num_seen``."""
        return num_seen + self.cutting.num_seen(self.order.num_samples - num_seen, num_batches)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position as plain numbers."""
        return {
            "epoch": self.epoch,
            "num_seen": self._num_seen,
            "seed": self.seed,
            "num_samples": self.order.num_samples,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Lets the next iteration continue where the state was saved.

        Raises:
            ValueError: the number of samples differs.
        """
        if state_dict["num_samples"] != self.order.num_samples:
            raise ValueError(
                f"num_samples of the state should be {self.order.num_samples}, as many as there "
                f"are now, but given {state_dict['num_samples']}"
            )
        self.epoch, self.seed = state_dict["epoch"], state_dict["seed"]
        self._num_seen = self._resumes_at = state_dict["num_seen"]


class Batches(Protocol):
    """Batch samplers that can start at any position, such as :class:`ShardedBatchSampler`."""

    seed: int

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[Any]:
        """Returns the batches of this process in an epoch, after ``num_seen`` samples."""
        ...

    def __len__(self) -> int: ...


class StreamedBatches:
    """Forms batches from the indices of a sampler without length.

    Args:
        sampler: the sampler; it must draw the same indices in all processes.
        seed: seed for the sampler.
        cutting: batch size and sharding.
    """

    def __init__(self, sampler: Iterable[Any], seed: int, cutting: Cutting) -> None:
        self.sampler = sampler
        self.seed = seed
        self.cutting = cutting

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[list[Any]]:
        return cut_stream(draw(self.sampler, self.seed, epoch), self.cutting, num_seen)

    def __len__(self) -> int:
        raise TypeError(f"{type(self.sampler).__name__} has no length")


class OwnBatches:
    """The batches of a custom batch sampler; here, ``num_seen`` counts batches.

    Args:
        batch_sampler: the batch sampler; it draws batches for this process only.
        seed: seed for the sampler.
    """

    def __init__(self, batch_sampler: Iterable[Any], seed: int) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.sketch: int | None = None
        """Differs for another epoch than the last one that was drawn; None without length."""

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[Any]:
        batches = draw(self.batch_sampler, self.seed, epoch)
        if has_length(self.batch_sampler):
            drawn = list(batches)
            self.sketch, batches = sketch_of(drawn), iter(drawn)
        return itertools.islice(batches, num_seen, None)

    def __len__(self) -> int:
        return len(self.batch_sampler)  # type: ignore[arg-type]


class DrawnOrder:
    """The order of samples that a custom sampler draws for an epoch, with private random state.

    Args:
        sampler: the sampler. Its ``set_epoch``, if it has one, is called with the epoch; its
            ``generator`` is seeded, and restored afterwards.
        seed: seed for the sampler.

    Example:
        >>> sampler = torch.utils.data.RandomSampler(range(100), replacement=True)
        >>> order = DrawnOrder(sampler, seed=1)
        >>> bool((order.of(3) == order.of(3)).all()), bool((order.of(3) == order.of(4)).all())
        (True, False)
    """

    def __init__(self, sampler: Iterable[Any], seed: int = 0) -> None:
        self.sampler = sampler
        self.seed = seed
        self.sketch: int | None = None
        """Differs for another order than the last one that was drawn."""

    @property
    def num_samples(self) -> int:
        """Number of indices per epoch."""
        return len(self.sampler)  # type: ignore[arg-type]

    def of(self, epoch: int) -> Order:
        """Returns all indices of an epoch; as a tensor if they are integers."""
        indices = list(draw(self.sampler, self.seed, epoch))
        self.sketch = sketch_of(indices)
        if indices and all(type(index) is int for index in indices):
            return torch.tensor(indices)
        return indices


def sketch_of(drawn: list[Any]) -> int:
    """Returns a number that differs, most likely, for other indices.

    Example:
        >>> sketch_of([[0, 1], [2]]) == sketch_of([[0, 1], [2]]) != sketch_of([[1, 0], [2]])
        True
    """
    return zlib.crc32(repr(drawn).encode())


def draw(sampler: Iterable[Any], seed: int, epoch: int) -> Iterator[Any]:
    """Draws the indices of an epoch with private random state, in chunks if their number is unknown."""
    _set_epoch(sampler, epoch)
    private = PrivateRandom(mix(seed, epoch), generators_of(sampler))
    if has_length(sampler):
        with private:
            drawn = list(sampler)
        return iter(drawn)
    return _Chunks(sampler, private)


class _Chunks:
    """Draws indices in chunks, the first one at creation, see ``Indexer.arm``."""

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
    """Forms batches like :func:`~ignite.data.order.cut`, for an unknown number of indices."""
    next(islice(indices, num_seen, num_seen), None)
    size = cutting.global_size
    held: list[Any] = []  # the latest global batch, to which a small remainder would be added
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


def _set_epoch(sampler: Any, epoch: int) -> None:
    for each in _chain(sampler):
        if callable(set_epoch := getattr(each, "set_epoch", None)):
            set_epoch(epoch)


def generators_of(sampler: Any) -> list[torch.Generator]:
    """Returns the generators of a sampler and of those inside of it."""
    found = [getattr(each, "generator", None) for each in _chain(sampler)]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _chain(sampler: Any) -> Iterator[Any]:
    """Yields a sampler and those inside of it, such as the ``sampler`` of a batch sampler."""
    seen: list[Any] = []
    while sampler is not None and not any(sampler is each for each in seen):
        seen.append(sampler)
        yield sampler
        sampler = getattr(sampler, "sampler", None)
