"""Passes over the data and positions in them.

The iterators count batches, explain errors and warn about workers that hang. A position is saved
with the fingerprint of the data, and data that start from it follow the protocol :class:`Source`.
"""

from __future__ import annotations

import logging
import threading
import traceback
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for_any
from typing import Any, Protocol

from ignite._core import clock
from ignite._core.torch_private import num_received, worker_of_next_batch, worker_processes
from ignite.data._own_state import HeldState

__all__ = [
    "VERSION",
    "Pass",
    "Position",
    "Progress",
    "Source",
    "Wait",
    "begin_pass",
    "check_fingerprint",
    "from_state",
    "has_length",
    "note_lost_worker",
    "to_state",
    "watch",
]

_logger = logging.getLogger(__name__)

# The beginnings of torch's messages.
_WORKER_DIED = "DataLoader worker (pid"
_RAISED_IN_WORKER = "Caught "

_WORKER_LOST = (
    "A worker that is killed is most often out of memory: the machine's (see dmesg), the "
    "container's, or shared memory (/dev/shm). Fewer workers, a smaller prefetch_factor or smaller "
    "batches need less"
)


VERSION = 1

_MEANING = {
    "kind": "the kind of data",
    "length": "the length of the dataset",
    "batch_size": "batch_size",
    "drop_last": "drop_last",
    "num_workers": "num_workers",
}


@dataclass(frozen=True)
class Position:
    """A position in the data.

    Args:
        epoch: number of the epoch, starting at 0 unless it was set.
        num_batches: batches that this process has received in the epoch.
        num_samples: samples that all processes together have received in the epoch.
        is_complete: whether no batch is left in the epoch, although its iterator has not ended yet.
        inner: the state of data that save their position.
    """

    epoch: int = 0
    num_batches: int = 0
    num_samples: int = 0
    is_complete: bool = False
    inner: Mapping[str, Any] | None = field(default=None, compare=False)


class Source(Protocol):
    """Data that can start at any position."""

    seed: int
    sketched: str
    """What ``sketch`` is computed from."""

    @property
    def sketch(self) -> int | None:
        """Differs if the pass that has begun is another one than before; None if it is not known."""
        ...

    def __len__(self) -> int: ...

    def held_state(self) -> HeldState:
        """Returns what takes down the state of objects of the program."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Returns what a position depends on; saved with it and compared when it is loaded."""
        ...

    def begin(self, start: Position) -> Iterator[Any]:
        """Iterates over the batches from ``start`` on."""
        ...

    def num_samples_after(self, start: Position, num_batches: int) -> int:
        """Returns the samples seen by all processes, ``num_batches`` batches after ``start``."""
        ...

    def num_left(self, start: Position) -> int | None:
        """Returns the number of batches of this process from ``start`` on; None if unknown."""
        ...

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        """Adapts a position to the current number of processes; ``saved`` is its fingerprint."""
        ...

    def describe(self, number: int) -> str:
        """Describes the contents of a batch in error messages."""
        ...

    def inner_state(self) -> Mapping[str, Any] | None:
        """Returns the state of data that save their position; None for other data."""
        ...

    def give_up(self, batches: Iterator[Any]) -> None:
        """Shuts down the other workers after one has died."""
        ...


def to_state(position: Position, seed: int, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a position to a dictionary of numbers, strings, and the state of the data."""
    state: dict[str, Any] = {
        "version": VERSION,
        "epoch": position.epoch,
        "num_batches": position.num_batches,
        "num_samples": position.num_samples,
        "is_complete": position.is_complete,
        "seed": seed,
        "fingerprint": dict(fingerprint),
    }
    if position.inner is not None:
        state["inner"] = position.inner
    return state


def from_state(state: Mapping[str, Any]) -> tuple[Position, int, Mapping[str, Any]]:
    """Returns position, seed and fingerprint from the result of :func:`to_state`.

    Raises:
        ValueError: an entry is missing, negative or not a number; or a newer version wrote the
            state.
    """
    version = state.get("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise ValueError(
            f"version of the position in the data should be from 1 to {VERSION}, but given "
            f"{version!r}. A position that was written by a newer version of this library needs "
            "that version"
        )
    numbers = {name: _natural(state, name) for name in ("num_batches", "num_samples")}
    epoch, seed, fingerprint = state.get("epoch"), state.get("seed"), state.get("fingerprint")
    if (
        not isinstance(epoch, int)
        or not isinstance(seed, int)
        or not isinstance(fingerprint, Mapping)
    ):
        raise ValueError(
            "epoch and seed of the position in the data should be integers, and fingerprint a "
            f"dictionary, but given {epoch!r}, {seed!r}, {fingerprint!r}"
        )
    is_complete = bool(state.get("is_complete", False))
    return (
        Position(epoch, **numbers, is_complete=is_complete, inner=state.get("inner")),
        seed,
        fingerprint,
    )


def check_fingerprint(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Checks that a position was saved with the same data and batches.

    The number of processes may differ, and so may the batch size per process, if the global batch
    size is the same.

    Raises:
        ValueError: the data differs; the message lists the differences.
    """
    differences = [
        f"{meaning} was {saved[name]!r} and is {current[name]!r}"
        for name, meaning in _MEANING.items()
        if name in saved and name in current and saved[name] != current[name]
        if name != "batch_size" or _global_size(saved) != _global_size(current)
    ]
    if differences:
        raise ValueError(
            "data should be the same as when its position was saved, but given other data: "
            f"{', '.join(differences)}. Use the same data and batch size; or, to continue after "
            "the same number of "
            'samples nevertheless, resumable(..., on_change="accept")'
        )


def _natural(state: Mapping[str, Any], name: str) -> int:
    value = state.get(name)
    if not isinstance(value, int) or value < 0:
        raise ValueError(
            f"{name} of the position in the data should be an integer of at least 0, but given "
            f"{value!r}"
        )
    return value


def _global_size(fingerprint: Mapping[str, Any]) -> Any:
    size = fingerprint.get("batch_size")
    return size if size is None else size * fingerprint.get("world_size", 1)


def has_length(x: Any) -> bool:
    """Whether ``len(x)`` works.

    An iterable dataset may have a ``__len__`` that raises TypeError.
    """
    try:
        len(x)
    except (TypeError, NotImplementedError):
        return False
    return True


class Progress:
    """Counts the batches of a pass.

    Holds no iterator, so that workers end with the iterator that the user holds.
    """

    __slots__ = ("is_ended", "num_batches", "num_failed", "source", "start")

    def __init__(self, start: Position, source: Source) -> None:
        self.start = start
        self.source = source
        self.num_batches = 0  # delivered since ``start``
        self.num_failed = 0  # failed since the last delivery
        self.is_ended = False

    def position(self) -> Position:
        """The position after the last delivered batch.

        A failed batch counts once a later one has been delivered.
        """
        start, source, num_batches = self.start, self.source, self.num_batches
        num_left = source.num_left(start)
        return Position(
            start.epoch,
            start.num_batches + num_batches,
            source.num_samples_after(start, num_batches),
            is_complete=start.is_complete or (num_left is not None and num_batches >= num_left),
            inner=source.inner_state(),
        )


class Pass:
    """The iterator that users hold."""

    __slots__ = ("__weakref__", "_batches", "_next", "_progress")

    def __init__(self, progress: Progress, batches: Iterator[Any]) -> None:
        self._progress = progress
        self._batches = batches
        self._next = batches.__next__

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        progress = self._progress
        try:
            batch = self._next()
        except BaseException as error:
            self._note(error)
            raise
        progress.num_batches += 1
        if progress.num_failed:
            self._count_failed()
        return batch

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Pass.__slots__:
            raise AttributeError(name)
        return getattr(self._batches, name)

    def _count_failed(self) -> None:
        self._progress.num_batches += self._progress.num_failed
        self._progress.num_failed = 0

    def _note(self, error: BaseException) -> None:
        progress = self._progress
        if isinstance(error, StopIteration):
            progress.is_ended = True
            return
        number = progress.start.num_batches + progress.num_batches + progress.num_failed
        received = num_received(self._batches)  # of a loader with workers, which may try again
        if received is None or received > progress.num_batches + progress.num_failed:
            progress.num_failed += 1
        is_dead = self._has_lost_worker(error)
        if isinstance(error, Exception):
            when = "while waiting for" if is_dead else "in"
            samples = progress.source.describe(number)
            error.add_note(f"{when} batch {number} of epoch {progress.start.epoch}, {samples}")
        if is_dead:
            error.add_note(_WORKER_LOST)
            progress.source.give_up(self._batches)
        if worker_processes(self._batches) and error.__traceback__ is not None:
            # torch's frame that raises the error of a worker also holds it. This cycle would keep
            # the workers until the garbage is collected, possibly in a new worker, which then waits
            # for processes that are not its own.
            traceback.clear_frames(error.__traceback__.tb_next)

    def _has_lost_worker(self, error: BaseException) -> bool:
        """Whether the error is the death of a worker."""
        text = str(error)
        if isinstance(error, RuntimeError):
            return text.startswith(_WORKER_DIED)
        if not isinstance(error, OSError | EOFError) or text.startswith(_RAISED_IN_WORKER):
            return False
        # It may have died while its batch was read from its shared memory; that is known a moment
        # later.
        workers = {worker.sentinel: worker for worker in worker_processes(self._batches)}
        try:
            gone = (
                [workers[sentinel] for sentinel in wait_for_any(list(workers), timeout=1)]
                if workers
                else []
            )
            for worker in gone:
                worker.join(1)
                error.add_note(f"{_WORKER_DIED} {worker.pid}) exited with code {worker.exitcode}")
        except RuntimeError as died:  # from torch's handler of the signal, which may raise anywhere
            error.add_note(str(died))
            return True
        return bool(gone)


class Waiting(Protocol):
    """An iterator that can describe what it is waiting for."""

    def describe_wait(self) -> str:
        """Describes in a few words what the iterator is waiting for."""
        ...


class Wait:
    """When the current wait started; written by the iterator, read by the watchdog.

    Args:
        limit_s: a longer wait is reported, once.
    """

    __slots__ = ("_stopped", "limit_s", "since")

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.since: float | None = None
        self._stopped = threading.Event()

    def begin(self) -> None:
        """Starts a wait."""
        self.since = clock.now()

    def stop(self) -> None:
        """Ends the watchdog."""
        self._stopped.set()

    def sleep(self, seconds: float) -> bool:
        """Sleeps for the watchdog; True if it has to end."""
        return self._stopped.wait(seconds)


def watch(waiting: Waiting, wait: Wait) -> None:
    """Starts a thread that warns about a batch that does not arrive.

    The thread sleeps for the limit, then checks when the current wait started. If that wait is
    shorter than the limit, the thread sleeps until it would reach the limit: no wait is reported
    late, and a batch costs two assignments. The thread ends when ``wait`` is stopped or ``waiting``
    is deleted.
    """
    weakref.finalize(waiting, wait.stop).atexit = False
    threading.Thread(
        target=_watch, args=(weakref.ref(waiting), wait), name="ignite-watchdog", daemon=True
    ).start()


def _watch(reference: weakref.ref[Waiting], wait: Wait) -> None:
    reported = None
    seconds = wait.limit_s
    while not wait.sleep(seconds):
        since = wait.since
        seconds = wait.limit_s
        if since is None or since == reported:
            continue
        waited = clock.now() - since
        if waited < wait.limit_s:
            seconds = wait.limit_s - waited
            continue
        waiting = reference()
        if waiting is None:
            return
        reported = since
        _logger.warning(
            "The data loader has been waiting for %.0f s for %s. A worker hangs, or is slow; "
            "`py-spy dump --pid PID` shows where. To end the run instead, pass a timeout to the "
            "DataLoader",
            waited,
            waiting.describe_wait(),
        )
        del waiting


class WatchedPass(Pass):
    """A pass that is watched while it waits for a batch."""

    __slots__ = ("_wait",)

    def __init__(self, progress: Progress, batches: Iterator[Any], wait: Wait) -> None:
        super().__init__(progress, batches)
        self._wait = wait
        watch(self, wait)

    def __next__(self) -> Any:
        wait = self._wait
        wait.begin()
        try:
            return super().__next__()
        except StopIteration:
            wait.stop()
            raise
        finally:
            wait.since = None

    def describe_wait(self) -> str:
        """Describes the batch that does not arrive, and the process that should load it."""
        progress = self._progress
        number = progress.start.num_batches + progress.num_batches + progress.num_failed
        workers = worker_processes(self._batches)
        index = worker_of_next_batch(self._batches)
        culprit = (
            ""
            if index is None
            else f", which worker {index} (pid {workers[index].pid}) should load"
        )
        pids = ", ".join(str(worker.pid) for worker in workers)
        samples = progress.source.describe(number)
        return f"batch {number} of epoch {progress.start.epoch}, {samples}{culprit}; the pids of all workers are {pids}"


def begin_pass(progress: Progress, batches: Iterator[Any], stall_warning_s: float) -> Pass:
    """Returns the iterator for the user; with a watchdog if there are workers that may hang."""
    if stall_warning_s > 0 and worker_processes(batches):
        return WatchedPass(progress, batches, Wait(stall_warning_s))
    return Pass(progress, batches)


def note_lost_worker(error: RuntimeError, start: Position) -> None:
    """Explains the death of a worker before there was an iterator."""
    if str(error).startswith(_WORKER_DIED):
        error.add_note(
            f"while waiting for batch {start.num_batches} of epoch {start.epoch}, whose workers "
            "have just started"
        )
        error.add_note(_WORKER_LOST)
