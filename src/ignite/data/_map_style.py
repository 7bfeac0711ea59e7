"""Loaders over map-style datasets, which start at a position without loading samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    default_collate,
    default_convert,
)

from ignite._core.pickles import iterate
from ignite._core.rng import mix
from ignite._core.torch_private import forget_workers, shut_down_workers
from ignite.data._own_state import HeldState
from ignite.data._passes import Position, has_length
from ignite.data.loaders import update_dataloader
from ignite.data.order import Cutting
from ignite.data.sampler import (
    Batches,
    OwnBatches,
    ShardedBatchSampler,
    StreamedBatches,
)
from ignite.data.seeding import (
    BatchSeeds,
    CollateSeeds,
    SeededDataset,
    draws_nothing,
    is_seeded,
    seeded_inside,
    tag,
)

__all__ = ["Indexer", "MapSource"]


class Indexer:
    """The batch sampler, or sampler, of a loader whose passes start at different positions.

    Args:
        batches: the batches of indices.
        is_single: whether the loader takes one index at a time, as with ``batch_size=None``.
        is_understood: whether the dataset understands a :class:`~ignite.data.seeding.Key` as an
            index.
        num_recent: how many batches a loader may request before it delivers them.
    """

    def __init__(
        self, batches: Batches, is_single: bool, is_understood: bool, num_recent: int
    ) -> None:
        self._batches = batches
        self._is_single = is_single
        self._is_understood = is_understood
        self._pass_seed = 0
        self._start = Position()
        self._source: Iterator[Any] = iter(())
        # Number and indices of the last batches, and the samples of this process up to each.
        self.recent: deque[tuple[int, Any, int]] = deque(maxlen=num_recent)

    def arm(self, start: Position, seed: int) -> None:
        """Sets the start of the next iteration, and the seed from which its batches derive theirs."""
        self._start = start
        self._pass_seed = mix(seed, start.epoch)
        own = isinstance(self._batches, OwnBatches)
        # Drawn here and not in the generator below: numpy's compiled functions let a generator that
        # calls them keep the exception that is being handled, such as the end of the previous pass,
        # and with it all of that pass.
        self._source = (
            iter(())
            if start.is_complete
            else self._batches.batches(start.epoch, start.num_batches if own else start.num_samples)
        )
        self.recent.clear()

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        # A loader with workers creates two iterators for a pass, and uses the second.
        start, recent, pass_seed, understood = (
            self._start,
            self.recent,
            self._pass_seed,
            self._is_understood,
        )
        total = 0
        for number, batch in enumerate(self._source, start=start.num_batches):
            total += len(batch) if has_length(batch) else 1
            if self._is_single:
                batch = batch[0]
            recent.append((number, batch, total))
            if understood:
                yield tag(batch, start.epoch, mix(pass_seed, number))
            elif type(batch) is list:
                yield tag(batch, start.epoch, 0)
            else:
                yield batch


class MapSource:
    """A loader over a map-style dataset.

    Args:
        loader: the user's loader; it is not modified.
        seed: seed of the order of samples, and of random numbers in the dataset.
        rank: rank of this process, unless the sampler of the loader has one.
        world_size: number of processes that share the samples, unless the sampler of the loader has
            one.
    """

    sketched = "sampler"

    def __init__(
        self, loader: DataLoader[Any], seed: int | None, rank: int, world_size: int
    ) -> None:
        self._user_loader = loader
        self._is_flat = loader.batch_sampler is None and type(loader.sampler) is not BatchSampler
        cutter: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        self.batches, self.kind, self.rank, self.world_size = _batches_of(
            cutter, self._is_flat, seed, rank, world_size
        )
        # Processes that do not share their data have different orders.
        self._order_rank = 0 if self.world_size > 1 or _knows_rank(cutter) else self.rank
        self.seed = self.batches.seed
        self._generator = torch.Generator()
        self.indexer, self._loader = self._rebuild()

    def _rebuild(self) -> tuple[Indexer, DataLoader[Any]]:
        loader = self._user_loader
        # in_order, because batches are identified by their number.
        changes: dict[str, Any] = {"generator": self._generator, "in_order": True}
        collates = loader.collate_fn not in (default_collate, default_convert)
        seeds_batches = not is_seeded(loader.dataset) and (
            collates or not draws_nothing(loader.dataset)
        )
        if seeds_batches:
            changes["dataset"] = BatchSeeds(loader.dataset)
            if collates:
                changes["collate_fn"] = CollateSeeds(loader.collate_fn, changes["dataset"])
        is_understood = seeds_batches or next(seeded_inside(loader.dataset), None) is loader.dataset
        num_recent = (loader.prefetch_factor or 0) * loader.num_workers + 2
        indexer = Indexer(self.batches, self._is_flat, is_understood, num_recent)
        if loader.batch_sampler is None:
            return indexer, update_dataloader(loader, sampler=indexer, **changes)
        return indexer, update_dataloader(loader, indexer, **changes)

    @property
    def seed(self) -> int:
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = seed
        self.batches.seed = mix(seed, self._order_rank) if self._order_rank else seed

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def sketch(self) -> int | None:
        order = getattr(self.batches, "order", None)
        found: int | None = getattr(order or self.batches, "sketch", None)
        return found

    def held_state(self) -> HeldState:
        """Returns an object that saves the state of the samplers, the dataset and ``collate_fn``."""
        loader = self._user_loader
        order = {"sampler": loader.sampler, "batch_sampler": loader.batch_sampler}
        samples = {"dataset": loader.dataset, "collate_fn": loader.collate_fn}
        cutter = getattr(self.batches, "batch_sampler", getattr(self.batches, "sampler", None))
        is_drawn_late = cutter is not None and not has_length(cutter)
        return HeldState(
            {"order": order, "samples": samples},
            drawn_late=["order"] if is_drawn_late else [],
            in_workers=["samples"] if loader.num_workers else [],
            kept=["samples"] if loader.num_workers and loader.persistent_workers else [],
        )

    def fingerprint(self) -> dict[str, Any]:
        cutting = getattr(self.batches, "cutting", None)
        dataset = self._user_loader.dataset
        return {
            "kind": self.kind,
            "length": len(dataset) if has_length(dataset) else None,  # type: ignore[arg-type]
            "batch_size": None if cutting is None else cutting.batch_size,
            "drop_last": False if cutting is None else cutting.drop_last,
            "world_size": self.world_size,
        }

    def begin(self, start: Position) -> Iterator[Any]:
        """Returns an iterator from ``start`` on, without using the random state of the program."""
        self._generator.manual_seed(mix(self.seed, start.epoch, self.rank))
        self.indexer.arm(start, mix(self.seed, self.rank))
        for dataset in seeded_inside(self._user_loader.dataset):
            dataset.set_epoch(start.epoch)
        _number_pass(self._user_loader.dataset, start.epoch)
        return iterate(self._loader)

    def num_samples_after(self, start: Position, num_batches: int) -> int:
        """Returns the samples seen by all processes ``num_batches`` batches after ``start``."""
        if isinstance(self.batches, ShardedBatchSampler):
            return self.batches.num_seen_after(start.num_samples, num_batches)
        number = start.num_batches + num_batches - 1
        totals = [total for each, _, total in self.indexer.recent if each == number]
        return start.num_samples + (totals[0] * self.world_size if totals else 0)

    def num_left(self, start: Position) -> int | None:
        """Returns the number of batches of this process from ``start`` on; None if unknown."""
        if isinstance(self.batches, ShardedBatchSampler):
            return self.batches.cutting.num_batches(
                self.batches.order.num_samples - start.num_samples
            )
        return len(self.batches) - start.num_batches if has_length(self.batches) else None

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        """Adapts a position to the current number of processes."""
        if not isinstance(self.batches, ShardedBatchSampler):
            return position
        num_left = self.batches.order.num_samples - position.num_samples
        if num_left <= 0 or 0 < num_left < self.world_size:
            return Position(
                position.epoch, position.num_batches, position.num_samples, is_complete=True
            )
        return position

    def describe(self, number: int) -> str:
        """Lists the samples of the batch with this number, if they are known."""
        for each, indices, _ in self.indexer.recent:
            if each == number:
                return f"with the samples {indices!r}"
        return "with unknown samples"

    def inner_state(self) -> None:
        """Returns None: there is no state besides the position."""
        return

    def give_up(self, batches: Iterator[Any]) -> None:
        """Shuts down the other workers after one has died; the next pass starts new ones."""
        shut_down_workers(batches)
        forget_workers(self._loader)


def _number_pass(dataset: Any, epoch: int) -> None:
    """Calls ``set_epoch`` of a dataset with a readable ``epoch``, unless the program calls it itself.

    Then, the epoch is another one than that of the pass before.
    """
    if isinstance(dataset, SeededDataset) or not callable(getattr(dataset, "set_epoch", None)):
        return
    if hasattr(dataset, "epoch") and dataset.epoch in (
        (None, 0, -1) if epoch == 0 else (epoch - 1,)
    ):
        dataset.set_epoch(epoch)


def _batches_of(
    cutter: Any, is_flat: bool, seed: int | None, rank: int, world_size: int
) -> tuple[Batches, str, int, int]:
    """Returns the batches of a sampler or batch sampler, and their kind, rank and world size."""
    if isinstance(cutter, ShardedBatchSampler):
        cutting = cutter.cutting
        return _copy(cutter), "sharded", cutting.rank, cutting.world_size
    if type(cutter) is BatchSampler:
        sampler, batch_size, drop_last = cutter.sampler, cutter.batch_size, cutter.drop_last
    elif is_flat:
        sampler, batch_size, drop_last = cutter, 1, False
    elif world_size > 1 and not _knows_rank(cutter):
        raise ValueError(
            "batch_sampler should have num_replicas and rank to be used with "
            f"world_size={world_size}, but given {type(cutter).__name__}, which would give all "
            "processes the same batches. Leave out world_size if it gives each process its own "
            "batches, or use ShardedBatchSampler"
        )
    else:
        return OwnBatches(cutter, seed or 0), "batches", rank, world_size
    if isinstance(sampler, DistributedSampler) and type(sampler) is DistributedSampler:
        rank, world_size, drop_last = (
            sampler.rank,
            sampler.num_replicas,
            drop_last or sampler.drop_last,
        )
        seed = sampler.seed if seed is None else seed
    elif _knows_rank(sampler):
        rank, world_size = getattr(sampler, "rank", rank), 1  # shards by itself
    share = rank if world_size > 1 else 0
    batches = _cut_batches(sampler, seed or 0, Cutting(batch_size, share, world_size, drop_last))
    if is_flat and not drop_last and has_length(batches) and _num_samples(batches) % world_size:
        raise ValueError(
            "num_samples of a loader with batch_size=None should be a multiple of "
            f"world_size={world_size}, but given {_num_samples(batches)}: single samples cannot be "
            "distributed evenly. Use a batch_size, or a DistributedSampler with drop_last=True"
        )
    return batches, "map", rank, world_size


def _cut_batches(sampler: Any, seed: int, cutting: Cutting) -> Batches:
    source, shuffle, kind = sampler, False, type(sampler)
    if kind is DistributedSampler:
        source, shuffle = len(sampler.dataset), sampler.shuffle
    elif kind is SequentialSampler:
        source = len(sampler.data_source)
    elif (
        kind is RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(sampler.data_source)
    ):
        source, shuffle = len(sampler.data_source), True
    elif not has_length(sampler):
        return StreamedBatches(sampler, seed, cutting)
    return ShardedBatchSampler(
        source,
        cutting.batch_size,
        shuffle=shuffle,
        seed=seed,
        rank=cutting.rank,
        world_size=cutting.world_size,
        drop_last=cutting.drop_last,
    )


def _copy(sampler: ShardedBatchSampler) -> ShardedBatchSampler:
    """Copies a sampler, so that the user's keeps its position and seed."""
    source = getattr(sampler.order, "sampler", None)
    cutting = sampler.cutting
    return ShardedBatchSampler(
        sampler.order.num_samples if source is None else source,
        cutting.batch_size,
        shuffle=getattr(sampler.order, "shuffle", False),
        seed=sampler.seed,
        rank=cutting.rank,
        world_size=cutting.world_size,
        drop_last=cutting.drop_last,
    )


def _knows_rank(sampler: Any) -> bool:
    """Whether a sampler, or the one inside of it, shards the samples over processes."""
    return hasattr(sampler, "num_replicas") or hasattr(
        getattr(sampler, "sampler", None), "num_replicas"
    )


def _num_samples(batches: Batches) -> int:
    return batches.order.num_samples if isinstance(batches, ShardedBatchSampler) else 0
