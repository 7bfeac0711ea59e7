"""What those who write checkpoints and those who read them agree on."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

__all__ = ["Check", "Place", "Write", "Written"]

Write = Callable[[BinaryIO], object]
"""Gets a file that is open for writing, reading and seeking."""

Check = Callable[[Path], object]
"""Looks at a file before it gets its name, and raises if something is wrong with it."""


class Written(NamedTuple):
    """A file as it was committed."""

    size_bytes: int
    crc32: int
    """Of the whole file, as ``zlib.crc32`` computes it."""


class Place(Protocol):
    """A flat collection of files, each whole or absent. Names are plain ones, checked wherever they come from."""

    def write(self, name: str, write: Write, check: Check | None = None) -> Written:
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
