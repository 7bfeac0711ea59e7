"""Loaders that resume exactly where a run was stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.data._iterable_style import IterableSource, StatefulSource, StreamSource
from ignite.data._map_style import MapSource
from ignite.data._passes import (
    Position,
    Progress,
    Source,
    begin_pass,
    check_fingerprint,
    from_state,
    note_lost_worker,
    to_state,
)
from ignite.data.arrays import ArrayLoader, ArraySource

__all__ = ["ResumableLoader", "resumable"]


def resumable(
    loader: Iterable[Any],
    *,
    seed: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    on_change: Literal["raise", "accept"] = "raise",
    stall_warning_s: float = 300.0,
) -> ResumableLoader:
    """Makes a loader that can be stopped anywhere in an epoch and resumed exactly.

    The batches of an epoch, and all random numbers that are used to load them, are a function of
    the seed, the epoch and the position in it. They depend neither on the number of workers nor on
    where a run was stopped. The random state of the program is not changed.

    How much it takes to resume depends on the data:

    - a ``DataLoader`` over a map-style dataset: nothing, only indices are skipped;
    - an iterable dataset with ``state_dict``, without workers: nothing, its state is restored;
    - any other iterable dataset: the batches before the position are loaded again and dropped;
    - a loader with ``state_dict``, such as torchdata's: the time of its ``load_state_dict``;
    - lists and other iterables: the batches before the position are loaded again and dropped.

    What samplers, datasets, ``collate_fn`` and iterables hold in variables and change (random
    generators, counters, lists, small tensors, objects with ``state_dict``) is part of the position.
    A warning names what changes and cannot be saved. In workers, their random generators are seeded
    for each batch, and what else changes there is lost.

    For map-style datasets, global random generators are seeded for each batch, and for
    :func:`~ignite.data.seeded` datasets for each sample. A ``DistributedSampler`` is replaced by a
    sampler that neither pads nor drops samples.

    Args:
        loader: a ``DataLoader``, or anything that can be iterated over repeatedly.
        seed: seed of orders and random numbers, the same in all processes. By default, that of the
            loader's ``generator`` or ``DistributedSampler``, if it has one; else, for one process,
            torch's (``torch.manual_seed``), and for several 0. A loaded position restores its seed.
        rank: rank of this process, unless the loader has a ``DistributedSampler``. Processes that
            do not share their data have different orders and random numbers.
        world_size: number of processes that hold the same data and share it; 1 if each process has
            its own data.
        on_change: what to do if a loaded position was saved with other data or another batch size:
            raise an error, or accept it and continue after the same number of samples.
        stall_warning_s: seconds of waiting for a batch of the workers after which to warn, with the
            process that hangs; 0 for never.

    Raises:
        ValueError: several processes would share a custom batch sampler.

    Example:
        >>> loader = resumable(DataLoader(range(6), batch_size=2, shuffle=True), seed=1)
        >>> batches = iter(loader)
        >>> _ = next(batches)
        >>> state, rest = loader.state_dict(), list(batches)
        >>> other = resumable(DataLoader(range(6), batch_size=2, shuffle=True))
        >>> other.load_state_dict(state)
        >>> all(bool((a == b).all()) for a, b in zip(rest, other, strict=True))
        True
    """
    if isinstance(loader, ResumableLoader):
        return loader
    if on_change not in ("raise", "accept"):
        raise ValueError(f"on_change should be 'raise' or 'accept', but given {on_change!r}")
    return ResumableLoader(
        loader, _source_of(loader, seed, rank, world_size), on_change == "accept", stall_warning_s
    )


class ResumableLoader:
    """The result of :func:`resumable`.

    Has the attributes of the original loader in addition to its own.

    Each ``iter()`` starts the next epoch, or, once after ``load_state_dict``, continues the one
    that was stopped. The position is that of the latest iterator.

    State:
        The position after the last delivered batch, regardless of what workers have prepared:
        ``epoch``, ``num_batches`` (of this process), ``num_samples`` (of all processes), ``seed``,
        and a ``fingerprint`` of the data; and the state that samplers, datasets and iterables of
        the program hold in variables. After the last batch, it is the end of the epoch, from
        where the next iterator is empty. Once the iterator has raised StopIteration, it is the
        start of the next epoch.
    """

    def __init__(
        self, loader: Any, source: Source, accepts_changes: bool, stall_warning_s: float
    ) -> None:
        self._loader = loader
        self._source = source
        self._accepts_changes = accepts_changes
        self._stall_warning_s = stall_warning_s
        self._next = Position()
        self._is_loaded = False
        self._progress: Progress | None = None
        self._held = source.held_state()
        self._sketch: int | None = None  # of the loaded position
        self._logger = logging.getLogger(f"{__name__}.{type(self).__name__}")

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Any]:
        start = self._next
        progress = Progress(start, self._source)
        is_repeated = self._is_loaded and not start.is_complete and self._held.rewind()
        if not is_repeated:
            self._held.begin_pass()
        try:
            batches = iter(()) if start.is_complete else self._source.begin(start)
            if is_repeated:
                self._check_repeated(start)
                self._held.advance()
            iterator = begin_pass(progress, batches, self._stall_warning_s)
        except RuntimeError as error:
            note_lost_worker(error, start)
            raise
        self._next, self._is_loaded, self._progress = Position(start.epoch + 1), False, progress
        return iterator

    @property
    def wrapped(self) -> Any:
        """The original loader."""
        return self._loader

    @property
    def position(self) -> Position:
        """The position after the last delivered batch."""
        progress = self._progress
        if self._is_loaded or progress is None or progress.is_ended:
            return self._next
        return progress.position()

    def set_epoch(self, epoch: int) -> None:
        """Sets the number of the next epoch.

        Has no effect if a position within an epoch was loaded.
        """
        if not self._is_loaded or self._next.is_complete:
            self._next = Position(epoch)
            self._is_loaded = False
            self._held.forget()

    def end_pass(self) -> None:
        """Skips the rest of the epoch: moves the position to the start of the next one."""
        if self._is_loaded:
            self._next = Position(self._next.epoch + 1)
        self._is_loaded = False
        self._progress = None
        self._held.forget()

    def num_batches_left(self) -> int | None:
        """Returns the number of batches of this process left in the epoch; None if unknown."""
        position = self.position
        return 0 if position.is_complete else self._source.num_left(position)

    def bookmark(self) -> Callable[[], None]:
        """Returns a function that restores the current position, in this process."""
        before, seed = dict(vars(self)), self._source.seed
        restore_held = self._held.bookmark()

        def put_back() -> None:
            restore_held()
            vars(self).update(before)
            self._source.seed = seed

        return put_back

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, which can be loaded with ``torch.load(weights_only=True)``."""
        state = to_state(self.position, self._source.seed, self._source.fingerprint())
        progress = self._progress
        is_within_pass = not self._is_loaded and progress is not None and not progress.is_ended
        if held := self._held.state(is_within_pass):
            state["own"] = held
        sketch = (
            self._sketch if self._is_loaded else self._source.sketch if is_within_pass else None
        )
        if sketch is not None:
            state["sketch"] = sketch
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Lets the next iteration continue where the state was saved.

        Raises:
            ValueError: the state was saved with other data, and changes are not accepted; or it is
                invalid. Nothing is changed.
        """
        position, seed, saved = from_state(state_dict)
        current = self._source.fingerprint()
        if not self._accepts_changes:
            check_fingerprint(saved, current)
        fitted = self._source.fit(position, saved, self._accepts_changes)
        if fitted.is_complete and not position.is_complete:
            self._logger.warning(
                "Epoch %s continues after %s samples, with fewer samples left than there are "
                "processes (%s): the rest is dropped, so that all processes have the same number "
                "of batches",
                position.epoch, position.num_samples, current.get("world_size", 1),
            )  # fmt: skip
        self._source.seed = seed
        self._next, self._is_loaded, self._progress = fitted, True, None
        self._held.load(state_dict.get("own"))
        self._sketch = state_dict.get("sketch")

    def reload(self) -> None:
        """Restores again what objects of the program hold, after handlers may have changed it.

        Does nothing if no position was loaded, or the pass has begun.
        """
        if self._is_loaded:
            self._held.reload()

    def _check_repeated(self, start: Position) -> None:
        """Warns if the pass that was stopped could not be repeated."""
        if None in (self._sketch, self._source.sketch) or self._accepts_changes:
            return
        if self._sketch != self._source.sketch:
            self._logger.warning(
                "Epoch %s, resumed after %s batches, has other batches than before it was stopped: "
                "the %s of the program depends on a state that could not be found. Give the object "
                "that has it state_dict and load_state_dict, or let it depend on the epoch alone, "
                "in set_epoch",
                start.epoch, start.num_batches, self._source.sketched,
            )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __repr__(self) -> str:
        return f"resumable({self._loader!r})"


def _source_of(loader: Any, seed: int | None, rank: int, world_size: int) -> Source:
    if isinstance(loader, ArrayLoader):
        return ArraySource(loader, seed, rank, world_size)
    if hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict"):
        return StatefulSource(loader, _seed(seed, loader, world_size), rank, world_size)
    if not isinstance(loader, DataLoader):
        return IterableSource(loader, _seed(seed, loader, world_size), rank, world_size)
    if isinstance(loader.dataset, IterableDataset):
        return StreamSource(loader, _seed(seed, loader, world_size), rank, world_size)
    return MapSource(loader, _seed(seed, loader, world_size), rank, world_size)


def _seed(seed: int | None, loader: Any, world_size: int) -> int | None:
    if seed is not None or world_size > 1 or _knows_ranks(loader):
        return seed  # each of several processes may have seeded its generators differently
    generator = getattr(loader, "generator", None)
    return (
        generator.initial_seed() if isinstance(generator, torch.Generator) else torch.initial_seed()
    )


def _knows_ranks(loader: Any) -> bool:
    """Whether a sampler of the loader shards the samples over processes."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (
        getattr(loader, "sampler", None),
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
    )
    return any(hasattr(sampler, "num_replicas") for sampler in samplers)
