"""One program writes to a folder."""

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

__all__ = ["hold"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
_HAS_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_descriptors: set[int] = set()
"""Of the locks that this process holds."""


@contextmanager
def hold(directory: str | Path) -> Iterator[None]:
    """Keeps others from writing to a folder, as long as the context is open and this process lives.

    The file ``.lock`` stays behind. It means nothing: what counts is whether a living process has
    locked it.

    Raises:
        CheckpointError: another program, or another part of this one, holds it.
        OSError: the folder is not there, or cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with hold(folder), hold(folder):
        ...     pass
        Traceback (most recent call last):
        ignite.exceptions.CheckpointError: ... should be written to by one program, but its lock is held by process ...
    """
    if fcntl is None:  # pragma: no cover - Windows
        yield
        return
    path = Path(directory, LOCK)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    _descriptors.add(descriptor)
    try:
        _lock(descriptor, directory)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        if descriptor in _descriptors:  # not in a child, which has closed it
            _descriptors.remove(descriptor)
            os.close(
                descriptor
            )  # which lets go of the lock; if the file were removed, two could lock two of them


def _lock(descriptor: int, directory: str | Path) -> None:
    # The lock is the open file's, not the process's: it holds against other parts of this one, and
    # closing another descriptor of the same file does not let go of it.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "somebody"
        raise CheckpointError(
            f"{directory} should be written to by one program, but its lock is held by {holder}. End that one, or "
            "take another folder"
        ) from None
    except OSError as error:
        if error.errno not in _HAS_NO_LOCKS:
            raise
        logger.warning(
            "%s cannot be locked: see to it that no other program writes there (%s)",
            directory,
            error,
        )


def _let_go() -> None:
    """A forked process, such as a loader's worker, shares the open file, and would hold the lock when we are dead."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
