"""Datasets whose random numbers depend only on the sample or batch, not on the process."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset, get_worker_info

from ignite._core.logs import join_names
from ignite._core.rng import generator_state, mix, seed_generator
from ignite.data._own_state import OwnState
from ignite.data._variables import variables_of
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

_logger = logging.getLogger(__name__)


def seeded(dataset: Dataset[Any], seed: int = 0) -> SeededDataset:
    """Seeds the random numbers for each item of a dataset with (seed, epoch, index).

    An augmented sample then depends on the epoch, but neither on batch size, order, number of
    workers or processes, nor on where a run was stopped. Covers Python's ``random``, torch's
    default generator, ``numpy.random``, and generators that the dataset has made.

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

    _own = frozenset({"dataset", "seed", "_epoch", "_generators"})

    def __init__(self, dataset: Any, seed: int = 0) -> None:
        super().__init__(dataset)
        self.seed = seed
        self._generators = OwnGenerators(dataset)
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
        seed = mix(self.seed, epoch, _number_of(index))
        seed_all(seed)
        self._generators.seed(seed)
        if callable(get_items := getattr(self.dataset, "__getitems__", None)):
            return get_items([index])[0]
        return self.dataset[index]


class OwnGenerators:
    """Random generators that a dataset or a function has made: seeded for each batch in workers.

    A worker has copies of them, whose position depends on the batches that it has loaded before.

    Args:
        root: the dataset or function.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._found: list[tuple[Any, int]] | None = None

    def seed(self, seed: int) -> None:
        """Seeds each from ``seed`` and the state that it had at the first call."""
        if self._found is None:
            self._found = [(one, _digest_of(one)) for one in self._look()]
        for i, (generator, initial) in enumerate(self._found):
            seed_generator(generator, mix(seed, i, initial))

    def has_new(self) -> bool:
        """Whether generators were made since; they are seeded from the next call on."""
        known = self._found or []
        new = [one for one in self._look() if not any(one is other for other, _ in known)]
        self._found = [*known, *((one, 0) for one in new)]
        return bool(new)

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnGenerators, (self._root,)

    def _look(self) -> list[Any]:
        found = variables_of({"data": self._root}).generators
        return [found[path].value for path in sorted(found)]


def _digest_of(generator: Any) -> int:
    state = generator_state(generator)
    return zlib.crc32(state.encode() if isinstance(state, str) else bytes(state.tolist()))


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

    _own = frozenset({"dataset", "last_seed", "_draws", "_generators", "_has_loaded"})

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self.last_seed = 0  # of the batch that this process is loading
        self._draws = not draws_nothing(dataset)
        self._generators = OwnGenerators(dataset)
        self._has_loaded = False  # in this worker

    def __getitems__(self, indices: Indices | Key) -> Any:
        values = indices.value if type(indices) is Key else indices

        def load() -> Any:
            if callable(get_items := getattr(self.dataset, "__getitems__", None)):
                return get_items(values)
            return [self.dataset[index] for index in values]

        return self._loaded(load, indices.seed)

    def __getitem__(self, index: Indices | Key) -> Any:
        value = index.value if type(index) is Key else index
        return self._loaded(lambda: self.dataset[value], index.seed)

    def _loaded(self, load: Callable[[], Any], seed: int) -> Any:
        self.last_seed = seed
        with seeded_scope(seed) if self._draws else _NO_SCOPE:
            worker = get_worker_info()
            if worker is None:
                return load()
            self._generators.seed(seed)
            if self._has_loaded:
                return load()
            self._has_loaded = True
            watch, loaded = WorkerWatch(self.dataset), load()
            if self._generators.has_new():
                # The dataset has seeded them in the first batch of this worker, whichever that is.
                seed_all(seed)
                self._generators.seed(seed)
                loaded = load()
            if worker.id == 0:
                watch.compare()
            return loaded


class CollateSeeds:
    """Seeds the user's ``collate_fn`` for each batch, since it may use random numbers, too."""

    def __init__(self, collate_fn: Any, dataset: BatchSeeds) -> None:
        self._collate_fn = collate_fn
        self._dataset = dataset  # has just loaded the samples, in the same process
        self._generators = OwnGenerators(collate_fn)

    def __call__(self, samples: Any) -> Any:
        """Collates the samples."""
        seed = mix(self._dataset.last_seed)
        with seeded_scope(seed):
            if get_worker_info() is not None:
                self._generators.seed(seed)
            return self._collate_fn(samples)


class WorkerSeeds(IterableDataset[Any], _Wrapped):
    """Seeds the workers of an iterable dataset in each epoch, which persistent workers need."""

    _own = frozenset({"dataset", "_seed", "_epoch", "_generators", "_watch"})

    def __init__(self, dataset: Any) -> None:
        _Wrapped.__init__(self, dataset)
        self._seed = torch.zeros((), dtype=torch.int64).share_memory_()
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._generators = OwnGenerators(dataset)
        self._watch: WorkerWatch | None = None

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Sets the seed and the number of the next epoch."""
        self._seed.fill_(seed >> 1)
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        if worker is not None:
            seed = mix(int(self._seed), worker.id)
            seed_all(seed)
            self._generators.seed(seed)
            if self._watch is None:
                self._watch = WorkerWatch(self.dataset)
            elif worker.id == 0:  # in a later epoch of a persistent worker
                self._watch.compare()
            if callable(set_epoch := getattr(self.dataset, "set_epoch", None)):
                set_epoch(int(self._epoch))
        return iter(self.dataset)


class WorkerWatch:
    """Compares numbers that a dataset holds in a worker: what changes there is lost with the worker.

    Args:
        dataset: the dataset.
    """

    def __init__(self, dataset: Any) -> None:
        self._state = OwnState({"dataset": dataset})

    def compare(self) -> list[str]:
        """Logs a warning about what has changed since; returns the paths to it."""
        values = self._state.take()["values"]
        # A dictionary that grows is most often a cache.
        changed = [path for path, value in values.items() if not isinstance(value, dict)]
        if changed:
            _logger.warning(
                "These variables of the dataset change in the workers of its loader, and are lost "
                "with them, so that a resumed run may have other batches: %s. Let samples depend "
                "on their index and on set_epoch alone, or load them with num_workers=0",
                join_names(changed),
            )
        return changed


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
