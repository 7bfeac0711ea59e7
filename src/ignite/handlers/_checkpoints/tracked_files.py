"""The files of a checkpoint handler: builds their names, tracks, writes and removes them."""

from __future__ import annotations

import math
import numbers
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ignite import distributed as idist
from ignite._core.calls import nearest
from ignite.engine import Engine, EventEnum
from ignite.exceptions import CheckpointError
from ignite.handlers._checkpoints.save_handlers import (
    BaseSaveHandler,
    DiskSaver,
    Metadata,
    looks_at_names,
    remove_each,
    takes_metadata,
)
from ignite.storage import Decision, Item, Row, check_name

AnyEngine = Engine[Any, Any]
EXTENSION = "pt"


def setup_filename_pattern(
    with_prefix: bool = True,
    with_score: bool = True,
    with_score_name: bool = True,
    with_global_step: bool = True,
) -> str:
    """Returns the default pattern of file names with the requested parts.

    Raises:
        ValueError: neither score nor step is requested, or the name of a score without the score.

    Example:
        >>> setup_filename_pattern(with_prefix=False, with_score_name=False)
        '{name}_{global_step}_{score}.{ext}'
    """
    if not (with_score or with_global_step):
        raise ValueError("At least one of with_score and with_global_step should be True.")
    if with_score_name and not with_score:
        raise ValueError("If with_score_name is True, with_score should be also True")
    parts = ["{filename_prefix}"] if with_prefix else []
    parts.append("{name}")
    if with_global_step:
        parts.append("{global_step}")
    if with_score:
        parts.append("{score_name}={score}" if with_score_name else "{score}")
    return "_".join(parts) + ".{ext}"


def score_text(score: Any) -> str:
    """Formats a score: integers and other objects with ``str``, other numbers with four digits.

    Example:
        >>> score_text(0.123456), score_text(3), score_text(3.0)
        ('0.1235', '3', '3.0000')
    """
    if isinstance(score, numbers.Number) and not isinstance(score, numbers.Integral):
        return f"{score:.4f}"
    return f"{score}"


class FileNames(NamedTuple):
    """Builds the file names of a checkpoint handler.

    Example:
        >>> FileNames(["model"], "best", True, "acc", None).fill(step=7, score=0.5)
        'best_model_7_acc=0.5000.pt'
    """

    keys: Collection[Any]
    """Names of the saved objects."""
    prefix: str
    has_score: bool
    score_name: str | None
    pattern: str | None
    ext: str = EXTENSION

    @property
    def name(self) -> str:
        """Name of a single object, or "checkpoint" for several."""
        return str(next(iter(self.keys))) if len(self.keys) == 1 else "checkpoint"

    @property
    def basename(self) -> str:
        """Prefix and name."""
        return f"{self.prefix}_{self.name}" if self.prefix else self.name

    @property
    def family(self) -> str:
        """Identifies the series of files that belong together, also across runs."""
        kind = "score" if self.has_score else "step"
        parts = (self.prefix, self.name, kind, self.score_name, self.pattern)
        return "|".join("" if part is None else str(part) for part in parts)[:1000]

    def fill(self, step: Any, score: Any, name: str | None = None) -> str:
        """Returns the name of a file.

        Raises:
            KeyError: the pattern has an unknown field.
        """
        pattern = self.pattern
        if pattern is None:
            pattern = setup_filename_pattern(
                bool(self.prefix), self.has_score, self.score_name is not None, step is not None
            )
        fields = {
            "filename_prefix": self.prefix,
            "name": self.name if name is None else name,
            "score_name": self.score_name,
            "score": None if score is None else score_text(score),
            "global_step": step,
            "ext": self.ext,
        }
        try:
            return pattern.format(**fields)
        except KeyError as error:
            unknown = str(error.args[0])
            raise KeyError(
                f"filename_pattern should use the fields {', '.join(fields)}, but given {unknown!r}"
                f"{nearest(unknown, fields)}"
            ) from None

    def check(self) -> None:
        """Checks that file names are plain, as far as possible before scores and steps are known.

        Raises:
            KeyError: the pattern has an unknown field.
            ValueError: file names would contain a path.
        """
        try:
            name = self.fill(0, 0.0 if self.has_score else None)
        except (TypeError, ValueError):  # the pattern formats values of another type
            return
        check_name(name)


def merge_items(saved: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    """Merges two lists, sorted by priority; entries of ``saved`` win over those of ``others``."""
    known = {item.filename for item in saved}
    return sorted([*saved, *(item for item in others if item.filename not in known)], key=_rank_of)


def items_from_rows(rows: Sequence[Row], has_scores: bool) -> list[Item]:
    """Converts files of an earlier run, oldest first, to items with score or step as priority.

    Example:
        >>> from ignite.storage import Note
        >>> items_from_rows([Row("a", Note(step=3, score=0.5))], has_scores=True)
        [Item(priority=0.5, filename='a')]
    """
    if has_scores:
        return [
            Item(math.nan if row.note.score is None else row.note.score, row.file) for row in rows
        ]
    return [Item(max(row.note.order[1], i), row.file) for i, row in enumerate(rows)]


def shift_before(items: Sequence[Item], first: Any) -> list[Item]:
    """Shifts priorities of earlier files below ``first``, so that they are older than new files.

    Example:
        >>> shift_before([Item(10, "a"), Item(12, "b")], first=11)
        [Item(priority=8, filename='a'), Item(priority=10, filename='b')]
    """
    excess = max((item.priority for item in items), default=first - 1) - first + 1
    return [Item(item.priority - max(0, excess), item.filename) for item in items]


def read_items(state: Any, check: Callable[[str], object]) -> list[Item]:
    """Reads the tracked files from a state.

    Raises:
        CheckpointError: the state is not a list of priorities and names, or ``check`` rejects a
            name.
    """
    if not isinstance(state, list | tuple):
        raise CheckpointError(
            f"_saved should be a list of priorities and file names, but given {state!r:.100}"
        )
    items = []
    for pair in state:
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not isinstance(pair[0], numbers.Number)
        ):
            raise CheckpointError(
                f"_saved should hold pairs of a priority and a file name, but given {pair!r:.100}"
            )
        try:
            check(pair[1])
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"_saved should hold names of files in one folder. {error}"
            ) from error
        items.append(Item(pair[0], pair[1]))  # type: ignore[arg-type]
    return merge_items(items, [])


def read_names(state: Any) -> dict[str, str]:
    """Reads the actual names of files that a custom saver renamed.

    Raises:
        CheckpointError: a name is not a plain file name.
    """
    if not isinstance(state, Mapping | None):
        raise CheckpointError(
            f"_real should be a dictionary of file names, but given {state!r:.100}"
        )
    try:
        return {str(name): check_name(real) for name, real in (state or {}).items()}
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"_real should hold names of files in one folder. {error}") from error


def state_of_items(
    items: Sequence[Item], real_names: Mapping[str, str] = MappingProxyType({})
) -> OrderedDict[str, Any]:
    """Returns the state that :func:`read_items` and :func:`read_names` read, in Ignite's format."""
    # Ignite reads them, too: numbers of numpy and tensors become numbers of Python.
    pairs = [
        (getattr(one.priority, "item", lambda p=one.priority: p)(), one.filename) for one in items
    ]
    state: OrderedDict[str, Any] = OrderedDict(_saved=pairs)
    if real_names:
        state["_real"] = dict(real_names)
    return state


def check_custom_name(name: Any) -> None:
    """Checks a file name of a custom save handler, which may contain folders.

    Raises:
        ValueError: the name leads out of the folder.
    """
    if (
        not isinstance(name, str)
        or ".." in name.replace("\\", "/").split("/")
        or not name.isprintable()
    ):
        raise ValueError(
            f"A file name should be a printable string without '..', but given {name!r:.80}"
        )


def _rank_of(item: Item) -> tuple[bool, float]:
    """Sort key: NaN is the lowest."""
    return (False, 0.0) if math.isnan(item.priority) else (True, item.priority)


class CheckpointEvents(EventEnum):
    """Events fired by :class:`Checkpoint`."""

    SAVED_CHECKPOINT = "saved_checkpoint"
    """A checkpoint was saved, or, in the background, its state was copied.

    Replaced files still exist.
    """


class _PendingWrite(NamedTuple):
    """A file that is being written in the background, and the files tracked before it."""

    order: Metadata
    before: list[Item]


class TrackedFiles:
    """The files that a checkpoint handler keeps.

    A file is written first, then tracked; old files are removed last.

    Args:
        rank: the rank that writes, unless the save handler defines it.

    Attributes:
        items: the tracked files, worst first.
        restarts: the number of earlier runs that wrote files of this family.
    """

    def __init__(self, rank: int) -> None:
        self.items: list[Item] = []
        self.restarts = 0
        self._rank = rank
        self._earlier: list[Item] = []
        self._has_searched = False
        self._has_adopted = False
        self._pending: _PendingWrite | None = None
        self._remaining: tuple[str, ...] = ()
        self._real: dict[str, str] = {}
        """Actual names of files that a custom saver renamed."""

    @property
    def handler(self) -> Callable[..., Any]:
        """The save handler."""
        handler: Callable[..., Any] = self._handler
        return handler

    @handler.setter
    def handler(self, handler: Any) -> None:
        if isinstance(handler, str | Path):
            handler = DiskSaver(handler, create_dir=True, save_on_rank=self._rank)
        if not callable(handler):
            raise TypeError(
                "Argument `save_handler` should be a string or Path object or callable or inherit "
                f"from BaseSaveHandler, but given {handler!r}"
            )
        self._takes_metadata = takes_metadata(handler)
        self._handler = handler

    @property
    def rank(self) -> int:
        """The rank that writes."""
        return getattr(self._handler, "save_on_rank", self._rank) if self.is_on_disk else self._rank

    @property
    def is_on_disk(self) -> bool:
        """Whether a :class:`DiskSaver` writes the files."""
        return isinstance(self._handler, DiskSaver)

    @property
    def is_background(self) -> bool:
        """Whether files are written in the background."""
        return self.is_on_disk and getattr(self._handler, "background", False) is True

    @property
    def real_names(self) -> dict[str, str]:
        """Actual names of tracked files that a custom saver renamed."""
        return {
            item.filename: self._real[item.filename]
            for item in self.items
            if item.filename in self._real
        }

    def load(self, state: Any, real_names: Any = None) -> None:
        """Restores the tracked files from a state.

        Args:
            state: pairs of priority and name.
            real_names: the saved :attr:`real_names`.

        Raises:
            CheckpointError: the state does not name files of one folder. Nothing is changed.
        """
        real = read_names(real_names)
        items = read_items(state, check_name if self.is_on_disk else check_custom_name)
        taken = {item.filename for item in self._earlier}
        self.items = merge_items(items, [item for item in self.items if item.filename in taken])
        self._real = {**self._real, **real}
        self._pending = None

    def reset(self) -> None:
        """Forgets all tracked files without removing them."""
        self.items, self._earlier, self._remaining = [], [], ()
        self._pending = None

    def find_earlier(self, names: FileNames) -> None:
        """Finds files of an earlier run, with ``require_empty="resume"``, on the writing rank."""
        if self._has_searched or not self._resumes():
            return
        self._has_searched = True
        if isinstance(self._handler, DiskSaver) and idist.get_rank() == self.rank:
            rows = self._handler._found(names.family)
            self._earlier = items_from_rows(rows, names.has_score)
            self.restarts = max((row.note.restarts for row in rows), default=-1) + 1
            self.items = merge_items(self.items, self._earlier)

    def adopt(self, first: float | None) -> None:
        """Tracks the files of the earlier run, before the first decision of this run.

        Args:
            first: the first priority of this run, if priorities are steps.
        """
        if self._has_adopted or not self._resumes():
            return
        self._has_adopted = True
        own = [item for item in self.items if item not in self._earlier]
        taken = self._earlier if first is None else shift_before(self._earlier, first)
        self.items = merge_items(own, taken)

    def save(
        self, checkpoint: Any, filename: str, order: Metadata, decision: Decision, engine: AnyEngine
    ) -> None:
        """Writes a file, tracks it, fires the event, and removes replaced files.

        If writing fails, nothing changes.
        """
        order.kept = tuple(item.filename for item in decision.kept if item.filename != filename)
        order.dropped = tuple(
            name for name in (*self._remaining, *decision.dropped) if name != filename
        )
        order.real = dict(self._real)
        args = (checkpoint, filename, order) if self._takes_metadata else (checkpoint, filename)
        written = self._write(*args)
        self._real = {name: real for name, real in self._real.items() if name in order.kept}
        if written not in (None, filename):
            self._real[filename] = written
        if self.is_background:
            self._pending = _PendingWrite(order, self.items)
        self.items = decision.kept
        try:
            _announce(engine)
        finally:
            if isinstance(self._handler, BaseSaveHandler) and not self.is_background:
                self._remaining = self._remove(order, written)

    def _write(self, *args: Any) -> str | None:
        """Calls the save handler; returns the actual name of the written file, if known."""
        if self.is_on_disk:
            self._handler._written = None
        self._handler(*args)
        return self._handler._written if self.is_on_disk else None

    def _remove(self, order: Metadata, written: str | None) -> tuple[str, ...]:
        if not looks_at_names(self._handler):
            return ()
        stay = order.stays(written)
        return remove_each(self._handler, order.removable(stay), stay)

    def wait(self) -> None:
        """Waits for the background write.

        If it failed, the previously tracked files are tracked again.

        Raises:
            Exception: the error of the writer, on the rank that writes.
        """
        if not self.is_background:
            return
        try:
            self._handler.wait()
        except Exception:
            self._finish_write()
            raise
        self._finish_write()

    def _finish_write(self) -> None:
        """Updates the tracked files with the result of the background write."""
        pending, self._pending = self._pending, None
        if pending is not None and pending.order.has_failed:
            self.items = pending.before
        elif pending is not None:
            self._remaining = pending.order.remaining

    def _resumes(self) -> bool:
        return self.is_on_disk and getattr(self._handler, "_resumes", False) is True


def _announce(engine: AnyEngine) -> None:
    """Fires the event; handlers called later still see the outer event as the last one."""
    event = engine.last_event_name
    try:
        engine.fire_event(CheckpointEvents.SAVED_CHECKPOINT)
    finally:
        engine.last_event_name = event
