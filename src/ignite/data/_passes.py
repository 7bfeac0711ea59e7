"""Iterators over the data that count batches, explain errors and warn about workers that hang."""

from __future__ import annotations

import logging
import threading
import traceback
import weakref
from collections.abc import Iterator
from multiprocessing.connection import wait as wait_for_any
from typing import Any, Protocol

from ignite._core import clock
from ignite._core.torch_private import num_received, worker_of_next_batch, worker_processes
from ignite.data._position import Position, Source

__all__ = ["Pass", "Progress", "Wait", "begin_pass", "note_lost_worker", "watch"]

_logger = logging.getLogger(__name__)

# The beginnings of torch's messages.
_WORKER_DIED = "DataLoader worker (pid"
_RAISED_IN_WORKER = "Caught "

_WORKER_LOST = (
    "A worker that is killed is most often out of memory: the machine's (see dmesg), the "
    "container's, or shared memory (/dev/shm). Fewer workers, a smaller prefetch_factor or smaller "
    "batches need less"
)


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
            "`py-spy dump --pid PID` shows where. Give the DataLoader a timeout to end the run "
            "instead",
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
