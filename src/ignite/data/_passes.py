"""One pass over the data: counts what is delivered, and says more about what goes wrong on the way."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from multiprocessing.connection import wait as wait_for_any
from typing import TYPE_CHECKING, Any

from ignite.data._position import Position
from ignite.data._watchdog import Wait, watch

if TYPE_CHECKING:
    from ignite.data._streams import Source

__all__ = ["Pass", "Progress", "begin_pass", "note_lost_worker"]

# How torch's messages begin.
_WORKER_DIED = "DataLoader worker (pid"
_RAISED_IN_WORKER = "Caught "

_WORKER_LOST = (
    "A worker that is killed is most often out of memory: the machine's (see dmesg), the container's, or shared memory "
    "(/dev/shm). Fewer workers, a smaller prefetch_factor or smaller batches need less"
)


class Progress:
    """How far a pass has come. Holds no iterator, so that workers end with the iterator that the user holds."""

    __slots__ = ("is_ended", "num_batches", "num_failed", "source", "start")

    def __init__(self, start: Position, source: Source) -> None:
        self.start = start
        self.source = source
        self.num_batches = 0  # delivered since the start
        self.num_failed = 0  # passed over since the last delivery, because they could not be made
        self.is_ended = False

    def position(self) -> Position:
        """Behind the last batch that was delivered. One that failed lies before it only if another was delivered."""
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
        received = getattr(self._batches, "_rcvd_idx", None)  # of a loader with workers: it may try again
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
        if hasattr(self._batches, "_workers") and error.__traceback__ is not None:
            # torch's frame that raises the error of a worker holds it, too: a cycle that would keep the workers until
            # the garbage is collected, and be it in a new worker, which then waits for processes that it does not have.
            traceback.clear_frames(error.__traceback__.tb_next)

    def _has_lost_worker(self, error: BaseException) -> bool:
        """Whether the error is that a worker is gone."""
        text = str(error)
        if isinstance(error, RuntimeError):
            return text.startswith(_WORKER_DIED)
        if not isinstance(error, OSError | EOFError) or text.startswith(_RAISED_IN_WORKER):
            return False
        # It may have gone while its batch was taken over from its shared memory; a moment later it is known to be dead.
        workers = {worker.sentinel: worker for worker in getattr(self._batches, "_workers", [])}
        try:
            gone = [workers[sentinel] for sentinel in wait_for_any(list(workers), timeout=1)] if workers else []
            for worker in gone:
                worker.join(1)
                error.add_note(f"{_WORKER_DIED} {worker.pid}) exited with code {worker.exitcode}")
        except RuntimeError as died:  # from torch's handler of the signal, which may raise anywhere
            error.add_note(str(died))
            return True
        return bool(gone)


class WatchedPass(Pass):
    """One that tells the watchdog since when it has been waiting."""

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
        """Which batch does not come, and which process should make it."""
        progress = self._progress
        number = progress.start.num_batches + progress.num_batches + progress.num_failed
        workers = getattr(self._batches, "_workers", [])
        task = getattr(self._batches, "_task_info", {}).get(getattr(self._batches, "_rcvd_idx", None))
        culprit = f", which worker {task[0]} (pid {workers[task[0]].pid}) should make" if task else ""
        pids = ", ".join(str(worker.pid) for worker in workers)
        samples = progress.source.describe(number)
        return f"batch {number} of epoch {progress.start.epoch}, {samples}{culprit}; all workers have the pids {pids}"


def begin_pass(progress: Progress, batches: Iterator[Any], stall_warning_s: float) -> Pass:
    """The iterator for the user; a watched one if there are workers that may hang."""
    if stall_warning_s > 0 and getattr(batches, "_workers", None):
        return WatchedPass(progress, batches, Wait(stall_warning_s))
    return Pass(progress, batches)


def note_lost_worker(error: RuntimeError, start: Position) -> None:
    """Says more about a worker that died before there was an iterator."""
    if str(error).startswith(_WORKER_DIED):
        error.add_note(
            f"while waiting for batch {start.num_batches} of epoch {start.epoch}, whose workers have just begun"
        )
        error.add_note(_WORKER_LOST)
