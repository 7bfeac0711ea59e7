"""Who writes checkpoints: a handler of the user's, or the one that writes to a folder or an object store."""

from __future__ import annotations

import dis
import errno
import functools
import inspect
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import torch

from ignite import distributed as idist
from ignite import storage
from ignite._core.calls import accepts, describe_signature, nearest
from ignite.engine import Engine
from ignite.engine.extension import outermost_engine
from ignite.handlers._rehearsal import check_writable

logger = logging.getLogger(__name__)

OF_TORCH_SAVE = tuple(inspect.signature(torch.save).parameters)[2:]
"""Arguments of ``torch.save``, beside what to save and where."""


class BaseSaveHandler(ABC):
    """Writes checkpoints somewhere, and removes them. Subclass it for a place that is not a folder.

    Example:
        >>> class InMemory(BaseSaveHandler):
        ...     def __init__(self):
        ...         self.files = {}
        ...     def __call__(self, checkpoint, filename, metadata=None):
        ...         self.files[filename] = checkpoint
        ...     def remove(self, filename):
        ...         del self.files[filename]
    """

    @abstractmethod
    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Writes a checkpoint.

        Args:
            checkpoint: what to write.
            filename: its name. A file that has it already is to be replaced, and should not be lost if that fails.
            metadata: "basename" (the prefix and what is saved), "score_name" and "priority" of the checkpoint.
        """

    @abstractmethod
    def remove(self, filename: str) -> None:
        """Removes what was written under this name. Called after what takes its place was written.

        A handler whose ``__call__`` or ``remove`` does not look at the name, because all go to one place, is not asked
        to: it would remove what was just written.
        """


class Metadata(dict[str, Any]):
    """What a save handler is told of a checkpoint; :class:`DiskSaver` is told more, and reports what came of it."""

    note: storage.Note | None = None
    dropped: tuple[str, ...] = ()
    """Files that are to be removed once this one is written."""
    kept: tuple[str, ...] = ()
    """Other files that are to stay."""
    real: Mapping[str, str] = MappingProxyType({})
    """What those are called that a subclass of :class:`DiskSaver` has written under another name."""
    has_failed = False
    remaining: tuple[str, ...] = ()
    """Those of ``dropped`` that could not be removed."""

    def stays(self, written: str | None) -> tuple[str, ...]:
        """The names of the files that have to be there afterwards, the one that was written among them."""
        kept = [self.real.get(name, name) for name in self.kept]
        return tuple(kept if written is None else [*kept, written])

    def removable(self, stay: Collection[str]) -> list[str]:
        """Which of ``dropped`` are files of their own: several names may lead to one."""
        return [name for name in self.dropped if self.real.get(name, name) not in stay]


class DiskSaver(BaseSaveHandler):
    """Writes checkpoints to a folder, or to whatever fsspec can reach, such that each is whole or absent.

    A file is written under another name, synced to the disk and verified before it takes its own name; whatever fails
    before that leaves what was there. What can be loaded with ``torch.load(weights_only=True)`` is written, anything
    else is a TypeError that says where it is. What writers have left that were killed on this machine is cleaned up.

    Args:
        dirname: a path, in which ``~`` is expanded, or a URL such as ``s3://bucket/run`` (extra ``remote``).
        atomic: if not, files are written under their own names at once, and stand there by half until they are done.
        create_dir: make the folder if it is not there.
        require_empty: refuse a folder that holds ``.pt`` files. With "resume", a :class:`Checkpoint` goes on with those
            that it has written there in an earlier run, and ``n_saved`` counts them. False lets them be.
        save_on_rank: the process that writes.
        background: take a copy of the state and write it while training goes on. At most one file is being written:
            the next save waits for it. If writing fails, the next save, or :meth:`wait`, raises the error.
        **kwargs: for ``torch.save``.

    Raises:
        ValueError: the folder is not there, or not empty, and should be.
        TypeError: an argument looks like a misspelt one.

    Example:
        >>> import tempfile
        >>> saver = DiskSaver(tempfile.mkdtemp())
        >>> saver({"epoch": 3}, "state.pt")
        >>> storage.load(saver.dirname / "state.pt").state
        {'epoch': 3}
    """

    def __init__(
        self,
        dirname: str | Path,
        atomic: bool = True,
        create_dir: bool = True,
        require_empty: bool | Literal["resume"] = True,
        save_on_rank: int = 0,
        *,
        background: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(require_empty, str) and require_empty != "resume":
            raise ValueError(f"require_empty should be True, False or 'resume', but given {require_empty!r}")
        for name in kwargs.keys() - set(OF_TORCH_SAVE):
            meant = nearest(name, (*inspect.signature(DiskSaver).parameters, *OF_TORCH_SAVE))
            if meant:  # anything else is for torch.save to refuse
                raise TypeError(f"DiskSaver and torch.save have no argument {name!r}{meant}")
        self.dirname: Any = _where(dirname)
        self.kwargs = kwargs
        self.save_on_rank = save_on_rank
        self.background = background
        self._atomic = atomic
        self._resumes = require_empty == "resume"
        self._opened: storage.Place | None = None
        self._snapshot = storage.Snapshot()
        self._writer = storage.Writer()
        self._written: str | None = None
        self._kept: tuple[str, ...] = ()
        if idist.get_rank() == save_on_rank:
            self._opened = self._open(create_dir)
            if require_empty and not self._resumes:
                self._check_is_empty()
            self._opened.sweep()

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Writes a checkpoint, on the rank that writes.

        Raises:
            TypeError: something in it could not be loaded again.
            ValueError: the name is not a plain one.
            OSError: it could not be written; or, in the background, the one before.
        """
        if idist.get_rank() != self.save_on_rank:
            return
        self._written = storage.check_name(filename)
        order = metadata if isinstance(metadata, Metadata) else Metadata(metadata or {})
        if not self.background:
            self._write(checkpoint, filename, order)
            return
        self._writer.wait()  # before the copy is taken, so that there are never two
        work = functools.partial(self._write_behind, self._snapshot.take(checkpoint), filename, order)
        self._writer.submit(work)

    def remove(self, filename: str) -> None:
        """Removes a file, on the rank that writes. One that was just written for a checkpoint, or is kept, stays.

        Raises:
            ValueError: the name is not a plain one.
            FileNotFoundError: there is no such file.
            OSError: it could not be removed.
        """
        if idist.get_rank() != self.save_on_rank or any(self._is_same(filename, name) for name in self._kept):
            return
        if not self._place.remove(filename):
            raise FileNotFoundError(errno.ENOENT, "The checkpoint is not there", str(self._path_of(filename)))

    def wait(self) -> None:
        """Waits until what is written in the background is there.

        Raises:
            Exception: it could not be written.
        """
        self._writer.wait()

    @contextmanager
    def dry_run_in(self, folder: Path) -> Iterator[Callable[[], None]]:
        """Until the end of the block, it writes into ``folder``."""
        self._writer.wait()
        if idist.get_rank() == self.save_on_rank:
            check_writable(getattr(self._place, "path", None))
        before = self.dirname, self._opened
        self.dirname, self._opened = folder, storage.open_place(folder)
        try:
            yield self._writer.wait
        finally:
            self.dirname, self._opened = before

    @property
    def _place(self) -> storage.Place:
        if self._opened is None:  # made before the process group was
            self._opened = self._open(create=True)
        return self._opened

    def _open(self, create: bool) -> storage.Place:
        place = storage.open_place(self.dirname, create=create)
        if isinstance(place, storage.Folder):
            return storage.Folder(place.path, atomic=self._atomic)
        return place

    def _check_is_empty(self, extension: str = ".pt", prefix: str = "") -> None:
        if idist.get_rank() != self.save_on_rank:
            return
        found = [name for name in self._place.names() if name.endswith(extension) and name.startswith(prefix)]
        if found:
            raise ValueError(
                f"Files {found[:5]} with extension {extension!r} are already present in the directory "
                f"{self.dirname}. Pass require_empty='resume' to go on with them, require_empty=False to let them be, "
                "or another directory"
            )

    def _is_same(self, filename: str, other: str) -> bool:
        """Whether two names lead to one file: the same, or, in folders that do not tell cases apart, nearly."""
        if filename == other or not isinstance(self._place, storage.Folder):
            return filename == other
        paths = self._place.path / filename, self._place.path / other
        return filename.casefold() == other.casefold() and all(map(os.path.exists, paths)) and os.path.samefile(*paths)

    def _path_of(self, filename: str) -> Any:
        return self.dirname / filename if isinstance(self.dirname, Path) else f"{self.dirname}/{filename}"

    def _found(self, family: str) -> list[storage.Row]:
        """The files of an earlier run, the oldest first."""
        found = storage.scan(self._place, family)
        return [storage.Row(one.name, one.note) for one in reversed(found) if one.note is not None]

    def _write(self, state: Any, filename: str, order: Metadata, is_plain: bool = False) -> None:
        note = order.note or _note_from(order)
        storage.save(self._place, filename, state, note, is_plain=is_plain, **self.kwargs)

    def _write_behind(self, state: Any, filename: str, order: Metadata) -> None:
        try:
            self._write(state, filename, order, is_plain=True)
        except BaseException:
            order.has_failed = True
            raise
        stay = order.stays(filename)
        order.remaining = remove_each(self, order.removable(stay), stay)


def remove_each(handler: Any, filenames: Iterable[str], kept: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Removes files that are no longer needed. One that is gone, or stays, is no reason to stop training.

    Args:
        handler: has written them.
        filenames: under which it knows them.
        kept: names of files that a :class:`DiskSaver` may not remove, whatever it makes of ``filenames``.

    Returns:
        Those that could not be removed.
    """
    remaining = []
    if isinstance(handler, DiskSaver):
        handler._kept = kept
    for filename in filenames:
        try:
            handler.remove(filename)
        except FileNotFoundError:
            logger.warning("The checkpoint %s should be removed, but somebody else has done it", filename)
        except Exception as error:
            logger.warning("The checkpoint %s should be removed, but could not be: %s", filename, error)
            remaining.append(filename)
    if isinstance(handler, DiskSaver):
        handler._kept = ()
    return tuple(remaining)


def looks_at_names(handler: BaseSaveHandler) -> bool:
    """Whether a save handler uses the names that it is given, to write and to remove.

    One that does not has a single place for all, and removing an old name would remove what stands there.
    """
    return _reads(type(handler).__call__, 2) and _reads(getattr(type(handler), "remove", None), 1)


def _reads(function: Any, number: int) -> bool:
    """Whether the code of a function reads its parameter of this number; True where that cannot be seen."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or code.co_argcount <= number:
        return True
    name = code.co_varnames[number]
    return name in code.co_cellvars or any(
        name in (one.argval if isinstance(one.argval, tuple) else (one.argval,))
        for one in dis.get_instructions(code)
        if one.opname.startswith("LOAD_FAST")
    )


def takes_metadata(handler: Callable[..., Any]) -> bool:
    """Whether a save handler wants to know more than what to save and its name.

    Raises:
        TypeError: it cannot be called with either.
    """
    if accepts(handler, {}, "", {}):
        return True
    if accepts(handler, {}, ""):
        return False
    raise TypeError(
        "Argument `save_handler` should accept (checkpoint, filename) or (checkpoint, filename, metadata), but takes "
        f"{describe_signature(handler)}"
    )


def note_of(engine: Engine[Any, Any], score: Any, score_name: Any, family: str, restarts: int) -> storage.Note:
    """What a file says about itself. In the handlers of an evaluator, how far training is: the outermost engine."""
    state = (outermost_engine() or engine).state
    return storage.Note(
        step=int(state.iteration),
        epoch=int(state.epoch),
        score=None if score is None else float(score),
        score_name=None if score_name is None else str(score_name),
        family=family,
        restarts=restarts,
        created=time.time(),
    )


def _note_from(metadata: Mapping[str, Any]) -> storage.Note:
    """For those who call a saver themselves."""
    return storage.Note(family=str(metadata.get("basename", "")), created=time.time())


def _where(dirname: str | Path) -> Any:
    """A path, or a URL as it was given."""
    text = str(dirname)
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return text.rstrip("/") if "://" in text else Path(dirname).expanduser()
