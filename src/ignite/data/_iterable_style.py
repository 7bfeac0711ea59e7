"""Iterable-style data: iterable datasets, stateful loaders, other iterables."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.datapipes.datapipe import IterDataPipe

from ignite._core.pickles import iterate
from ignite._core.rng import mix
from ignite._core.torch_private import dataset_fetcher, forget_workers, shut_down_workers
from ignite.data._own_state import HeldState, sketch
from ignite.data._passes import Position, has_length
from ignite.data.loaders import update_dataloader
from ignite.data.random_state import PrivateRandom
from ignite.data.sampler import generators_of
from ignite.data.seeding import WorkerSeeds

__all__ = ["IterableSource", "StatefulSource", "StreamSource"]

_logger = logging.getLogger(__name__)


class _IterableStyle:
    """Base of sources without indices."""

    sketched = "data"

    def __init__(self, data: Any, seed: int | None, rank: int, world_size: int) -> None:
        self.sketch: int | None = None  # of the latest batch
        self._data = data
        self.seed = seed or 0
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        return len(self._data)

    def num_samples_after(self, start: Position, num_batches: int) -> int:
        size = getattr(self._data, "batch_size", None)
        factor = size if isinstance(size, int) else 1
        return start.num_samples + num_batches * factor * self._world_size

    def num_left(self, start: Position) -> int | None:
        return None  # their len() is an estimate

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        return position

    def describe(self, number: int) -> str:
        return f"made by {type(self._data).__name__}"

    def inner_state(self) -> Mapping[str, Any] | None:
        return None

    def _sketched(self, batches: Iterator[Any]) -> _Sketched:
        self.sketch = None
        return _Sketched(batches, self)

    def give_up(self, batches: Iterator[Any]) -> None:
        shut_down_workers(batches)

    def _private(self, epoch: int) -> PrivateRandom:
        return PrivateRandom(mix(self.seed, epoch, self._rank))

    def _fingerprint(self, kind: str, **others: Any) -> dict[str, Any]:
        length = len(self._data) if has_length(self._data) else None
        return {"kind": kind, "length": length, **others, "world_size": self._world_size}


class StreamSource(_IterableStyle):
    """A DataLoader over an iterable dataset."""

    def __init__(
        self, loader: DataLoader[Any], seed: int | None, rank: int, world_size: int
    ) -> None:
        super().__init__(loader, seed, rank, world_size)
        self._generator = torch.Generator()
        self._random: PrivateRandom | None = None
        self._fetcher: Any = None  # of a pass without workers
        self._is_over = False
        self._worker_seeds: WorkerSeeds | None = None
        changes: dict[str, Any] = {"generator": self._generator}
        if loader.num_workers > 0 and not isinstance(loader.dataset, IterDataPipe):
            changes["dataset"] = self._worker_seeds = WorkerSeeds(loader.dataset)
        self._loader = update_dataloader(loader, **changes)

    def held_state(self) -> HeldState:
        loader = self._data
        parts = {"dataset": loader.dataset, "collate_fn": loader.collate_fn}
        if hasattr(loader.dataset, "state_dict") and hasattr(loader.dataset, "load_state_dict"):
            del parts["dataset"]  # it saves its state itself
        is_kept = loader.num_workers and loader.persistent_workers
        return HeldState(
            {"samples": parts},
            in_workers=["samples"] if loader.num_workers else [],
            kept=["samples"] if is_kept else [],
        )

    @property
    def _is_stateful(self) -> bool:
        dataset = self._data.dataset
        return (
            self._data.num_workers == 0
            and hasattr(dataset, "state_dict")
            and hasattr(dataset, "load_state_dict")
        )

    def fingerprint(self) -> dict[str, Any]:
        loader, dataset = self._data, self._data.dataset
        length = len(dataset) if has_length(dataset) else None
        numbers = {
            "batch_size": loader.batch_size,
            "drop_last": loader.drop_last,
            "num_workers": loader.num_workers,
        }
        return {"kind": "stream", "length": length, **numbers, "world_size": self._world_size}

    def begin(self, start: Position) -> Iterator[Any]:
        dataset, inner = self._data.dataset, start.inner
        self._generator.manual_seed(mix(self.seed, start.epoch, self._rank))
        if callable(set_epoch := getattr(dataset, "set_epoch", None)):
            set_epoch(start.epoch)
        if self._worker_seeds is not None:
            self._worker_seeds.begin_epoch(mix(self.seed, start.epoch, self._rank), start.epoch)
        if self._data.num_workers > 0:
            return _skip(self._sketched(iterate(self._loader)), start.num_batches)
        self._random = self._private(start.epoch)
        self._fetcher, self._is_over = None, inner is not None and bool(inner["is_ended"])
        num_skipped = start.num_batches
        if self._is_stateful and inner is not None:
            num_skipped = 0
            dataset.load_state_dict(inner["dataset"])
            self._random.load_state_dict(inner["random"])
            if self._is_over:
                return iter(())
        batches = _PrivatelyDrawn(lambda: iterate(self._loader), self._random)
        self._fetcher = dataset_fetcher(batches)
        return _skip(self._sketched(batches), num_skipped)

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        size, before = self._data.batch_size, saved.get("batch_size")
        if not is_changed or size is None or before == size:
            return position
        num_batches = position.num_samples // (size * self._world_size)
        return Position(
            position.epoch, num_batches, position.num_samples, position.is_complete, position.inner
        )

    def inner_state(self) -> Mapping[str, Any] | None:
        if not self._is_stateful or self._random is None:
            return None
        # The dataset may have restarted by itself when the last batch requested more samples than
        # there were.
        is_ended = self._is_over or bool(getattr(self._fetcher, "ended", False))
        return {
            "dataset": self._data.dataset.state_dict(),
            "random": self._random.state_dict(),
            "is_ended": is_ended,
        }

    def give_up(self, batches: Iterator[Any]) -> None:
        shut_down_workers(batches)
        forget_workers(self._loader)


class StatefulSource(_IterableStyle):
    """Data that save their position, such as torchdata's ``StatefulDataLoader``."""

    def fingerprint(self) -> dict[str, Any]:
        return self._fingerprint("stateful", batch_size=getattr(self._data, "batch_size", None))

    def begin(self, start: Position) -> Iterator[Any]:
        if start.inner is not None:
            self._data.load_state_dict(start.inner)
        else:
            for generator in generators_of(getattr(self._data, "sampler", None)):
                generator.manual_seed(mix(self.seed, start.epoch))
        # The order of an epoch is drawn when it starts: from the seed of the epoch, not from the
        # random state of the program.
        return _PrivatelyDrawn(
            lambda: iterate(self._data), self._private(start.epoch), only_first=True
        )

    def inner_state(self) -> Mapping[str, Any] | None:
        state: Mapping[str, Any] = self._data.state_dict()
        return state

    def held_state(self) -> HeldState:
        if not isinstance(self._data, DataLoader):
            return HeldState({})  # it saves its state itself
        names = ("sampler", "batch_sampler", "dataset", "collate_fn")
        parts = {name: getattr(self._data, name) for name in names}
        knows = ("state_dict", "load_state_dict")
        return HeldState(
            {
                "data": {
                    name: one
                    for name, one in parts.items()
                    if not all(hasattr(one, method) for method in knows)
                }
            }
        )


class IterableSource(_IterableStyle):
    """A list, or any other iterable of batches."""

    @property
    def _is_plain(self) -> bool:
        return type(self._data) in (list, tuple, range)

    def fingerprint(self) -> dict[str, Any]:
        return self._fingerprint("iterable")

    def num_left(self, start: Position) -> int | None:
        return len(self._data) - start.num_batches if self._is_plain else None

    def begin(self, start: Position) -> Iterator[Any]:
        if self._is_plain:
            return itertools.islice(self._data, start.num_batches, None)
        batches = _PrivatelyDrawn(lambda: iterate(self._data), self._private(start.epoch))
        return _skip(self._sketched(batches), start.num_batches)

    def held_state(self) -> HeldState:
        is_plain = self._is_plain or isinstance(self._data, torch.Tensor | dict | deque)
        return HeldState({} if is_plain else {"data": {"data": self._data}})

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        if position.num_batches == 0 or not isinstance(self._data, Iterator):
            return position
        if is_changed:
            return Position(position.epoch)
        raise ValueError(
            "data should be an iterable that can be iterated over again, to resume after "
            f"{position.num_batches} batches, but given a {type(self._data).__name__}, which can "
            "be iterated over only once. Use a DataLoader, a list, or an object with __iter__. If "
            "it continues at the right position by itself, use "
            'resumable(..., on_change="accept")'
        )


class _PrivatelyDrawn:
    """An iterator that is created and advanced with its own stream of random numbers.

    Numpy generates normal numbers in pairs, and the second one is lost at the end of a block. So
    skipped batches must be loaded one by one, too.
    """

    __slots__ = ("_batches", "_only_first", "_random")

    def __init__(
        self, make: Callable[[], Iterator[Any]], random: PrivateRandom, only_first: bool = False
    ) -> None:
        self._random: AbstractContextManager[Any] = random
        self._only_first = only_first
        with random:
            self._batches = make()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._random:
            batch = next(self._batches)
        if self._only_first:
            self._random = _NO_RANDOM
        return batch

    def __getattr__(self, name: str) -> Any:
        if name in _PrivatelyDrawn.__slots__:
            raise AttributeError(name)
        return getattr(self._batches, name)


_NO_RANDOM = nullcontext()


class _Sketched:
    """An iterator that records a sketch of the latest batch in its source."""

    __slots__ = ("_batches", "_source")

    def __init__(self, batches: Iterator[Any], source: _IterableStyle) -> None:
        self._batches = batches
        self._source = source

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._source.sketch = sketch(batch)
        return batch

    def __getattr__(self, name: str) -> Any:
        if name in _Sketched.__slots__:
            raise AttributeError(name)
        return getattr(self._batches, name)


def _skip(batches: Iterator[Any], number: int) -> Iterator[Any]:
    """Loads batches and drops them."""
    num_skipped = sum(1 for _ in itertools.islice(batches, number))
    if num_skipped < number:
        _logger.warning(
            "The data has only %s batches, but had at least %s before: nothing is left of this "
            "epoch. Epochs differ if the data has changed, or depends on random numbers drawn "
            "elsewhere",
            num_skipped,
            number,
        )
    return batches
