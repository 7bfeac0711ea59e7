"""Verifies the checksums of a checkpoint file, which torch writes but does not verify."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ignite.exceptions import CheckpointError
from ignite.storage._archive import Archive, is_legacy
from ignite.storage.note import NewerVersionError, Note, note_in

__all__ = ["verify"]


def verify(path: str | Path) -> Note | None:
    """Reads a whole checkpoint and verifies all checksums.

    Takes about half a millisecond per MB.

    Detects accidental damage: truncated files, flipped bits, parts of two files in one. It does not
    detect changes by an attacker, who can write matching checksums; it only ensures that reading
    takes memory and time proportional to the size of the file.

    Returns:
        The note of the checkpoint; None if there is none.

    Raises:
        CheckpointError: the file is damaged, not a zip archive of torch, or of a newer version.
        OSError: the file cannot be read.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp(), "model.pt")
        >>> torch.save({"weight": torch.zeros(2)}, path)
        >>> verify(path)
        >>> path.write_bytes(path.read_bytes()[:-1]) > 0
        True
        >>> verify(path)
        Traceback (most recent call last):
        ignite.exceptions.CheckpointError: ... is damaged or no checkpoint: its end is missing, so it is truncated
    """
    with open_file(path) as file:
        try:
            return verify_file(file)[1]
        except CheckpointError as error:
            raise with_path(error, path) from None


def with_path(error: CheckpointError, path: str | Path) -> CheckpointError:
    """Returns the error with the path of the file in its message."""
    if isinstance(error, NewerVersionError):
        return CheckpointError(f"{path} was {error}")
    return CheckpointError(f"{path} is damaged or no checkpoint: {error}")


def verify_file(file: BinaryIO) -> tuple[Archive, Note | None]:
    """Like :func:`verify`, for an open file; the message does not contain the path."""
    if is_legacy(file):
        raise CheckpointError(
            "it was written by a version of torch before 1.6, which stored no checksums"
        )
    archive = Archive(file)
    archive.check()
    return archive, note_in(archive)


def open_file(path: str | Path) -> BinaryIO:
    """Opens a file for reading; refuses devices, and pipes, which would block.

    Raises:
        CheckpointError: the path is not a regular file.
        OSError: the file cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CheckpointError(f"{path} should be a regular file, but is not")
    return open(path, "rb")
