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

_LINKS_UNSUPPORTED = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


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
        """Makes ``link`` a symbolic link to a file; does nothing where links are not supported."""

    def read_link(self, link: str) -> str | None:
        """Returns the name of the file that a link points to; None if there is none."""

    def sweep(self) -> list[str]:
        """Removes temporary files of killed writers; returns their names."""


class Folder:
    """A local folder.

    The path may be a symbolic link to a folder; links inside the folder are not followed.

    Args:
        path: the folder.
        atomic: if False, files are written under their own names, and are incomplete while they are
            written.

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
        """Opens the file for reading."""
        return (self.path / check_name(name)).open("rb")

    def remove(self, name: str) -> bool:
        """See :class:`Place`. If ``name`` is a link, removes the link."""
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
            raise FileNotFoundError(f"{self.path / name} should be a regular file, but is not")
        return status.st_size

    def point(self, link: str, name: str) -> None:
        """See :class:`Place`. Replaces an existing link atomically; does not replace a file."""
        check_name(name)
        path, temporary = self.path / check_name(link), self.path / temporary_name(link)
        if path.exists() and not path.is_symlink():
            logger.warning(
                "%s should be a link to %s, but is a file, which is not replaced: move it away",
                path,
                name,
            )
            return
        try:
            os.symlink(name, temporary)
        except OSError as error:
            if error.errno not in _LINKS_UNSUPPORTED:
                raise
            logger.debug(
                "%s does not support links (%s): only index.json names %s", self.path, error, link
            )
            return
        try:
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def read_link(self, link: str) -> str | None:
        """See :class:`Place`. Returns None for a link to a file outside of the folder."""
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
