"""Storage backends for checkpoints: local folders, and remote ones that fsspec supports."""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from ignite.storage.bucket import Bucket
from ignite.storage.commit import Check, Write, Written, commit, sweep
from ignite.storage.naming import check_name, temporary_name

__all__ = ["Folder", "Place", "Written", "open_place"]

logger = logging.getLogger(__name__)

_HAS_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


class Place(Protocol):
    """A destination for checkpoints: a flat collection of files, each whole or absent.

    All names are checked.
    """

    def write(self, name: str, write: Write, check: Check | None = None) -> Written:
        """Commits a file; see :func:`ignite.storage.commit`."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """A local path to read the file from, while the context is open."""

    def remove(self, name: str) -> bool:
        """Removes a file; False if it was not there."""

    def names(self) -> list[str]:
        """The files, sorted: neither temporary ones nor links."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def point(self, link: str, name: str) -> None:
        """Makes a stable name point to a file, where links are possible; the index works everywhere."""

    def read_link(self, link: str) -> str | None:
        """The file that a stable name points to; None if there is none."""

    def sweep(self) -> list[str]:
        """Removes temporary files of killed writers; returns their names."""


class Folder:
    """A folder on this machine. It may be a link to one; nothing in it is followed.

    Args:
        path: the folder.
        atomic: if not, files are written under their own name, and stand there by half until that
            is done.

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
        self.path = Path(path)
        self._atomic = atomic

    def write(self, name: str, write: Write, check: Check | None = None) -> Written:
        """See :class:`Place`."""
        return commit(self.path, name, write, check=check, atomic=self._atomic)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See :class:`Place`."""
        yield self.path / check_name(name)

    def open(self, name: str) -> BinaryIO:
        """The file, to read parts of it."""
        return (self.path / check_name(name)).open("rb")

    def remove(self, name: str) -> bool:
        """See :class:`Place`. Of a link, the link is removed."""
        try:
            os.unlink(self.path / check_name(name))
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """See :class:`Place`. Names that ``check_name`` refuses are left out."""
        with os.scandir(self.path) as entries:
            files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        return sorted(filter(_is_plain, files))

    def size(self, name: str) -> int:
        """See :class:`Place`."""
        status = os.stat(self.path / check_name(name), follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{self.path / name} should be a file, but is none")
        return status.st_size

    def point(self, link: str, name: str) -> None:
        """See :class:`Place`: a symbolic link, replaced at once. A file is not replaced."""
        check_name(name)
        path, temporary = self.path / check_name(link), self.path / temporary_name(link)
        if path.exists() and not path.is_symlink():
            logger.warning(
                "%s should be a link to %s, but is a file, and left as it is: move it away",
                path,
                name,
            )
            return
        try:
            os.symlink(name, temporary)
        except OSError as error:
            if error.errno not in _HAS_NO_LINKS:
                raise
            logger.debug("%s has no links (%s): %s is only in index.json", self.path, error, link)
            return
        try:
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def read_link(self, link: str) -> str | None:
        """See :class:`Place`. A link out of the folder is none."""
        try:
            name = check_name(os.readlink(self.path / check_name(link)))
            self.size(name)
        except (OSError, ValueError):
            return None
        return name

    def sweep(self) -> list[str]:
        """See :class:`Place`."""
        return sweep(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"


def open_place(where: str | Path, create: bool = True, **options: Any) -> Place:
    """A folder, or for a URL what fsspec finds there.

    Args:
        where: a path, or a URL such as ``s3://bucket/run``, which takes the extra ``remote``. ``~``
            is expanded.
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
        return Bucket(text, **options)
    path = Path(unquote(urlsplit(text).path) if text.startswith("file://") else where).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError(f"where should be a folder, but given {path}, which is a file")
    if create:
        path.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        raise ValueError(f"Directory path '{path}' is not found")
    return Folder(path)


def _is_plain(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True
