"""A queue for servers that may be slow or down, so that training never waits; a reachability check."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import urllib.parse
import urllib.request
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from ignite._core import clock

__all__ = ["Outbox", "why_unreachable"]

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_WARN_EVERY_S = 60.0


class Outbox:
    """Sends items in order from a background thread, and retries while the server is down.

    ``put`` never waits and never raises because of the server. While the server is down, items stay
    queued, a warning is logged once a minute, and the pause between attempts grows from 0.5 to 30
    seconds. An item that the server refuses is dropped with a warning. Beyond ``capacity``, the
    oldest items are dropped; their number is logged at the end.

    Args:
        send: sends a list of items, all or none.
        is_refused: whether an error of ``send`` is permanent, so that a retry would fail, too.
        name: the name of the logger for warnings.
        capacity: maximum number of queued items.
        max_batch_size: maximum number of items per call of ``send``.
    """

    is_used_by_thread = True

    def __init__(
        self,
        send: Callable[[list[Any]], None],
        is_refused: Callable[[Exception], bool],
        name: str,
        capacity: int = 100_000,
        max_batch_size: int = 100,
    ) -> None:
        self._send = send
        self._is_refused = is_refused
        self._logger = logging.getLogger(name)
        self._capacity = capacity
        self._most_at_once = max_batch_size
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()
        self._num_lost = 0
        self._num_sending = 0
        self._is_closing = False
        self._is_down = False
        self._warning = clock.Throttle(_WARN_EVERY_S)
        self._thread: threading.Thread | None = None

    def put(self, item: Any) -> None:
        """Adds an item to the queue.

        Raises:
            RuntimeError: the outbox is closed.
        """
        with self._changed:
            if self._is_closing:
                raise RuntimeError("Cannot log after close()")
            if len(self._items) - self._num_sending >= self._capacity:
                # The items at the front are being sent, so the oldest item after them is dropped.
                del self._items[self._num_sending]
                self._num_lost += 1
            self._items.append(item)
            if self._thread is None:
                # A weak reference, so that the thread ends with the outbox.
                self._thread = threading.Thread(
                    target=_send_in_background, args=(weakref.ref(self),), daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Waits until all items are sent; does not wait while the server is down.

        Returns:
            Whether all items were sent.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_down or not self._items, timeout_s)
            return not self._items

    def close(self, timeout_s: float = 30.0) -> bool:
        """Waits until all items are sent, for at most ``timeout_s`` seconds.

        Returns:
            Whether all items were sent. If not, a warning states how many are missing.
        """
        deadline = clock.now() + timeout_s
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            while self._items and (left := deadline - clock.now()) > 0:
                self._changed.wait(left)
            num_missing = len(self._items) + self._num_lost
            self._items.clear()
            self._changed.notify_all()
        if num_missing:
            self._logger.warning("%d entries were not sent to the server", num_missing)
        return not num_missing

    def _step(self, pause_s: float) -> float | None:
        """Sends the next items.

        Returns the pause before the next attempt in seconds, or None at the end.
        """
        with self._changed:
            if not self._items:
                if self._is_closing:
                    return None
                self._changed.wait(1.0)  # wakes up to check whether the outbox still exists
                return 0.0
            if pause_s and not self._is_closing:
                self._changed.wait_for(lambda: self._is_closing, pause_s)
            elif pause_s:
                self._changed.wait(min(pause_s, _FIRST_PAUSE_S))
            batch = list(itertools.islice(self._items, self._most_at_once))
            self._num_sending = len(batch)
        if not batch:
            return 0.0
        num_done = self._try(batch)
        with self._changed:
            for _ in range(min(num_done, len(self._items))):
                self._items.popleft()
            self._num_sending = 0
            self._changed.notify_all()
        return 0.0 if num_done else min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def _try(self, batch: list[Any]) -> int:
        """Sends a batch, and returns how many items at the front of the queue are done."""
        try:
            self._send(batch)
        except Exception as error:
            if not self._is_refused(error):
                self._warn(error, len(self._items))
                return 0
            if len(batch) > 1:  # one of them is refused: send them one by one
                return self._try(batch[:1])
            self._logger.warning(
                "Dropped an entry that the server refuses: %s: %s", type(error).__name__, error
            )
            with self._changed:
                self._num_lost += 1
            return 1
        if self._is_down:
            self._is_down = False
            self._logger.info("The server is reachable again")
        return len(batch)

    def _warn(self, error: Exception, num_waiting: int) -> None:
        self._is_down = True
        if self._warning.is_due():
            self._logger.warning(
                "Cannot reach the server; training continues with %d queued entries: %s: %s",
                num_waiting,
                type(error).__name__,
                error,
            )


def _send_in_background(reference: weakref.ref[Outbox]) -> None:
    pause_s: float | None = 0.0
    while pause_s is not None:
        outbox = reference()
        if outbox is None:
            return
        pause_s = outbox._step(pause_s)
        del outbox


def why_unreachable(url: str, timeout_s: float = 5.0) -> str | None:
    """Returns the reason why the server of a URL is unreachable; None if it is reachable.

    Clients of trackers retry for a minute or more before they fail. This check takes milliseconds
    if the server is down, and ``timeout_s`` if its host is. If the environment sets a proxy, it
    connects to the proxy.

    Example:
        >>> why_unreachable("http://127.0.0.1:1")
        'http://127.0.0.1:1: [Errno 111] Connection refused'
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.hostname is None:
        return f"{url!r} has no host"
    address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout_s).close()
    except OSError as error:
        return f"{url}: {error}"
    return None
