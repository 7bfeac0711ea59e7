"""Where checkpoints are kept: a folder, or whatever fsspec can reach."""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from ignite.storage.commit import Written, commit, sweep
from ignite.storage.naming import check_name, temporary_name

__all__ = ["Folder", "Place", "open_place"]


class Place(Protocol):
    """A flat collection of files, each whole or absent. Names are plain ones, checked wherever they come from."""

    def write(
        self, name: str, write: Callable[[BinaryIO], object], check: Callable[[Path], object] | None = None
    ) -> Written:
        """Commits a file; see :func:`ignite.storage.commit`."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """A path on this machine to read the file from, as long as the context is open."""

    def remove(self, name: str) -> bool:
        """Removes a file; False if it was not there."""

    def names(self) -> list[str]:
        """The files, sorted: neither temporary ones nor links."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def point(self, link: str, name: str) -> None:
        """Lets a stable name stand for a file, where that is possible; the index says it everywhere."""

    def read_link(self, link: str) -> str | None:
        """The file that a stable name stands for; None if there is none."""

    def sweep(self) -> list[str]:
        """Removes what killed writers have left; returns the names."""


class Folder:
    """A folder on this machine.

    Args:
        path: the folder.
        atomic: if not, files are written under their own name, and stand there by half until that is done.
    """

    def __init__(self, path: str | Path, atomic: bool = True) -> None:
        self.path = Path(path)
        self._atomic = atomic

    def write(
        self, name: str, write: Callable[[BinaryIO], object], check: Callable[[Path], object] | None = None
    ) -> Written:
        """See :class:`Place`."""
        return commit(self.path, name, write, check=check, atomic=self._atomic)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See :class:`Place`."""
        yield self.path / check_name(name)

    def remove(self, name: str) -> bool:
        """See :class:`Place`. Of a link, the link is removed."""
        try:
            os.unlink(self.path / check_name(name))
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """See :class:`Place`."""
        with os.scandir(self.path) as entries:
            files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        return sorted(entry.name for entry in files if not entry.name.startswith("."))

    def size(self, name: str) -> int:
        """See :class:`Place`."""
        status = os.stat(self.path / check_name(name), follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{self.path / name} should be a file, but is none")
        return status.st_size

    def point(self, link: str, name: str) -> None:
        """See :class:`Place`: a symbolic link, replaced at once."""
        check_name(name)
        temporary = self.path / temporary_name(check_name(link))
        os.symlink(name, temporary)
        try:
            os.replace(temporary, self.path / link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def read_link(self, link: str) -> str | None:
        """See :class:`Place`. A link out of the folder is none."""
        try:
            name = os.readlink(self.path / check_name(link))
            return check_name(name) if (self.path / name).is_file() else None
        except (OSError, ValueError):
            return None

    def sweep(self) -> list[str]:
        """See :class:`Place`."""
        return sweep(self.path)

    def __str__(self) -> str:
        return str(self.path)


def open_place(where: str | Path, create: bool = True, **options: Any) -> Place:
    """A folder, or for a URL what fsspec finds there.

    Args:
        where: a path, or a URL such as ``s3://bucket/run``, which takes the extra ``remote``. ``~`` is expanded.
        create: make a folder that is not there.
        **options: for the file system of fsspec, such as keys and endpoints.

    Raises:
        ValueError: the folder is not there and should not be made, or is a file.
        ModuleNotFoundError: a URL, and fsspec is not installed.

    Example:
        >>> import tempfile
        >>> open_place(tempfile.mkdtemp()).names()
        []
    """
    text = str(where)
    if "://" in text and not text.startswith("file://"):
        return _bucket(text, options)
    path = Path(unquote(urlsplit(text).path) if text.startswith("file://") else where).expanduser()
    if create:
        path.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        raise ValueError(f"Directory path '{path}' is not found")
    return Folder(path)


def _bucket(url: str, options: dict[str, Any]) -> Place:
    place: Place = importlib.import_module("ignite.storage.bucket").Bucket(url, **options)
    return place
