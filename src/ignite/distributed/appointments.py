"""Appointments: the ranks agree on an iteration in which all act on a message, without a collective.

Rank 0 announces a message in the store of the process group. A thread of each rank looks for it
from time to time, makes its rank look at each boundary from now on, and publishes the iteration
that this rank is in. All act one iteration after the latest of these. No rank has passed that
iteration: it may have been at the end of the published one when it was made to look, but not
further. Nobody waits in the store but these threads, which do not depend on each other's ranks, and
a rank that has nothing to act on never waits.
"""

from __future__ import annotations

import threading
from typing import Any

from ignite._core.torch_private import default_store
from ignite.distributed._process_group import get_rank, get_world_size

__all__ = ["Appointments", "Meeting"]

_LOOK_AGAIN_S = 0.02


class Meeting:
    """A message, and the iteration in which to act on it.

    Attributes:
        number: the number of the message, from 0.
        message: the text that rank 0 has announced.
    """

    def __init__(self, number: int, message: str) -> None:
        self.number, self.message = number, message
        self._iteration: int | None = None
        self._is_settled = threading.Event()

    def iteration(self) -> int | None:
        """Waits for the iteration; None if a rank has ended its run before."""
        self._is_settled.wait()
        return self._iteration

    def settle(self, iteration: int | None) -> None:
        """Sets the iteration."""
        self._iteration = iteration
        self._is_settled.set()


class Appointments:
    """The messages of one run. All methods but :meth:`leave` are for one thread per rank.

    Args:
        name: name of the run, equal on all ranks and for no other run.

    Raises:
        RuntimeError: the process group has no store that several threads can use.
    """

    def __init__(self, name: str) -> None:
        store = default_store()
        try:
            # A store of its own: a thread that waits in a store keeps others from using it.
            self._store: Any = None if store is None else store.clone()
        except (AttributeError, NotImplementedError, RuntimeError):
            self._store = None
        if self._store is None:
            raise RuntimeError(
                "Appointments need a process group with a store that can be cloned, such as "
                f"TCPStore, but given {store!r}"
            )
        self._prefix = f"ignite/appointments/{name}"
        self._rank, self._size = get_rank(), get_world_size()
        self._num_announced = self._num_seen = self._num_asked = 0
        self._has_left = threading.Event()

    def announce(self, message: str) -> None:
        """Announces a message. For rank 0."""
        self._store.set(f"{self._prefix}/{self._num_announced}", message)
        self._num_announced += 1

    def next(self) -> Meeting | None:
        """Returns the next message, if one is announced, without waiting."""
        key = f"{self._prefix}/{self._num_seen}"
        if not self._store.check([key]):
            return None
        self._num_seen += 1
        return Meeting(self._num_seen - 1, self._store.get(key).decode())

    def propose(self, meeting: Meeting, iteration: int) -> None:
        """Publishes the iteration that this rank is in, and settles the meeting when all have done so.

        Call it after this rank is made to look at its boundaries.
        """
        self._publish(meeting.number, str(iteration))
        keys = [self._key(meeting.number, rank) for rank in range(self._size)]
        while True:
            # Looked at first: what a rank publishes before it ends is there when it has ended.
            ended = [rank for rank in range(self._size) if self._store.check([self._end_of(rank)])]
            if self._store.check(keys):
                found = [int(self._store.get(key)) for key in keys]
                meeting.settle(max(found) + 1)
                return
            if any(not self._store.check([keys[rank]]) for rank in ended):
                meeting.settle(None)
                return
            if self._has_left.wait(_LOOK_AGAIN_S):
                meeting.settle(None)
                return

    def ask(self) -> None:
        """Asks rank 0 for something; any rank may."""
        self._store.add(f"{self._prefix}/asked", 1)

    def was_asked(self) -> bool:
        """Whether a rank has asked since the last call. For rank 0."""
        before, self._num_asked = self._num_asked, self._store.add(f"{self._prefix}/asked", 0)
        return self._num_asked > before

    def leave(self) -> None:
        """Ends the run of this rank: the others must not wait for it. For any thread."""
        self._has_left.set()

    def close(self) -> None:
        """Tells the other ranks that this one has left, when its thread has ended."""
        self._store.set(self._end_of(self._rank), "")

    def _publish(self, number: int, text: str) -> None:
        self._store.set(self._key(number, self._rank), text)

    def _key(self, number: int, rank: int) -> str:
        return f"{self._prefix}/{number}/{rank}"

    def _end_of(self, rank: int) -> str:
        return f"{self._prefix}/ended/{rank}"
