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

from ignite._core import systems
from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name

__all__ = ["Written", "commit", "sweep"]

_CHUNK = 1 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Some systems lack some of the flags. O_NOFOLLOW: a symbolic link in place of the file could make
# us overwrite another file.
_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
)

Write = Callable[[BinaryIO], object]
"""Writes the content to a file that is open for writing, reading and seeking."""

Check = Callable[[Path], object]
"""Checks the temporary file before it is renamed; raises if the file is damaged."""


class Written(NamedTuple):
    """Size and checksum of a committed file."""

    size_bytes: int
    crc32: int
    """``zlib.crc32`` of the whole file."""


def commit(
    directory: Path,
    name: str,
    write: Write,
    *,
    check: Check | None = None,
    atomic: bool = True,
) -> Written:
    """Writes a file atomically: at any time, ``name`` is the complete new file or the previous one.

    Writes a temporary file in the same folder, syncs it to disk and checks it. Then renames the
    file and syncs the folder. When this function returns, the file survives a power failure. If
    only syncing the folder fails, the error is raised, and the new file is complete but may not
    survive a power failure.

    Args:
        directory: the folder.
        name: a plain file name; a symbolic link of this name is replaced, not followed.
        write: called with the open file. The user's umask determines the permissions.
        check: called with the path of the written file; raises if the file is damaged.
        atomic: if False, the file is written under its final name. It is incomplete during the
            write, and is removed if the write fails.

    Raises:
        ValueError: ``name`` is not a plain file name.
        OSError: the file could not be written; if the disk is full, the message gives the free
            space.
        Exception: whatever ``write`` and ``check`` raise. When an atomic write fails, the temporary
            file is removed, and an existing file of this name is unchanged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> commit(folder, "greeting", lambda file: file.write(b"hello")).size_bytes
        5
    """
    directory = systems.on_disk(directory)
    target = directory / systems.on_disk(check_name(name))
    temporary = directory / systems.on_disk(temporary_name(name)) if atomic else target
    if not atomic and target.is_symlink():
        os.unlink(target)
    with _error_context(target):
        descriptor = os.open(temporary, _FLAGS | (os.O_EXCL if atomic else os.O_TRUNC), 0o666)
        try:
            written = _write(descriptor, write)
            if check is not None:
                check(temporary)
            if atomic:
                systems.replace(temporary, target)
        except BaseException:
            with suppress(OSError):  # the disk may be gone; sweep() removes what is left
                os.unlink(temporary)
            raise
        # Otherwise, a power cut could lose the new name of a synced file.
        systems.sync(directory)
    return written


def sweep(directory: Path) -> list[str]:
    """Removes temporary files and folders of processes that were killed on this machine.

    Returns:
        Their names.
    """
    with os.scandir(directory) as entries:
        stale = [
            entry for entry in entries if is_temporary(entry.name) and owner_is_dead(entry.name)
        ]
    swept = []
    for entry in stale:
        with suppress(FileNotFoundError):  # another process was faster
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
            swept.append(entry.name)
    return sorted(swept)


class _File(io.RawIOBase):
    """A buffered file for writing. After the first error, every write raises it again.

    ``torch.save`` replaces the error of a file with an error about file positions. And if later
    writes succeeded after a failed one, the file would have a hole.

    Small writes are buffered and written together, because torch makes seven for each tensor.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()
        self._at = 0  # offset of the next byte
        self.error: OSError | None = None
        self.size_bytes = 0
        self.crc32: int | None = 0
        """Checksum of the written bytes; None if they were not written sequentially."""

    def write(self, data: Any) -> int:
        if self.error is not None:
            raise self.error
        view = memoryview(data).cast("B")
        size = len(view)
        if self.crc32 is not None and self._at == self.size_bytes:
            self.crc32 = zlib.crc32(view, self.crc32)
        else:
            self.crc32 = None
        self._at += size
        self.size_bytes = max(self.size_bytes, self._at)
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
            _raise_first_error(file)
            raise
        _raise_first_error(file)
        os.fsync(descriptor)
        return _measure(file)
    finally:
        os.close(descriptor)


def _raise_first_error(file: _File) -> None:
    if file.error is None:
        return
    if file.error.errno in _DISK_FULL and file.error.strerror is not None:
        file.error.strerror += f", {file.size_bytes} bytes or more needed"
    raise file.error from None


def _measure(file: _File) -> Written:
    if file.crc32 is not None:
        return Written(file.size_bytes, file.crc32)
    file.seek(0)
    return read_checksum(cast(BinaryIO, file))


def read_checksum(file: BinaryIO) -> Written:
    """Reads the rest of a file and returns its size and checksum."""
    size, crc32 = 0, 0
    while chunk := file.read(_CHUNK):
        size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
    return Written(size, crc32)


@contextmanager
def _error_context(target: Path) -> Iterator[None]:
    """Adds the file name to an OSError and, if the disk is full, the free space."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(target)
        if error.errno in _DISK_FULL and error.strerror is not None:
            error.strerror += f", {_free_bytes(target.parent)} bytes free"
        error.add_note(f"while writing {target}")
        raise


def _free_bytes(directory: Path) -> Any:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return "an unknown number of"
