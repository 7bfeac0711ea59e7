"""Batches that a thread makes while the one before is worked on."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["prefetched"]

_BATCH, _ERROR, _END = range(3)


def prefetched(batches: Iterator[Any], num_ahead: int) -> Iterator[Any]:
    """The same batches, in the same order; a thread makes up to ``num_ahead + 1`` of them beforehand.

    The thread begins with the first batch that is asked for, and ends with the iterator, also if
    that is left early. What it raises is raised in the place of the batch.

    Args:
        batches: is gone over by the thread alone. A process that is forked has no such thread.
        num_ahead: at least 1.

    Raises:
        RuntimeError: the iterator is used in a process that was forked from its own.

    Example:
        >>> list(prefetched(iter(range(5)), num_ahead=2))
        [0, 1, 2, 3, 4]
    """
    worker = _Worker(batches, num_ahead)
    _WORKERS.add(worker)
    try:
        while True:
            if not worker.is_here:
                raise RuntimeError(
                    "An iterator with prefetch should be used in the process that has made it, but this one was forked "
                    "and has no such thread: make the iterator there"
                )
            kind, value = worker.ready.get()
            if kind == _END:
                return
            if kind == _ERROR:
                raise value
            yield value
            value = None  # before the next one is waited for
    finally:
        worker.end()


class _Worker:
    """A thread that makes batches, and how to end it."""

    def __init__(self, batches: Iterator[Any], num_ahead: int) -> None:
        self.ready: queue.Queue[tuple[int, Any]] = queue.Queue(num_ahead)
        self._stop = threading.Event()
        self._process = os.getpid()
        self._is_over = False
        work = (
            batches,
            self.ready,
            self._stop,
            torch.is_grad_enabled(),
        )  # the mode is each thread's own
        self._thread = threading.Thread(
            target=_make, args=work, name="ignite-prefetch", daemon=True
        )
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether this process has the thread; one that was forked from it has not, and its locks may be held."""
        return os.getpid() == self._process

    def end(self) -> None:
        """Ends the thread and waits for it, once: at the second time, Python itself may be half gone."""
        if self._is_over:
            return
        self._is_over = True
        if not self.is_here:
            return
        self._stop.set()
        while not self.ready.empty():  # the thread may wait for a place, once
            self.ready.get_nowait()
        if (
            self._thread is not threading.current_thread()
        ):  # it may be the one that collects the iterator
            self._thread.join()


_WORKERS: weakref.WeakSet[_Worker] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread that is inside of torch when Python goes down takes the process with it."""
    for worker in list(_WORKERS):
        worker.end()


def _make(
    batches: Iterator[Any],
    ready: queue.Queue[tuple[int, Any]],
    stop: threading.Event,
    is_grad_enabled: bool,
) -> None:
    torch.set_grad_enabled(is_grad_enabled)
    try:
        while not stop.is_set():
            ready.put((_BATCH, next(batches)))
    except StopIteration:
        ready.put((_END, None))
    except BaseException as error:
        ready.put((_ERROR, error))
