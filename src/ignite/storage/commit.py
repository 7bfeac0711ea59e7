"""Atomic writes: a file appears complete or not at all, whenever the process or machine stops."""

import errno
import io
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name

__all__ = ["Written", "commit", "sweep"]

_CHUNK = 1 << 20
_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What file systems say that cannot sync a folder, and have nothing to lose by it.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
# Flags that only some systems have. A link of the name of a temporary file is somebody's trap: it
# is not followed.
_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
)

Write = Callable[[BinaryIO], object]
"""Writes the content; its argument is open for writing, reading and seeking."""

Check = Callable[[Path], object]
"""Checks a file before it gets its name; raises if it is wrong."""


class Written(NamedTuple):
    """Size and checksum of a committed file."""

    size_bytes: int
    crc32: int
    """Of the whole file, as ``zlib.crc32`` computes it."""


def commit(
    directory: Path,
    name: str,
    write: Write,
    *,
    check: Check | None = None,
    atomic: bool = True,
) -> Written:
    """Writes a file such that its name stands for the whole of it, or for what was there before.

    A temporary file in the same folder is written, synced to the disk and checked; then it takes
    the name, and the folder is synced, too. When this function has returned, the file survives a
    power cut. If the last of these steps fails, the error is raised and the new file stands there,
    whole, but may not survive one.

    Args:
        directory: the folder.
        name: a plain file name; a symbolic link of this name is replaced, not followed.
        write: gets the open file. The user's umask says who may read it.
        check: gets the path of what was written, and raises if it is not right.
        atomic: if not, the name stands for half a file while it is written, and for none if that
            fails.

    Raises:
        ValueError: the name is not plain.
        OSError: it could not be written; for a full disk, the message says how much is free.
            Whatever ``write`` and ``check`` raise comes as it is. The temporary file is gone then,
            and what had the name has it still.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> commit(folder, "greeting", lambda file: file.write(b"hello")).size_bytes
        5
    """
    directory, target = Path(directory), Path(directory, check_name(name))
    temporary = directory / temporary_name(name) if atomic else target
    if not atomic and target.is_symlink():
        os.unlink(target)
    with _explained(target):
        descriptor = os.open(temporary, _FLAGS | (os.O_EXCL if atomic else os.O_TRUNC), 0o666)
        try:
            written = _write(descriptor, write)
            if check is not None:
                check(temporary)
            if atomic:
                os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):  # never made, or the disk is gone; sweep() takes what is left
                os.unlink(temporary)
            raise
        _sync_folder(directory)
    return written


def sweep(directory: Path) -> list[str]:
    """Removes temporary files, and folders, of processes that were killed on this machine.

    Returns:
        Their names.
    """
    with os.scandir(directory) as entries:
        left = [
            entry for entry in entries if is_temporary(entry.name) and owner_is_dead(entry.name)
        ]
    swept = []
    for entry in left:
        with suppress(FileNotFoundError):  # another process was faster
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
            swept.append(entry.name)
    return sorted(swept)


class _File(io.RawIOBase):
    """The file that is being written. Remembers its first error and fails ever after.

    torch replaces the error of a file by one of its own, that positions do not fit; and if only one
    write failed, and later ones did not, there would be a hole in the file.

    Small pieces are collected and written together: torch writes seven of them for each tensor.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()
        self._at = 0  # where the next byte goes
        self.error: OSError | None = None
        self.num_needed = 0
        self.crc32: int | None = 0
        """Of all that was written, as long as it was written from the beginning to the end."""

    def write(self, data: Any) -> int:
        if self.error is not None:
            raise self.error
        view = memoryview(data).cast("B")
        size = len(view)
        if self.crc32 is not None and self._at == self.num_needed:
            self.crc32 = zlib.crc32(view, self.crc32)
        else:
            self.crc32 = None
        self._at += size
        self.num_needed = max(self.num_needed, self._at)
        if size < _CHUNK:
            self._pending += view
        if size >= _CHUNK or len(self._pending) >= _CHUNK:
            self.flush()
        if size >= _CHUNK:
            self._write_out(view)
        return size

    def flush(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, bytearray()
            self._write_out(memoryview(pending))

    def _write_out(self, view: memoryview) -> None:
        num_written = 0
        try:
            while num_written < len(view):
                num_written += os.write(self._descriptor, view[num_written:])
        except OSError as error:
            self.error = error
            raise

    def readinto(self, buffer: Any) -> int:
        self.flush()
        data = os.read(self._descriptor, len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.flush()
        self._at = os.lseek(self._descriptor, offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self.flush()
        size = self._at if size is None else size
        os.ftruncate(self._descriptor, size)
        self.crc32 = None
        return size

    def fileno(self) -> int:
        self.flush()
        return self._descriptor

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _write(descriptor: int, write: Write) -> Written:
    try:
        file = _File(descriptor)
        try:
            write(cast(BinaryIO, file))
            file.flush()
        except Exception:
            _raise_error_of(file)
            raise
        _raise_error_of(file)
        os.fsync(descriptor)
        return _measure(file)
    finally:
        os.close(descriptor)


def _raise_error_of(file: _File) -> None:
    if file.error is None:
        return
    if file.error.errno in _IS_FULL and file.error.strerror is not None:
        file.error.strerror += f", {file.num_needed} bytes or more needed"
    raise file.error from None


def _measure(file: _File) -> Written:
    if file.crc32 is not None:
        return Written(file.num_needed, file.crc32)
    file.seek(0)
    size, crc32 = 0, 0
    while chunk := file.read(_CHUNK):
        size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
    return Written(size, crc32)


def _sync_folder(directory: Path) -> None:
    """Without this the new name may be lost in a power cut, though the file is not."""
    if not hasattr(os, "O_DIRECTORY"):  # pragma: no cover - folders cannot be opened on Windows
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Adds to an error what file it is about, and of a full disk, how much is free."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(target)
        if error.errno in _IS_FULL and error.strerror is not None:
            error.strerror += f", {_free(target.parent)} bytes free"
        error.add_note(f"while writing {target}")
        raise


def _free(directory: Path) -> Any:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return "an unknown number of"
