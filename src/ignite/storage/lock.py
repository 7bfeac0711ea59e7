"""One program writes to a folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ignite.exceptions import CheckpointError

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold"]

_HELD: set[tuple[int, int, int]] = set()
"""Process, device and number of the lock files that this process holds: its own locks do not stop a process."""
_KEPT_OPEN: list[int] = []


@contextmanager
def hold(directory: str | Path) -> Iterator[None]:
    """Keeps others from writing to a folder, as long as the context is open and this process lives.

    Raises:
        CheckpointError: another program, or another part of this one, holds it.

    Example:
        >>> import tempfile
        >>> with hold(tempfile.mkdtemp()):
        ...     pass
    """
    if fcntl is None:  # pragma: no cover - Windows
        yield
        return
    path = Path(directory) / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    status = os.fstat(descriptor)
    key = (os.getpid(), status.st_dev, status.st_ino)
    if key in _HELD:  # closing this descriptor would let go of the lock, too
        _KEPT_OPEN.append(descriptor)
        raise CheckpointError(f"{directory} should be written to by one run, but its lock is held by another one here")
    try:
        # A lock of the process, not of the open file: workers that are forked off do not hold it when this one dies.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "somebody"
        os.close(descriptor)
        raise CheckpointError(
            f"{directory} should be written to by one program, but its lock is held by {holder}. End that one, or "
            "take another folder"
        ) from None
    _HELD.add(key)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        _HELD.discard(key)
        os.close(descriptor)  # which lets go of the lock; the file stays, so that nobody locks one that is gone
