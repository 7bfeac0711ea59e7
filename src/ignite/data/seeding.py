"""Datasets whose random numbers depend only on the sample or batch, not on the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset, get_worker_info

from ignite._core.rng import mix
from ignite.data.random_state import random_scope, seed_all

__all__ = [
    "BatchSeeds",
    "CollateSeeds",
    "SeededDataset",
    "WorkerSeeds",
    "draws_nothing",
    "is_seeded",
    "seeded",
]


def seeded(dataset: Dataset[Any], seed: int = 0) -> SeededDataset:
    """Seeds the random numbers for each item of a dataset with (seed, epoch, index).

    An augmented sample then depends on the epoch, but neither on batch size, order, number of
    workers or processes, nor on where a run was stopped. Covers Python's ``random``, torch's
    default generator and ``numpy.random``.

    Args:
        dataset: a map-style dataset; its items are loaded one by one.
        seed: the seed.

    The epoch is set by a :func:`~ignite.data.resumable` loader; with any other loader, call
    ``set_epoch`` on the result. All workers, also persistent ones, see it.

    Raises:
        TypeError: ``dataset`` has no ``__getitem__``, or is an iterable dataset.

    Example:
        >>> class Noise(Dataset):
        ...     def __getitem__(self, i):
        ...         return torch.rand(1)
        >>> noise = seeded(Noise())
        >>> bool(noise[0] == noise[0]), bool(noise[0] == noise[1])
        (True, False)
    """
    if isinstance(dataset, IterableDataset) or not hasattr(type(dataset), "__getitem__"):
        raise TypeError(
            f"dataset should be map-style, with __getitem__, but given {type(dataset).__name__}"
        )
    return SeededDataset(dataset, seed)


class _Wrapped(Dataset[Any]):
    """A wrapper around a dataset, which forwards attributes to it."""

    _own: frozenset[str] = frozenset({"dataset"})

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._own:
            object.__setattr__(self, name, value)
        else:  # worker_init_fn may set the shard of the dataset
            setattr(self.dataset, name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dataset!r})"


class SeededDataset(_Wrapped):
    """The result of :func:`seeded`."""

    _own = frozenset({"dataset", "seed", "_epoch"})

    def __init__(self, dataset: Any, seed: int = 0) -> None:
        super().__init__(dataset)
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, in all processes that use this dataset."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: Any) -> Any:
        value, epoch = (
            (index.value, index.epoch) if type(index) is Key else (index, int(self._epoch))
        )
        with scope():
            return self._item(value, epoch)

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        epoch = indices.epoch if isinstance(indices, Indices | Key) else int(self._epoch)
        values = indices.value if type(indices) is Key else indices
        with scope():
            return [self._item(value, epoch) for value in values]

    def _item(self, index: Any, epoch: int) -> Any:
        seed_all(mix(self.seed, epoch, _number_of(index)))
        if callable(get_items := getattr(self.dataset, "__getitems__", None)):
            return get_items([index])[0]
        return self.dataset[index]


class Indices(list[Any]):
    """A list of sample indices, with the epoch and the seed of the batch."""

    __slots__ = ("epoch", "seed")

    epoch: int
    seed: int

    def __reduce__(self) -> tuple[Any, ...]:
        return tag, (list(self), self.epoch, self.seed)


class Key(NamedTuple):
    """An index of any other kind, with the epoch and the seed of the batch.

    Only for datasets of this module.
    """

    value: Any
    epoch: int
    seed: int


def tag(indices: Any, epoch: int, seed: int) -> Indices | Key:
    """Adds the epoch and the seed of the batch to the indices of a sampler."""
    if type(indices) is not list:
        return Key(indices, epoch, seed)
    tagged = Indices(indices)
    tagged.epoch = epoch
    tagged.seed = seed
    return tagged


class BatchSeeds(_Wrapped):
    """Seeds each batch with the seed that its indices carry.

    Requires :class:`Indices` or :class:`Key`.
    """

    _own = frozenset({"dataset", "last_seed", "_draws"})

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self.last_seed = 0  # of the batch that this process is loading
        self._draws = not draws_nothing(dataset)

    def __getitems__(self, indices: Indices | Key) -> Any:
        values = indices.value if type(indices) is Key else indices
        with self._seeded(indices):
            if callable(get_items := getattr(self.dataset, "__getitems__", None)):
                return get_items(values)
            return [self.dataset[index] for index in values]

    def __getitem__(self, index: Indices | Key) -> Any:
        with self._seeded(index):
            return self.dataset[index.value if type(index) is Key else index]

    def _seeded(self, indices: Indices | Key) -> AbstractContextManager[Any]:
        self.last_seed = indices.seed
        return seeded_scope(indices.seed) if self._draws else _NO_SCOPE


class CollateSeeds:
    """Seeds the user's ``collate_fn`` for each batch, since it may use random numbers, too."""

    def __init__(self, collate_fn: Any, dataset: BatchSeeds) -> None:
        self._collate_fn = collate_fn
        self._dataset = dataset  # has just loaded the samples, in the same process

    def __call__(self, samples: Any) -> Any:
        """Collates the samples."""
        with seeded_scope(mix(self._dataset.last_seed)):
            return self._collate_fn(samples)


class WorkerSeeds(IterableDataset[Any], _Wrapped):
    """Seeds the workers of an iterable dataset in each epoch, which persistent workers need."""

    _own = frozenset({"dataset", "_seed"})

    def __init__(self, dataset: Any) -> None:
        _Wrapped.__init__(self, dataset)
        self._seed = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_seed(self, seed: int) -> None:
        """Sets the seed of the next epoch."""
        self._seed.fill_(seed >> 1)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        if worker is not None:
            seed_all(mix(int(self._seed), worker.id))
        return iter(self.dataset)


def scope() -> AbstractContextManager[Any]:
    """Restores the random state of the program on exit; does nothing in a worker."""
    return random_scope() if get_worker_info() is None else _NO_SCOPE


def seeded_scope(seed: int) -> AbstractContextManager[Any]:
    """As :func:`scope`, with random numbers from ``seed`` inside."""
    if get_worker_info() is None:
        return random_scope(seed)
    seed_all(seed)
    return _NO_SCOPE


_NO_SCOPE = nullcontext()


def draws_nothing(dataset: Any) -> bool:
    """Whether loading items of this dataset certainly uses no random numbers."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) in (TensorDataset, list, tuple, range, torch.Tensor)


def is_seeded(dataset: Any) -> bool:
    """Whether the dataset, or one inside of it, is :func:`seeded`."""
    return any(True for _ in seeded_inside(dataset))


def seeded_inside(dataset: Any) -> Iterator[SeededDataset]:
    """Yields all :func:`seeded` datasets, also inside of subsets, concatenations and wrappers."""
    pending: list[Any] = [dataset]
    seen: list[Any] = []
    while pending:
        current = pending.pop()
        if any(current is each for each in seen) or not isinstance(current, Dataset):
            continue
        seen.append(current)
        if isinstance(current, SeededDataset):
            yield current
        pending.append(vars(current).get("dataset"))
        parts = vars(current).get("datasets")
        pending.extend(parts if isinstance(parts, list | tuple) else ())


def _number_of(index: Any) -> int:
    """Maps any index to an integer; indices with the same ``repr`` give the same."""
    if isinstance(index, int):
        return index
    try:
        return int(index)
    except (TypeError, ValueError):
        return mix(0, *repr(index).encode())
