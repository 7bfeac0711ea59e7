"""Save handlers: write checkpoints to a folder, an object store or a custom destination."""

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

import torch

from ignite import distributed as idist
from ignite import storage
from ignite._core.calls import accepts, describe_signature, nearest, signature_of
from ignite._core.files import check_writable
from ignite._core.systems import on_disk, path_of_url
from ignite._core.trees import replaced
from ignite.engine import Engine
from ignite.engine.extension import outermost_engine

logger = logging.getLogger(__name__)

OF_TORCH_SAVE = tuple(signature_of(torch.save).parameters)[2:]
"""Optional arguments of ``torch.save``."""


class BaseSaveHandler(ABC):
    """Writes and removes checkpoints. Subclass it for destinations other than a folder.

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
    def __call__(
        self,
        checkpoint: Mapping[str, Any],
        filename: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes a checkpoint.

        Args:
            checkpoint: the states to write.
            filename: the name. Replaces an existing file, which should survive if writing fails.
            metadata: "basename" (prefix and name), "score_name" and "priority" of the checkpoint.
        """

    @abstractmethod
    def remove(self, filename: str) -> None:
        """Removes a checkpoint. Called after its replacement was written.

        Not called if ``__call__`` or ``remove`` ignores the name: such a handler has a single
        destination, and would remove what it has just written.
        """


class Metadata(dict[str, Any]):
    """Metadata passed to a save handler; :class:`DiskSaver` also uses the attributes below."""

    note: storage.Note | None = None
    dropped: tuple[str, ...] = ()
    """Files to remove once this one is written."""
    kept: tuple[str, ...] = ()
    """Other files to keep."""
    real: Mapping[str, str] = MappingProxyType({})
    """Actual names of files that a subclass of :class:`DiskSaver` renamed."""
    has_failed = False
    remaining: tuple[str, ...] = ()
    """Files of ``dropped`` that could not be removed."""

    def stays(self, written: str | None) -> tuple[str, ...]:
        """Returns the names of all files to keep, including the one just written."""
        kept = [self.real.get(name, name) for name in self.kept]
        return tuple(kept if written is None else [*kept, written])

    def removable(self, stay: Collection[str]) -> list[str]:
        """Returns the names of ``dropped`` that refer to no file in ``stay``."""
        return [name for name in self.dropped if self.real.get(name, name) not in stay]


class DiskSaver(BaseSaveHandler):
    """Writes checkpoints atomically to a folder, or to any file system that fsspec supports.

    A file is written under a temporary name, synced to disk and verified before it is renamed; if
    anything fails before that, the existing file stays. Files can be loaded by
    ``torch.load(weights_only=True)``; numpy's arrays, dates, paths and some other objects, see
    :func:`ignite.storage.check_storable`, are tagged tuples in them, which
    :meth:`Checkpoint.load_objects` and :func:`ignite.storage.load` turn into these objects. Any
    other object raises a TypeError that names its place. Temporary files of killed processes on
    this machine are removed.

    Args:
        dirname: a path, in which ``~`` is expanded, or a URL such as ``s3://bucket/run`` (extra
            ``remote``).
        atomic: whether to write under a temporary name first. If not, readers can see incomplete
            files.
        create_dir: whether to create the folder if it does not exist.
        require_empty: whether to refuse a folder with ``.pt`` files. With "resume", a
            :class:`Checkpoint` tracks the files that it wrote in an earlier run, and ``n_saved``
            counts them. False ignores existing files.
        save_on_rank: the rank that writes.
        background: whether to copy the state and write it while training continues. At most one
            file is written at a time: the next save waits for it. If writing fails, the next save,
            or :meth:`wait`, raises the error.
        weights_only: False pickles other objects instead of refusing them. Such a file is loaded
            with ``weights_only=False``, too, which runs the code that the file names.
        **kwargs: passed to ``torch.save``.

    Raises:
        ValueError: the folder does not exist or is not empty, but should.
        TypeError: an argument seems to be misspelled.

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
        weights_only: bool = True,
        **kwargs: Any,
    ) -> None:
        if isinstance(require_empty, str) and require_empty != "resume":
            raise ValueError(
                f"require_empty should be True, False or 'resume', but given {require_empty!r}"
            )
        for name in kwargs.keys() - set(OF_TORCH_SAVE):
            meant = nearest(name, (*signature_of(DiskSaver).parameters, *OF_TORCH_SAVE))
            if meant:  # anything else is for torch.save to refuse
                raise TypeError(f"DiskSaver and torch.save have no argument {name!r}{meant}")
        self.dirname: Any = _where(dirname)
        self.kwargs = kwargs
        self.save_on_rank = save_on_rank
        self.background = background
        self.weights_only = weights_only
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

    def __call__(
        self,
        checkpoint: Mapping[str, Any],
        filename: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes a checkpoint, on ``save_on_rank`` only.

        Raises:
            TypeError: the checkpoint holds something that could not be loaded again.
            ValueError: the name is not a plain file name.
            OSError: writing failed; in the background, writing the previous checkpoint failed.
        """
        if idist.get_rank() != self.save_on_rank:
            return
        self._written = storage.check_name(filename)
        order = metadata if isinstance(metadata, Metadata) else Metadata(metadata or {})
        if not self.background:
            self._write(checkpoint, filename, order)
            return
        self._writer.wait()  # before the copy, so that there is only one at a time
        copied = self._snapshot.take(checkpoint, weights_only=self.weights_only)
        self._writer.submit(functools.partial(self._write_behind, copied, filename, order))

    def remove(self, filename: str) -> None:
        """Removes a file, on ``save_on_rank`` only, unless it was just written or is to be kept.

        Raises:
            ValueError: the name is not a plain file name.
            FileNotFoundError: the file does not exist.
            OSError: removing it failed.
        """
        if idist.get_rank() != self.save_on_rank or any(
            self._is_same(filename, name) for name in self._kept
        ):
            return
        if not self._place.remove(filename):
            raise FileNotFoundError(
                errno.ENOENT, "No such checkpoint", str(self._path_of(filename))
            )

    def wait(self) -> None:
        """Waits for the background write.

        Raises:
            Exception: writing failed.
        """
        self._writer.wait()

    @contextmanager
    def dry_run_in(self, folder: Path) -> Iterator[Callable[[], None]]:
        """In a dry run: writes to ``folder``."""
        self._writer.wait()
        if idist.get_rank() == self.save_on_rank:
            check_writable(getattr(self._place, "path", None))
        with replaced(self, dirname=folder, _opened=storage.open_place(folder)):
            yield self._writer.wait

    @property
    def _place(self) -> storage.Place:
        if self._opened is None:  # the saver was created before the process group
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
        found = [
            name
            for name in self._place.names()
            if name.endswith(extension) and name.startswith(prefix)
        ]
        if found:
            raise ValueError(
                f"Files {found[:5]} with extension {extension!r} are already present in the "
                f"directory "
                f"{self.dirname}. Pass require_empty='resume' to track them, require_empty=False "
                "to ignore them, or use another directory"
            )

    def _is_same(self, filename: str, other: str) -> bool:
        """Whether two names refer to one file, also on case-insensitive file systems."""
        if filename == other or not isinstance(self._place, storage.Folder):
            return filename == other
        paths = self._place.path / filename, self._place.path / other
        return (
            filename.casefold() == other.casefold()
            and all(map(os.path.exists, paths))
            and os.path.samefile(*paths)
        )

    def _path_of(self, filename: str) -> Any:
        return (
            self.dirname / filename
            if isinstance(self.dirname, Path)
            else f"{self.dirname}/{filename}"
        )

    def _found(self, family: str) -> list[storage.Row]:
        """Returns the files of an earlier run, oldest first."""
        found = storage.scan(self._place, family)
        return [storage.Row(one.name, one.note) for one in reversed(found) if one.note is not None]

    def _write(self, state: Any, filename: str, order: Metadata, is_plain: bool = False) -> None:
        note = order.note or _note_from(order)
        storage.save(
            self._place,
            filename,
            state,
            note,
            is_plain=is_plain,
            weights_only=self.weights_only,
            **self.kwargs,
        )

    def _write_behind(self, state: Any, filename: str, order: Metadata) -> None:
        try:
            self._write(state, filename, order, is_plain=True)
        except BaseException:
            order.has_failed = True
            raise
        stay = order.stays(filename)
        order.remaining = remove_each(self, order.removable(stay), stay)


def remove_each(
    handler: Any, filenames: Iterable[str], kept: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Removes files that are no longer needed. Logs a warning instead of raising if that fails.

    Args:
        handler: the save handler that wrote them.
        filenames: the names that were passed to the handler.
        kept: names of files that a :class:`DiskSaver` must not remove.

    Returns:
        The names of files that could not be removed.
    """
    remaining = []
    if isinstance(handler, DiskSaver):
        handler._kept = kept
    for filename in filenames:
        try:
            handler.remove(filename)
        except FileNotFoundError:
            logger.warning("Checkpoint %s has already been removed", filename)
        except Exception as error:
            logger.warning("Cannot remove checkpoint %s: %s", filename, error)
            remaining.append(filename)
    if isinstance(handler, DiskSaver):
        handler._kept = ()
    return tuple(remaining)


def looks_at_names(handler: BaseSaveHandler) -> bool:
    """Whether a save handler uses the file name, both to write and to remove.

    If not, it has a single destination, and removing an old name would remove the newest
    checkpoint.
    """
    return _reads(type(handler).__call__, 2) and _reads(getattr(type(handler), "remove", None), 1)


def _reads(function: Any, number: int) -> bool:
    """Whether the bytecode of a function reads its parameter ``number``; True if unknown."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or code.co_argcount <= number:
        return True
    name = code.co_varnames[number]
    return name in code.co_cellvars or any(
        name in (one.argval if isinstance(one.argval, tuple) else (one.argval,))
        for one in dis.get_instructions(code)
        if "LOAD_FAST" in one.opname  # also STORE_FAST_LOAD_FAST, of Python 3.13
    )


def takes_metadata(handler: Callable[..., Any]) -> bool:
    """Whether a save handler accepts metadata.

    Raises:
        TypeError: it can be called neither with nor without metadata.
    """
    if accepts(handler, {}, "", {}):
        return True
    if accepts(handler, {}, ""):
        return False
    raise TypeError(
        "Argument `save_handler` should accept (checkpoint, filename) or (checkpoint, filename, "
        f"metadata), but takes {describe_signature(handler)}"
    )


def note_of(
    engine: Engine[Any, Any], score: Any, score_name: Any, family: str, restarts: int
) -> storage.Note:
    """Returns the metadata of a file.

    Epoch and iteration are those of the outermost running engine: the trainer.
    """
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
    """Returns the metadata of a file if the program calls the saver itself."""
    return storage.Note(family=str(metadata.get("basename", "")), created=time.time())


def _where(dirname: str | Path) -> Any:
    """Returns a path, or a URL unchanged."""
    text = str(dirname)
    if text.startswith("file://"):
        return on_disk(path_of_url(text))
    return text.rstrip("/") if "://" in text else on_disk(dirname).expanduser()
