"""Reads and writes the zip archives of ``torch.save``; refuses archives that torch would not write.

``zipfile`` is not used, for two reasons. For some archives, ``zipfile`` and torch find different
entries, so a check by ``zipfile`` says nothing about what ``torch.load`` reads. And ``zipfile``
makes several times as many calls per entry, while a state of many small tensors has tens of
thousands of entries. ``docs/decisions/0017-storage-keeps-its-modules-and-its-zip-code.md`` has the
counts.
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from ignite.exceptions import CheckpointError

MAX_ENTRIES = 200_000
_CHUNK = 1 << 20
_MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_HEADER = struct.Struct("<4s5H3L2H")
_EXTRA_64_LOCAL = struct.Struct("<2H2Q")
_EXTRA_64 = struct.Struct("<2H3Q")
_FULL_32 = 0xFFFFFFFF
_HAS_DESCRIPTOR = 0x8  # checksum and size follow the content instead of standing in the header
_IS_UTF8 = 0x800
_MAX_DEPTH = 20
_IS_STORAGE = re.compile(r"data/\d+", re.ASCII).fullmatch  # nearly all entries

# torch.load(mmap=True) requires that storages start at multiples of this number of bytes.
_ALIGNMENT = 64
_PADDING = struct.Struct("<2s H")
_VERSION, _VERSION_64 = 20, 45  # version of the zip format that a reader has to support
_DATE = 33  # 1980-01-01, so that equal states give equal files

# First bytes of the files of torch before 1.6: a pickled magic number.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


class Entry(NamedTuple):
    """An entry of the archive, as listed in the central directory."""

    name: str
    header: int
    size: int
    crc32: int
    flags: int
    raw_name: bytes


class _Directory(NamedTuple):
    """Location of the central directory, the list of all entries at the end of the file."""

    start: int
    size: int
    num_entries: int


def is_legacy(file: BinaryIO) -> bool:
    """Whether torch before version 1.6 wrote the file. Leaves the position at the start."""
    file.seek(0)
    has_magic = file.read(len(_LEGACY)) == _LEGACY
    file.seek(0)
    return has_magic


class Archive:
    """The entries of a checkpoint file.

    Args:
        file: a file that is open for reading. It is not closed.

    Raises:
        CheckpointError: the file is truncated, or ``torch.save`` would not have written it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.directory = _find_directory(file)
        entries = list(_parse_entries(self.read_directory(), self.directory.num_entries))
        self.root = entries[0].name.partition("/")[0] if entries else ""
        self.entries = {_check_name(entry.name, self.root): entry for entry in entries}
        # torch ignores case when it looks up an entry.
        if len({name.lower() for name in self.entries}) != len(entries):
            raise CheckpointError("two entries have the same name")

    def read_directory(self) -> bytes:
        """Returns the bytes of the central directory."""
        self._file.seek(self.directory.start)
        directory = self._file.read(self.directory.size)
        if len(directory) != self.directory.size:
            raise CheckpointError("its central directory is truncated")
        return directory

    def sizes(self) -> dict[str, int]:
        """Returns the sizes in bytes of all entries, by name."""
        return {name: entry.size for name, entry in self.entries.items()}

    def check(self) -> None:
        """Reads all entries and compares their checksums.

        Raises:
            CheckpointError: an entry is damaged.
        """
        if "data.pkl" not in self.entries:
            raise CheckpointError("it has no entry data.pkl, so it is not a checkpoint")
        window = _Window(self._file)
        end = 0
        for entry in sorted(self.entries.values(), key=_header_offset):
            if entry.header < end:
                raise CheckpointError(f"entry {entry.name!r:.80} overlaps another entry")
            header = window.read(entry.header, _HEADER.size + len(entry.raw_name))
            start = self._content_start(entry, header)
            end = start + entry.size
            if window.crc32(start, entry.size) != entry.crc32:
                raise CheckpointError(f"the checksum of entry {entry.name!r:.80} is wrong")

    def content(self, name: str, max_bytes: int) -> bytes | None:
        """Returns the content of an entry after checking it; None if there is no such entry.

        Raises:
            CheckpointError: the entry has more than ``max_bytes`` bytes, or is damaged.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        if entry.size > max_bytes:
            raise CheckpointError(
                f"entry {entry.name!r:.80} should have at most {max_bytes} bytes, "
                f"but has {entry.size}"
            )
        self._file.seek(entry.header)
        header = self._file.read(_HEADER.size + len(entry.raw_name))
        self._file.seek(self._content_start(entry, header))
        content = self._file.read(entry.size)
        if len(content) != entry.size or zlib.crc32(content) != entry.crc32:
            raise CheckpointError(f"the checksum of entry {entry.name!r:.80} is wrong")
        return content

    def _content_start(self, entry: Entry, header: bytes | memoryview) -> int:
        """Checks the local header of an entry and returns the offset of its content."""
        if len(header) < _HEADER.size:
            raise CheckpointError(f"the header of entry {entry.name!r:.80} is missing")
        magic, _, flags, method, _, _, crc32, packed, size, name_size, extra_size = (
            _HEADER.unpack_from(header)
        )
        is_same = (
            magic == _MAGIC
            and method == 0
            and flags == entry.flags
            and header[_HEADER.size :] == entry.raw_name
        )
        if not flags & _HAS_DESCRIPTOR:
            is_same = is_same and crc32 == entry.crc32 and {packed, size} <= {entry.size, _FULL_32}
        if not is_same or name_size != len(entry.raw_name):
            raise CheckpointError(f"the header of entry {entry.name!r:.80} is damaged")
        start: int = entry.header + _HEADER.size + name_size + extra_size
        if start + entry.size > self.directory.start:
            raise CheckpointError(f"entry {entry.name!r:.80} claims to be larger than the file")
        return start


class Section(io.RawIOBase):
    """A part of a file, as a file of its own that is open for reading.

    Args:
        file: a file that is open for reading. It is not closed.
        start: offset of the part.
        size: size of the part in bytes; less, if the file ends earlier.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = max(min(size, file.seek(0, os.SEEK_END) - start), 0)
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves to an offset, from the start or, with ``os.SEEK_END``, from the end."""
        self._at = offset + (self._size if whence == os.SEEK_END else 0)
        return self._at

    def read(self, num_bytes: int = -1, /) -> bytes:
        """Returns ``num_bytes``, or all that follow; fewer at the end of the part."""
        left = max(self._size - self._at, 0)
        self._file.seek(self._start + self._at)
        content = self._file.read(left if num_bytes < 0 else min(num_bytes, left))
        self._at += len(content)
        return content


class _Window:
    """Buffered access to a file that is read once, from start to end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._view = memoryview(b"")
        self._start = 0

    def read(self, start: int, num_bytes: int) -> memoryview:
        """Returns ``num_bytes`` from offset ``start``; fewer at the end of the file."""
        at = start - self._start
        if at < 0 or at + num_bytes > len(self._view):
            self._file.seek(start)
            self._view = memoryview(self._file.read(max(num_bytes, _CHUNK)))
            self._start, at = start, 0
        return self._view[at : at + num_bytes]

    def crc32(self, start: int, num_bytes: int) -> int:
        """Returns the checksum of ``num_bytes`` from offset ``start``.

        Raises:
            CheckpointError: the file ends earlier.
        """
        crc32, end = 0, start + num_bytes
        while start < end:
            piece = self.read(start, min(end - start, _CHUNK))
            if not len(piece):
                raise CheckpointError("it is truncated")
            crc32 = zlib.crc32(piece, crc32)
            start += len(piece)
        return crc32


class ArchiveWriter:
    """Writes an archive that ``torch.load`` and :class:`Archive` read.

    Args:
        file: a file that is open for writing, at its start.
        root: the folder of all entries.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> writer = ArchiveWriter(file)
        >>> writer.add("data.pkl", b"N.")
        >>> writer.close()
        >>> Archive(file).content("data.pkl", max_bytes=2)
        b'N.'
    """

    def __init__(self, file: BinaryIO, root: str = "archive") -> None:
        self._file = file
        self._root = root
        self._at = 0
        self._num_entries = 0
        self._directory = bytearray()
        self._pending = bytearray()
        """Small entries, which are written together."""

    @classmethod
    def extending(cls, file: BinaryIO) -> "ArchiveWriter":
        """Opens an existing archive for appending; new entries overwrite its central directory.

        Args:
            file: the archive, open for reading and writing.

        Raises:
            CheckpointError: the file is truncated, or ``torch.save`` would not have written it.
        """
        archive = Archive(file)
        writer = cls(file, archive.root)
        writer._at, _, writer._num_entries = archive.directory
        writer._directory += archive.read_directory()
        file.seek(writer._at)
        return writer

    def add(self, name: str, content: Any) -> None:
        """Adds an entry.

        Args:
            name: path relative to the root folder.
            content: any bytes-like object, such as a ctypes array.
        """
        path, size = f"{self._root}/{name}".encode(), len(content)
        is_large = size >= _FULL_32
        is_far = self._at >= _FULL_32
        crc32, version = zlib.crc32(content), _VERSION_64 if is_large or is_far else _VERSION
        size_32 = _FULL_32 if is_large else size
        extra = _EXTRA_64_LOCAL.pack(1, 16, size, size) if is_large else b""
        end = self._at + _HEADER.size + len(path) + len(extra) + _PADDING.size
        num_padding = -end % _ALIGNMENT
        extra += _PADDING.pack(b"FB", num_padding) + b"Z" * num_padding
        header = _HEADER.pack(
            _MAGIC, version, 0, 0, 0, _DATE, crc32, size_32, size_32, len(path), len(extra)
        )  # fmt: skip
        extra_64 = _EXTRA_64.pack(1, 24, size, size, self._at) if is_large or is_far else b""
        self._directory += _ENTRY.pack(
            b"PK\x01\x02", version, version, 0, 0, 0, _DATE, crc32, _FULL_32 if extra_64 else size,
            _FULL_32 if extra_64 else size, len(path), len(extra_64), 0, 0, 0, 0,
            _FULL_32 if extra_64 else self._at,
        )  # fmt: skip
        self._directory += path + extra_64
        self._pending += header + path + extra
        if size < _CHUNK:
            self._pending += content
        if len(self._pending) >= _CHUNK or size >= _CHUNK:
            self._flush()
        if size >= _CHUNK:
            self._file.write(content)
        self._at = end + num_padding + size
        self._num_entries += 1

    def close(self) -> None:
        """Writes the central directory. The file stays open."""
        start, size, count = self._at, len(self._directory), self._num_entries
        count_16 = min(count, 0xFFFF)
        self._pending += self._directory
        self._pending += _END_64.pack(
            b"PK\x06\x06", _END_64.size - 12, _VERSION_64, _VERSION_64, 0, 0, count, count, size, start
        )  # fmt: skip
        self._pending += _END_64_LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
        self._pending += _END.pack(
            b"PK\x05\x06", 0, 0, count_16, count_16, min(size, _FULL_32), min(start, _FULL_32), 0
        )  # fmt: skip
        self._flush()

    def _flush(self) -> None:
        self._file.write(self._pending)
        self._pending = bytearray()


def _header_offset(entry: Entry) -> int:
    return entry.header


def _find_directory(file: BinaryIO) -> _Directory:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) != _MAGIC:
        raise CheckpointError("it does not start like a zip file" if size else "it is empty")
    at = size - _END.size
    file.seek(max(at - _END_64_LOCATOR.size, 0))
    tail = file.read()
    # torch writes no archive comment, so the end record is the last thing in the file.
    if at < 0 or len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\x05\x06":
        raise CheckpointError("its end is missing, so it is truncated")
    _, _, _, _, num_entries, num_bytes, start, comment_size = _END.unpack(tail[-_END.size :])
    directory = _Directory(start, num_bytes, num_entries)
    if tail[:4] == b"PK\x06\x07" and len(tail) == _END_64_LOCATOR.size + _END.size:
        at = _END_64_LOCATOR.unpack_from(tail)[2]
        directory = _find_directory_64(file, at, size - len(tail), directory)
    if comment_size or directory.start + directory.size != at:
        raise CheckpointError("its central directory is not where it should be")
    if directory.num_entries > MAX_ENTRIES:
        raise CheckpointError(
            f"it should have at most {MAX_ENTRIES} entries, "
            f"but claims to have {directory.num_entries}"
        )
    if directory.num_entries * _ENTRY.size > directory.size:
        raise CheckpointError("its central directory is too short")
    return directory


def _find_directory_64(file: BinaryIO, at: int, end: int, directory_32: _Directory) -> _Directory:
    """Reads the zip64 end record, which torch always writes, and compares both end records."""
    if at + _END_64.size != end:
        raise CheckpointError("its central directory is not where it should be")
    file.seek(at)
    magic, *_, num_entries, num_bytes, start = _END_64.unpack(file.read(_END_64.size))
    directory = _Directory(start, num_bytes, num_entries)
    limits = (_FULL_32, _FULL_32, 0xFFFF)
    if magic != b"PK\x06\x06" or any(
        value_32 not in (value, limit)
        for value, value_32, limit in zip(directory, directory_32, limits, strict=True)
    ):
        raise CheckpointError("its end record is damaged")
    return directory


def _parse_entries(directory: bytes, num_entries: int) -> Iterator[Entry]:
    at, length = 0, len(directory)
    for _ in range(num_entries):
        if at + _ENTRY.size > length:
            raise CheckpointError("its central directory is too short")
        (
            magic, _, _, flags, method, _, _, crc32, packed, size, name_size, extra_size, comment_size, _, _, _, header,
        ) = _ENTRY.unpack_from(directory, at)  # fmt: skip
        at += _ENTRY.size
        end = at + name_size
        name = directory[at:end]
        at = end + extra_size + comment_size
        if magic != b"PK\x01\x02":
            raise CheckpointError("its central directory is damaged")
        if size == _FULL_32 or packed == _FULL_32 or header == _FULL_32:
            extra = directory[end : end + extra_size]
            size, packed, header = _zip64_values(extra, size, packed, header)
        if method != 0 or packed != size:
            raise CheckpointError(f"entry {name!r:.80} is compressed, which torch never does")
        if flags & ~(_HAS_DESCRIPTOR | _IS_UTF8):
            raise CheckpointError(
                f"entry {name!r:.80} is encrypted or uses another feature that torch never uses"
            )
        try:
            yield Entry(name.decode(), header, size, crc32, flags, name)
        except UnicodeDecodeError:
            raise CheckpointError(f"the name of entry {name!r:.80} is damaged") from None
    if at != length:
        raise CheckpointError("its central directory has more entries than the end record says")


def _zip64_values(extra: bytes, *values: int) -> list[int]:
    """Returns sizes and offsets of 4 GB and more, which are stored in an extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and at + 4 + length <= len(extra):
            stored = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [next(stored, _FULL_32) if value == _FULL_32 else value for value in values]
        at += 4 + length
    raise CheckpointError("the size of an entry is missing")


def _check_name(name: str, root: str) -> str:
    """Returns the name of an entry below the root folder."""
    folder, _, rest = name.partition("/")
    if folder == root and folder.isalnum() and _IS_STORAGE(rest):
        return rest
    parts = rest.split("/")
    is_plain = folder not in ("", ".", "..") and not any(part in ("", ".", "..") for part in parts)
    if folder != root or not is_plain or "\\" in name or "\0" in name or len(parts) > _MAX_DEPTH:
        raise CheckpointError(f"the entry name {name!r:.80} is not one that torch writes")
    return rest
