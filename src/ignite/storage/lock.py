"""Locks a folder, so that only one program writes to it."""

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ignite.exceptions import CheckpointError

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ModuleNotFoundError:
    msvcrt = None  # type: ignore[assignment]

__all__ = ["hold"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_HELD_ON_WINDOWS = (errno.EACCES, errno.EDEADLK)
# On Windows, other processes cannot read locked bytes, so the lock covers one far after the text.
_LOCKED_BYTE = 1 << 30
# O_NOFOLLOW: a symbolic link in place of the lock could make us truncate another file.
_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"))
)
_descriptors: set[int] = set()
"""File descriptors of the locks that this process holds."""


@contextmanager
def hold(directory: str | Path) -> Iterator[None]:
    """Locks a folder until the context exits or the process ends.

    Does not wait: raises if the lock is held by another process, or another thread of this one.
    The operating system releases the lock when the process ends. The file ``.lock`` stays in the
    folder; its existence does not mean that the folder is locked.

    Raises:
        CheckpointError: another process, or another part of this one, holds the lock.
        OSError: the folder does not exist or is not writable.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with hold(folder), hold(folder):
        ...     pass
        Traceback (most recent call last):
        ignite.exceptions.CheckpointError: ... should be written to by one program, but its lock is held by process ...
    """
    descriptor = os.open(Path(directory, LOCK), _FLAGS, 0o666)
    _descriptors.add(descriptor)
    try:
        _lock(descriptor, directory)
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(
            descriptor,
            f"process {os.getpid()} on {socket.gethostname()}".encode(errors="surrogateescape"),
        )
        yield
    finally:
        if descriptor in _descriptors:  # a forked child has already closed it
            _descriptors.remove(descriptor)
            # Closing releases the lock. The file is not removed: otherwise two programs could lock
            # two different files of this name.
            os.close(descriptor)


def _lock(descriptor: int, directory: str | Path) -> None:
    try:
        is_held = not _try_to_lock(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        logger.warning(
            "%s cannot be locked (%s): make sure that no other program writes to it",
            directory,
            error,
        )
        return
    if is_held:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another program"
        raise CheckpointError(
            f"{directory} should be written to by one program, but its lock is held by {holder}. "
            "End that program or choose another folder"
        )


def _try_to_lock(descriptor: int) -> bool:
    """Locks the open file, so that closing another descriptor of the file keeps the lock."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    if msvcrt is None:
        raise OSError(errno.ENOSYS, "the system has no file locks")
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno not in _HELD_ON_WINDOWS:
            raise
        return False
    return True


def _close_in_child() -> None:
    """Closes the locks in a forked child, which would hold them after its parent has ended."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
