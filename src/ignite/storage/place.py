"""Storage backends for checkpoints: local folders, and remote ones that fsspec supports."""

import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ignite._core import systems
from ignite.storage.bucket import Bucket
from ignite.storage.commit import Check, Write, Written, commit, sweep
from ignite.storage.naming import check_name, temporary_name

__all__ = ["BEST", "INDEX", "LAST", "Folder", "Place", "Written", "follow", "open_place"]

logger = logging.getLogger(__name__)

INDEX = "index.json"
"""Names the checkpoints in a folder, see :mod:`ignite.storage.index`."""
BEST = "best.pt"
LAST = "last.pt"


class Place(Protocol):
    """A storage backend: a flat collection of files that appear complete or not at all.

    All methods check names with ``check_name``.
    """

    def write(self, name: str, write: Write, check: Check | None = None) -> Written:
        """Writes a file atomically; see :func:`ignite.storage.commit`."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Yields a local path of the file, which is valid until the context exits."""

    def remove(self, name: str) -> bool:
        """Removes a file; returns False if it does not exist."""

    def names(self) -> list[str]:
        """Returns the sorted names of the files, without temporary files and links."""

    def size(self, name: str) -> int:
        """Returns the size of a file in bytes."""

    def point(self, link: str, name: str) -> None:
        """Makes ``link`` a symbolic link to a file; no-op where links are not supported, see :func:`follow`."""

    def read_link(self, link: str) -> str | None:
        """Returns the name of the file that a link points to; None if there is none."""

    def sweep(self) -> list[str]:
        """Removes temporary files of killed writers; returns their names."""


class Folder:
    """A local folder.

    The path may be a symbolic link to a folder; links inside the folder are not followed.

    Args:
        path: the folder.
        atomic: if False, files are written under their final names, and are incomplete during the
            write.

    Example:
        >>> import tempfile
        >>> folder = Folder(tempfile.mkdtemp())
        >>> folder.write("greeting", lambda file: file.write(b"hello")).size_bytes
        5
        >>> folder.names()
        ['greeting']
        >>> folder.remove("../greeting")
        Traceback (most recent call last):
        ValueError: name should be the plain name of a file, but given '../greeting', which has a separator
    """

    def __init__(self, path: str | Path, atomic: bool = True) -> None:
        self.path = systems.on_disk(path)
        self._atomic = atomic

    def write(self, name: str, write: Write, check: Check | None = None) -> Written:
        """See :class:`Place`."""
        return commit(self.path, name, write, check=check, atomic=self._atomic)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See :class:`Place`."""
        yield self._at(name)

    def open(self, name: str) -> BinaryIO:
        """Opens the file for reading."""
        return self._at(name).open("rb")

    def remove(self, name: str) -> bool:
        """See :class:`Place`. If ``name`` is a link, removes the link."""
        try:
            systems.unlink(self._at(name))
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """See :class:`Place`. Names that ``check_name`` refuses are left out."""
        with os.scandir(self.path) as entries:
            files = [
                systems.as_text(entry.name)
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            ]
        return sorted(filter(_is_plain, files))

    def size(self, name: str) -> int:
        """See :class:`Place`."""
        status = os.stat(self._at(name), follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{self.path / name} should be a regular file, but is not")
        return status.st_size

    def point(self, link: str, name: str) -> None:
        """See :class:`Place`. Replaces an existing link atomically; does not replace a file."""
        check_name(name)
        path, temporary = self._at(link), self.path / temporary_name(link)
        if path.exists() and not path.is_symlink():
            logger.warning(
                "%s should be a link to %s, but is a file, and is not replaced: move or remove it",
                path,
                name,
            )
            return
        try:
            os.symlink(systems.on_disk(name), temporary)
        except OSError as error:
            if not systems.cannot_link(error):
                raise
            logger.debug(
                "%s has no link %s (%s): index.json names the file", self.path, link, error
            )
            return
        try:
            systems.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def read_link(self, link: str) -> str | None:
        """See :class:`Place`. Returns None for a link to a file outside of the folder."""
        try:
            name = check_name(systems.as_text(os.readlink(self._at(link))))
            self.size(name)
        except (OSError, ValueError):
            return None
        return name

    def sweep(self) -> list[str]:
        """See :class:`Place`."""
        return sweep(self.path)

    def _at(self, name: str) -> Path:
        return self.path / systems.on_disk(check_name(name))

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"


def open_place(where: str | Path, create: bool = True, **options: Any) -> Place:
    """Opens a local folder or, for a URL, a remote folder that fsspec supports.

    Args:
        where: a path, in which ``~`` is expanded, or a URL such as ``s3://bucket/run``, which needs
            the extra ``remote``.
        create: whether to create the folder if it does not exist.
        **options: options of fsspec's file system, such as keys and endpoints.

    Raises:
        ValueError: the path is a file; or the folder does not exist, and ``create`` is False.
        ModuleNotFoundError: ``where`` is a URL, and fsspec is not installed.

    Example:
        >>> import tempfile
        >>> open_place(tempfile.mkdtemp()).names()
        []
    """
    text = str(where)
    if "://" in text and not text.startswith("file://"):
        return Bucket(text, **options)
    local = systems.path_of_url(text) if text.startswith("file://") else where
    path = systems.on_disk(local).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError(f"where should be a folder, but given {path}, which is a file")
    if create:
        path.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        raise ValueError(f"Directory path '{path}' is not found")
    return Folder(path)


def follow(path: Path) -> Path:
    """Resolves ``best.pt`` or ``last.pt`` through ``index.json`` where there are no links.

    Like a link, the index is written after the file is complete. On Windows, creating links needs a
    privilege. Any other path is returned unchanged.

    Example:
        >>> follow(Path("run/checkpoint_5.pt")).name
        'checkpoint_5.pt'
    """
    if path.name not in (BEST, LAST) or os.path.lexists(path):
        return path
    try:
        index = json.loads(path.with_name(INDEX).read_bytes())
        return path.with_name(str(systems.on_disk(check_name(index[path.stem]))))
    except (OSError, ValueError, TypeError, KeyError):
        return path


def _is_plain(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True
