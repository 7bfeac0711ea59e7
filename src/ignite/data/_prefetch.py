"""Batches that a thread makes while the one before is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["prefetched"]

_BATCH, _ERROR, _END = range(3)


def prefetched(batches: Iterator[Any], num_ahead: int) -> Iterator[Any]:
    """The same batches, in the same order; a thread makes up to ``num_ahead + 1`` of them beforehand.

    The thread begins with the first batch that is asked for, and ends with the iterator, also if that is left early.
    What it raises is raised in the place of the batch.

    Args:
        batches: is gone over by the thread alone. A process that is forked while it runs has no such thread.
        num_ahead: at least 1.

    Example:
        >>> list(prefetched(iter(range(5)), num_ahead=2))
        [0, 1, 2, 3, 4]
    """
    ready: queue.Queue[tuple[int, Any]] = queue.Queue(num_ahead)
    stop = threading.Event()
    work = (batches, ready, stop, torch.is_grad_enabled())  # the mode is each thread's own
    thread = threading.Thread(target=_make, args=work, name="ignite-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == _END:
                return
            if kind == _ERROR:
                raise value
            yield value
            value = None  # before the next one is waited for
    finally:
        stop.set()
        while not ready.empty():  # the thread may wait for a place, once
            ready.get_nowait()
        thread.join()


def _make(
    batches: Iterator[Any], ready: queue.Queue[tuple[int, Any]], stop: threading.Event, is_grad_enabled: bool
) -> None:
    torch.set_grad_enabled(is_grad_enabled)
    try:
        while not stop.is_set():
            ready.put((_BATCH, next(batches)))
    except StopIteration:
        ready.put((_END, None))
    except BaseException as error:
        ready.put((_ERROR, error))
