"""Verifies the checksums of a checkpoint file, which torch writes but does not check."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ignite.exceptions import CheckpointError
from ignite.storage._archive import Archive, is_legacy
from ignite.storage.note import NewerVersionError, Note, note_in

__all__ = ["verify"]


def verify(path: str | Path) -> Note | None:
    """Reads a checkpoint to its end and compares all checksums.

    Costs about half a millisecond per MB.

    Finds accidents: files that are cut off, bits that have changed, parts of two files in one.
    Against somebody who makes up checksums as well, it only makes sure that reading takes no more
    memory and time than the file is long.

    Returns:
        What the checkpoint says about itself; None if it is not one of ours.

    Raises:
        CheckpointError: it is damaged, no zip file as torch writes them, or of a newer version.
        OSError: it cannot be read.

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
            raise explained(error, path) from None


def explained(error: CheckpointError, path: str | Path) -> CheckpointError:
    """The error with the file that it is about."""
    if isinstance(error, NewerVersionError):
        return CheckpointError(f"{path} was {error}")
    return CheckpointError(f"{path} is damaged or no checkpoint: {error}")


def verify_file(file: BinaryIO) -> tuple[Archive, Note | None]:
    """The same for an open file, without its name in the message."""
    if is_legacy(file):
        raise CheckpointError(
            "it was written by a version of torch before 1.6, which stored no checksums"
        )
    archive = Archive(file)
    archive.check()
    return archive, note_in(archive)


def open_file(path: str | Path) -> BinaryIO:
    """Opens a file to read it; a pipe, which would be waited for, or a device is refused.

    Raises:
        CheckpointError: it is no file.
        OSError: it cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CheckpointError(f"{path} should be a file, but is none")
    return open(path, "rb")
