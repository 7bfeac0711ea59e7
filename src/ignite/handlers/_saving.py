"""Who writes checkpoints: a handler of the user's, or the one that writes to a folder or an object store."""

from __future__ import annotations

import errno
import functools
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from ignite import distributed as idist
from ignite import storage
from ignite._core.calls import accepts, describe_signature
from ignite.engine import Engine
from ignite.engine._running import outermost
from ignite.handlers._rehearsal import check_writable

logger = logging.getLogger(__name__)


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
        """Removes what was written under this name. Called after what takes its place was written."""


class Metadata(dict[str, Any]):
    """What a save handler is told of a checkpoint; :class:`DiskSaver` is told more, and reports what came of it."""

    note: storage.Note | None = None
    dropped: tuple[str, ...] = ()
    """Files that are to be removed once this one is written."""
    has_failed = False
    remaining: tuple[str, ...] = ()
    """Those of ``dropped`` that could not be removed."""


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
        self.dirname: Any = _where(dirname)
        self.kwargs = kwargs
        self.save_on_rank = save_on_rank
        self.background = background
        self._atomic = atomic
        self._resumes = require_empty == "resume"
        self._opened: storage.Place | None = None
        self._snapshot = storage.Snapshot()
        self._writer = storage.Writer()
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
        storage.check_name(filename)
        order = metadata if isinstance(metadata, Metadata) else Metadata(metadata or {})
        if not self.background:
            self._write(checkpoint, filename, order)
            return
        self._writer.wait()  # before the copy is taken, so that there are never two
        work = functools.partial(self._write_behind, self._snapshot.take(checkpoint), filename, order)
        self._writer.submit(work)

    def remove(self, filename: str) -> None:
        """Removes a file, on the rank that writes.

        Raises:
            ValueError: the name is not a plain one.
            FileNotFoundError: there is no such file.
            OSError: it could not be removed.
        """
        if idist.get_rank() == self.save_on_rank and not self._place.remove(filename):
            raise FileNotFoundError(errno.ENOENT, "The checkpoint is not there", str(self._path_of(filename)))

    def wait(self) -> None:
        """Waits until what is written in the background is there.

        Raises:
            Exception: it could not be written.
        """
        self._writer.wait()

    @contextmanager
    def _elsewhere(self, folder: Path) -> Iterator[Callable[[], None]]:
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

    def _check_is_empty(self) -> None:
        found = [name for name in self._place.names() if name.endswith(".pt")]
        if found:
            raise ValueError(
                f"Files {found[:5]} with extension '.pt' are already present in the directory {self.dirname}. Pass "
                "require_empty='resume' to go on with them, require_empty=False to let them be, or another directory"
            )

    def _path_of(self, filename: str) -> Any:
        return self.dirname / filename if isinstance(self.dirname, Path) else f"{self.dirname}/{filename}"

    def _found(self, family: str) -> list[storage.Row]:
        """The files of an earlier run, the oldest first."""
        found = storage.scan(self._place, family)
        return [storage.Row(one.name, one.note) for one in reversed(found) if one.note is not None]

    def _write(self, state: Any, filename: str, order: Metadata) -> None:
        storage.save(self._place, filename, state, order.note or _note_from(order), **self.kwargs)

    def _write_behind(self, state: Any, filename: str, order: Metadata) -> None:
        try:
            self._write(state, filename, order)
        except BaseException:
            order.has_failed = True
            raise
        order.remaining = remove_each(self, order.dropped)


def remove_each(handler: Any, filenames: Iterable[str]) -> tuple[str, ...]:
    """Removes files that are no longer needed. One that is gone, or stays, is no reason to stop training.

    Returns:
        Those that could not be removed.
    """
    remaining = []
    for filename in filenames:
        try:
            handler.remove(filename)
        except FileNotFoundError:
            logger.warning("The checkpoint %s should be removed, but somebody else has done it", filename)
        except Exception as error:
            logger.warning("The checkpoint %s should be removed, but could not be: %s", filename, error)
            remaining.append(filename)
    return tuple(remaining)


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
    state = (outermost() or engine).state
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
