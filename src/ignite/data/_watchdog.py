"""Warns about a batch that does not come.

One thread for a pass sleeps for as long as the limit, then looks since when somebody has been waiting. A wait that
began after it went to sleep is younger than the limit, so it then sleeps until the moment when that wait would be too
long: no wait is reported late, and a batch costs two assignments.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Protocol

from ignite._core import clock

__all__ = ["Wait", "watch"]

_logger = logging.getLogger(__name__)


class Waiting(Protocol):
    """Somebody who can say what is being waited for."""

    def describe_wait(self) -> str:
        """In a few words."""
        ...


class Wait:
    """Since when somebody has been waiting; written by the one who waits, read by the watchdog.

    Args:
        limit_s: seconds after which a wait is reported, once.
    """

    __slots__ = ("_stopped", "limit_s", "since")

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.since: float | None = None
        self._stopped = threading.Event()

    def begin(self) -> None:
        """A wait begins now."""
        self.since = clock.now()

    def stop(self) -> None:
        """Nobody will wait any more: the watchdog goes."""
        self._stopped.set()

    def sleep(self, seconds: float) -> bool:
        """For the watchdog; True if it is over."""
        return self._stopped.wait(seconds)


def watch(waiting: Waiting, wait: Wait) -> None:
    """Starts the watchdog; it goes when ``wait`` is stopped, or ``waiting`` is gone."""
    weakref.finalize(waiting, wait.stop).atexit = False
    threading.Thread(target=_watch, args=(weakref.ref(waiting), wait), name="ignite-watchdog", daemon=True).start()


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
            "`py-spy dump --pid PID` shows where. Give the DataLoader a timeout to end the run instead",
            waited,
            waiting.describe_wait(),
        )
        del waiting
