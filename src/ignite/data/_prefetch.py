"""Prefetches batches in a thread."""

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
    """Prefetches up to ``num_ahead + 1`` batches in a thread, and yields them in order.

    The thread starts when the first batch is requested, and ends with the iterator, even if that is
    abandoned early. An error in the thread is raised in place of the batch.

    Args:
        batches: the iterator over batches; only the thread may use it.
        num_ahead: number of batches to queue, at least 1.

    Raises:
        RuntimeError: the iterator is used in a forked process, which does not have the thread.

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
                    "An iterator with prefetch should be used in the process that created it, but "
                    "this one was forked, and threads are not: create the iterator in the forked "
                    "process"
                )
            kind, value = worker.ready.get()
            if kind == _END:
                return
            if kind == _ERROR:
                raise value
            yield value
            value = None  # frees the batch while waiting for the next one
    finally:
        worker.end()


class _Worker:
    """A thread that prefetches batches."""

    def __init__(self, batches: Iterator[Any], num_ahead: int) -> None:
        self.ready: queue.Queue[tuple[int, Any]] = queue.Queue(num_ahead)
        self._stop = threading.Event()
        self._process = os.getpid()
        self._is_over = False
        # Each thread has a gradient mode of its own.
        work = (batches, self.ready, self._stop, torch.is_grad_enabled())
        self._thread = threading.Thread(
            target=_make, args=work, name="ignite-prefetch", daemon=True
        )
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether this process has the thread.

        A forked process does not, and locks may be held there.
        """
        return os.getpid() == self._process

    def end(self) -> None:
        """Ends the thread and waits for it.

        Does nothing when called again, for instance at shutdown.
        """
        if self._is_over:
            return
        self._is_over = True
        if not self.is_here:
            return
        self._stop.set()
        while not self.ready.empty():  # the thread may be waiting for a free slot
            self.ready.get_nowait()
        # The thread itself may be the one that garbage-collects the iterator.
        if self._thread is not threading.current_thread():
            self._thread.join()


_WORKERS: weakref.WeakSet[_Worker] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Ends all threads: one that runs torch code while Python shuts down crashes the process."""
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
