"""Data that can be put to where a run was stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, IterableDataset

from ignite.data._iterable_style import IterableSource, StatefulSource, StreamSource
from ignite.data._map_style import MapSource
from ignite.data._passes import Progress, begin_pass, note_lost_worker
from ignite.data._position import Position, Source, check_fingerprint, from_state, to_state
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
    """Makes a loader whose passes can be stopped anywhere and gone on with, exactly, in another process.

    The batches of a pass, and all random numbers that are drawn to make them, are a function of the
    seed, the number of the pass and the place in it. Neither the number of workers nor the place
    where a run was stopped changes them, and the random state of the program is not touched.

    ============================================
    =============================================================== data
    what going on costs ============================================
    =============================================================== ``DataLoader`` over a map-style
    dataset     nothing: only indices are skipped iterable dataset with a state, no workers
    nothing: it is asked for its state any other iterable dataset                  what was given
    before is made again and dropped data with ``state_dict``, as torchdata's     what its own
    ``load_state_dict`` costs lists and other iterables                    what was given before is
    made again and dropped ============================================
    ===============================================================

    With a map-style dataset, each batch is seeded. :func:`~ignite.data.seeded` datasets seed each
    sample instead. A ``DistributedSampler`` is replaced by our own cutting, which neither pads nor
    leaves samples out.

    Args:
        loader: a ``DataLoader``, or anything that can be iterated over again and again.
        seed: of orders and random numbers, the same in all processes. None: that of the loader's
            ``generator``, if it has one; that of its ``DistributedSampler``; else, for one process,
            torch's (``torch.manual_seed``), and for several 0. A loaded position brings its own.
        rank: number of this process; a ``DistributedSampler`` says it by itself. Processes that do
            not share their data go over them in other orders, and draw other random numbers.
        world_size: how many processes, all of which hold the same data, share them. 1: each has
            data of its own.
        on_change: what to do if a position is loaded that was saved with other data or another
            batch size: raise an error, or go on after the same number of samples.
        stall_warning_s: after how many seconds of waiting for a batch of the workers to warn, and
            name the process that hangs. 0: never.

    Raises:
        ValueError: a batch sampler of the user's is to be shared by several processes.

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
    """What :func:`resumable` returns.

    Attributes that it lacks are those of the loader it was made of.

    Each ``iter()`` begins the next pass, or, once after ``load_state_dict``, goes on with the one
    that was stopped. The position belongs to the iterator that was made last.

    State:
        The position behind what has been delivered, not what workers have prepared: ``epoch``,
        ``num_batches`` (of this process), ``num_samples`` (of all), ``seed``, and a ``fingerprint``
        of the data. Once an iterator has said that it is at its end, the position is the beginning
        of the next pass. Before, it is the end of the pass: an iterator made from there is at its
        end at once, and the one after it begins the next pass.
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
        self._logger = logging.getLogger(f"{__name__}.{type(self).__name__}")

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Any]:
        start = self._next
        progress = Progress(start, self._source)
        try:
            batches = iter(()) if start.is_complete else self._source.begin(start)
            iterator = begin_pass(progress, batches, self._stall_warning_s)
        except RuntimeError as error:
            note_lost_worker(error, start)
            raise
        self._next, self._is_loaded, self._progress = Position(start.epoch + 1), False, progress
        return iterator

    @property
    def wrapped(self) -> Any:
        """The loader that :func:`resumable` was given."""
        return self._loader

    @property
    def position(self) -> Position:
        """Behind what has been delivered."""
        progress = self._progress
        if self._is_loaded or progress is None or progress.is_ended:
            return self._next
        return progress.position()

    def set_epoch(self, epoch: int) -> None:
        """Says which number the next pass has.

        A loaded position inside a pass is kept, whatever it says.
        """
        if not self._is_loaded or self._next.is_complete:
            self._next = Position(epoch)
            self._is_loaded = False

    def end_pass(self) -> None:
        """Gives up the rest of the pass: the position is the beginning of the next one, also if it is saved."""
        if self._is_loaded:
            self._next = Position(self._next.epoch + 1)
        self._is_loaded = False
        self._progress = None

    def num_batches_left(self) -> int | None:
        """How many batches of this process the pass still has, or None if that is not known."""
        position = self.position
        return 0 if position.is_complete else self._source.num_left(position)

    def bookmark(self) -> Callable[[], None]:
        """Returns what puts the position back to where it is now, in this process, whatever has been loaded since."""
        before, seed = dict(vars(self)), self._source.seed

        def put_back() -> None:
            vars(self).update(before)
            self._source.seed = seed

        return put_back

    def state_dict(self) -> dict[str, Any]:
        """See the class; can be read with ``torch.load(weights_only=True)``."""
        return to_state(self.position, self._source.seed, self._source.fingerprint())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Lets the next iteration go on where the state was taken.

        Raises:
            ValueError: it was taken in other data, and changes are not accepted; or it is no such
                state. Nothing is changed then.
        """
        position, seed, saved = from_state(state_dict)
        current = self._source.fingerprint()
        if not self._accepts_changes:
            check_fingerprint(saved, current)
        fitted = self._source.fit(position, saved, self._accepts_changes)
        if fitted.is_complete and not position.is_complete:
            self._logger.warning(
                "In epoch %s, %s samples have been given, and fewer are left than the %s processes that are to share "
                "them: they are left out, so that all processes have the same number of batches",
                position.epoch, position.num_samples, current.get("world_size", 1),
            )  # fmt: skip
        self._source.seed = seed
        self._next, self._is_loaded, self._progress = fitted, True, None

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
        return seed  # of several processes, each may have seeded its generators in its own way
    generator = getattr(loader, "generator", None)
    return (
        generator.initial_seed() if isinstance(generator, torch.Generator) else torch.initial_seed()
    )


def _knows_ranks(loader: Any) -> bool:
    """Whether a sampler of the loader shares the samples among processes."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (
        getattr(loader, "sampler", None),
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
    )
    return any(hasattr(sampler, "num_replicas") for sampler in samplers)
