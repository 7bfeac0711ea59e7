"""The files of a checkpoint handler: written first, tracked then, removed last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ignite import distributed as idist
from ignite.engine import Engine, EventEnum
from ignite.handlers import _ledger
from ignite.handlers._filenames import FileNames
from ignite.handlers._saving import BaseSaveHandler, DiskSaver, Metadata, looks_at_names, remove_each, takes_metadata
from ignite.storage import Decision, Item, check_name

AnyEngine = Engine[Any, Any]


class CheckpointEvents(EventEnum):
    """What :class:`Checkpoint` fires."""

    SAVED_CHECKPOINT = "saved_checkpoint"
    """A checkpoint was saved; in the background, its state was taken. Files that go for it are still there."""


class _InFlight(NamedTuple):
    """A file that is being written in the background, and what was tracked before."""

    order: Metadata
    before: list[Item]


class Shelf:
    """Keeps the files that a handler has written.

    Args:
        rank: the process that writes, where the handler does not say it.

    Attributes:
        items: what is tracked, the worst first.
        restarts: how many runs have written files of this family before.
    """

    def __init__(self, rank: int) -> None:
        self.items: list[Item] = []
        self.restarts = 0
        self._rank = rank
        self._taken: list[Item] = []
        self._has_looked = False
        self._has_taken_over = False
        self._in_flight: _InFlight | None = None
        self._remaining: tuple[str, ...] = ()
        self._real: dict[str, str] = {}
        """What a saver has called files that it was to write under another name."""

    @property
    def handler(self) -> Callable[..., Any]:
        """What writes."""
        handler: Callable[..., Any] = self._handler
        return handler

    @handler.setter
    def handler(self, handler: Any) -> None:
        if isinstance(handler, str | Path):
            handler = DiskSaver(handler, create_dir=True, save_on_rank=self._rank)
        if not callable(handler):
            raise TypeError(
                "Argument `save_handler` should be a string or Path object or callable or inherit from "
                f"BaseSaveHandler, but given {handler!r}"
            )
        self._takes_metadata = takes_metadata(handler)
        self._handler = handler

    @property
    def rank(self) -> int:
        """The process that writes."""
        return getattr(self._handler, "save_on_rank", self._rank) if self.is_on_disk else self._rank

    @property
    def is_on_disk(self) -> bool:
        """Whether names of files are the library's concern."""
        return isinstance(self._handler, DiskSaver)

    @property
    def is_background(self) -> bool:
        """Whether files are written while training goes on."""
        return self.is_on_disk and getattr(self._handler, "background", False) is True

    @property
    def real_names(self) -> dict[str, str]:
        """What a saver has called those files that it has written under another name."""
        return {item.filename: self._real[item.filename] for item in self.items if item.filename in self._real}

    def load(self, state: Any, real_names: Any = None) -> None:
        """Tracks what a state says.

        Args:
            state: pairs of a priority and a name.
            real_names: what was :attr:`real_names`.

        Raises:
            CheckpointError: it does not name files of one folder. Nothing is changed.
        """
        real = _ledger.read_names(real_names)
        items = _ledger.read_items(state, check_name if self.is_on_disk else _ledger.check_loosely)
        taken = {item.filename for item in self._taken}
        self.items = _ledger.merged(items, [item for item in self.items if item.filename in taken])
        self._real = {**self._real, **real}
        self._in_flight = None

    def forget(self) -> None:
        """Tracks nothing, and leaves the files where they are."""
        self.items, self._taken, self._remaining = [], [], ()
        self._in_flight = None

    def look_around(self, names: FileNames) -> None:
        """Finds the files of an earlier run, in the process that writes, if they are to be gone on with."""
        if self._has_looked or not self._resumes():
            return
        self._has_looked = True
        if isinstance(self._handler, DiskSaver) and idist.get_rank() == self.rank:
            rows = self._handler._found(names.family)
            self._taken = _ledger.items_of(rows, names.has_score)
            self.restarts = max((row.note.restarts for row in rows), default=-1) + 1
            self.items = _ledger.merged(self.items, self._taken)

    def take_over(self, first: float | None) -> None:
        """Tracks those files, before anything is decided.

        Args:
            first: the first priority of this run, if priorities are steps.
        """
        if self._has_taken_over or not self._resumes():
            return
        self._has_taken_over = True
        own = [item for item in self.items if item not in self._taken]
        taken = self._taken if first is None else _ledger.before(self._taken, first)
        self.items = _ledger.merged(own, taken)

    def put(self, checkpoint: Any, filename: str, order: Metadata, decision: Decision, engine: AnyEngine) -> None:
        """Writes a file, tracks it, says so, and removes what goes for it. What fails before that changes nothing."""
        order.kept = tuple(item.filename for item in decision.kept if item.filename != filename)
        order.dropped = tuple(name for name in (*self._remaining, *decision.dropped) if name != filename)
        order.real = dict(self._real)
        args = (checkpoint, filename, order) if self._takes_metadata else (checkpoint, filename)
        written = self._write(*args)
        self._real = {name: real for name, real in self._real.items() if name in order.kept}
        if written not in (None, filename):
            self._real[filename] = written
        if self.is_background:
            self._in_flight = _InFlight(order, self.items)
        self.items = decision.kept
        try:
            _announce(engine)
        finally:
            if isinstance(self._handler, BaseSaveHandler) and not self.is_background:
                self._remaining = self._remove(order, written)

    def _write(self, *args: Any) -> str | None:
        """Calls the handler; returns the name of the file that it has written, as far as that can be known."""
        if self.is_on_disk:
            self._handler._written = None
        self._handler(*args)
        return self._handler._written if self.is_on_disk else None

    def _remove(self, order: Metadata, written: str | None) -> tuple[str, ...]:
        if not looks_at_names(self._handler):
            return ()
        stay = order.stays(written)
        return remove_each(self._handler, order.removable(stay), stay)

    def settle(self) -> None:
        """Waits for what is written in the background; if it has failed, what was tracked before it is tracked again.

        Raises:
            Exception: that of the writer, in the process that writes.
        """
        if not self.is_background:
            return
        try:
            self._handler.wait()
        except Exception:
            self._land()
            raise
        self._land()

    def _land(self) -> None:
        """Nothing is in flight any more: tracks what has come of it."""
        flight, self._in_flight = self._in_flight, None
        if flight is not None and flight.order.has_failed:
            self.items = flight.before
        elif flight is not None:
            self._remaining = flight.order.remaining

    def _resumes(self) -> bool:
        return self.is_on_disk and getattr(self._handler, "_resumes", False) is True


def _announce(engine: AnyEngine) -> None:
    """Handlers that are called after this one, at the same event, are to see that event."""
    event = engine.last_event_name
    try:
        engine.fire_event(CheckpointEvents.SAVED_CHECKPOINT)
    finally:
        engine.last_event_name = event
