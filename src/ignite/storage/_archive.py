"""The zip files that ``torch.save`` writes: read strictly, so that what torch never writes is refused, and written.

Not by ``zipfile``: it makes an object of each entry that a file claims to have, and finds other
entries than torch does if somebody has made the file so. Both directions cost a few microseconds an
entry, of which a state of many small tensors has tens of thousands.
"""

import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from ignite.exceptions import CheckpointError

MAX_ENTRIES = 200_000
_CHUNK = 1 << 20
_FIRST = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_HEADER = struct.Struct("<4s5H3L2H")
_LARGE_SIZES = struct.Struct("<2H2Q")
_LARGE_PLACES = struct.Struct("<2H3Q")
_FULL_32 = 0xFFFFFFFF
_HAS_DESCRIPTOR = 0x8  # checksum and size stand behind the content, and in the table
_IS_UTF8 = 0x800
_MAX_DEPTH = 20
_IS_TENSOR = re.compile(r"data/\d+", re.ASCII).fullmatch  # nearly all parts

# torch maps files into memory, and reads tensors where they lie: at multiples of this.
_ALIGNMENT = 64
_PADDING = struct.Struct("<2s H")
_VERSION, _VERSION_LARGE = 20, 45  # of zip, that a reader needs
_DATE = 33  # 1980-01-01: the same bytes for the same content

# How files begin that torch wrote before it wrote zip files: a number, pickled.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


class Entry(NamedTuple):
    """A part of the file, as the table at its end has it."""

    name: str
    header: int
    size: int
    crc32: int
    flags: int
    raw_name: bytes


class _Table(NamedTuple):
    start: int
    size: int
    num_entries: int


def is_legacy(file: BinaryIO) -> bool:
    """Whether the file is one that torch wrote before version 1.6; leaves it at its beginning."""
    file.seek(0)
    is_one = file.read(len(_LEGACY)) == _LEGACY
    file.seek(0)
    return is_one


class Archive:
    """The parts of a checkpoint.

    Args:
        file: open for reading; stays so.

    Raises:
        CheckpointError: it is cut off, or nothing that ``torch.save`` writes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.table = _find_table(file)
        entries = list(_entries(self.read_table(), self.table.num_entries))
        self.top = entries[0].name.partition("/")[0] if entries else ""
        self.entries = {_check_name(entry.name, self.top): entry for entry in entries}
        # torch looks parts up without regard to case.
        if len({name.lower() for name in self.entries}) != len(entries):
            raise CheckpointError("two of its parts have the same name")

    def read_table(self) -> bytes:
        """The table of all parts, as it stands in the file."""
        self._file.seek(self.table.start)
        table = self._file.read(self.table.size)
        if len(table) != self.table.size:
            raise CheckpointError("its table is cut off")
        return table

    def check(self) -> None:
        """Reads all parts and compares their checksums.

        Raises:
            CheckpointError: one is not as it was written.
        """
        if "data.pkl" not in self.entries:
            raise CheckpointError("it has no data.pkl, so it is no checkpoint")
        window = _Window(self._file)
        end = 0
        for entry in sorted(self.entries.values(), key=_place_of):
            if entry.header < end:
                raise CheckpointError(f"its part {entry.name!r:.80} lies in another one")
            start = self._start_of(
                entry, window.read(entry.header, _HEADER.size + len(entry.raw_name))
            )
            end = start + entry.size
            if window.crc32(start, entry.size) != entry.crc32:
                raise CheckpointError(f"the checksum of its part {entry.name!r:.80} is wrong")

    def content(self, name: str, max_bytes: int) -> bytes | None:
        """A small part, checked; None if there is none of this name.

        Raises:
            CheckpointError: it is larger, or not as it was written.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        if entry.size > max_bytes:
            raise CheckpointError(
                f"its part {entry.name!r:.80} should have at most {max_bytes} bytes"
            )
        self._file.seek(entry.header)
        self._file.seek(self._start_of(entry, self._file.read(_HEADER.size + len(entry.raw_name))))
        content = self._file.read(entry.size)
        if len(content) != entry.size or zlib.crc32(content) != entry.crc32:
            raise CheckpointError(f"the checksum of its part {entry.name!r:.80} is wrong")
        return content

    def _start_of(self, entry: Entry, header: bytes | memoryview) -> int:
        """Where the content of a part begins."""
        if len(header) < _HEADER.size:
            raise CheckpointError(f"the header of its part {entry.name!r:.80} is missing")
        magic, _, flags, method, _, _, crc32, packed, size, name_size, extra_size = (
            _HEADER.unpack_from(header)
        )
        is_same = (
            magic == _FIRST
            and method == 0
            and flags == entry.flags
            and header[_HEADER.size :] == entry.raw_name
        )
        if not flags & _HAS_DESCRIPTOR:
            is_same = is_same and crc32 == entry.crc32 and {packed, size} <= {entry.size, _FULL_32}
        if not is_same or name_size != len(entry.raw_name):
            raise CheckpointError(f"the header of its part {entry.name!r:.80} is damaged")
        start: int = entry.header + _HEADER.size + name_size + extra_size
        if start + entry.size > self.table.start:
            raise CheckpointError(f"its part {entry.name!r:.80} claims to be larger than the file")
        return start


class _Window:
    """A piece of a file in memory, which moves on as the file is read from its beginning to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._view = memoryview(b"")
        self._start = 0

    def read(self, start: int, num_bytes: int) -> memoryview:
        """Up to ``num_bytes`` from ``start`` on; less where the file ends."""
        at = start - self._start
        if at < 0 or at + num_bytes > len(self._view):
            self._file.seek(start)
            self._view, self._start, at = (
                memoryview(self._file.read(max(num_bytes, _CHUNK))),
                start,
                0,
            )
        return self._view[at : at + num_bytes]

    def crc32(self, start: int, num_bytes: int) -> int:
        """The checksum of a part.

        Raises:
            CheckpointError: the file ends within it.
        """
        crc32, end = 0, start + num_bytes
        while start < end:
            piece = self.read(start, min(end - start, _CHUNK))
            if not len(piece):
                raise CheckpointError("it is cut off")
            crc32 = zlib.crc32(piece, crc32)
            start += len(piece)
        return crc32


class ArchiveWriter:
    """Writes an archive as ``torch.load`` and :class:`Archive` read it.

    Args:
        file: open for writing, at its beginning.
        top: the folder that all parts are in.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> writer = ArchiveWriter(file)
        >>> writer.add("data.pkl", b"N.")
        >>> writer.close()
        >>> Archive(file).content("data.pkl", max_bytes=2)
        b'N.'
    """

    def __init__(self, file: BinaryIO, top: str = "archive") -> None:
        self._file = file
        self._top = top
        self._at = 0
        self._num_entries = 0
        self._table = bytearray()
        self._pending = bytearray()
        """Small parts, which are written together."""

    @classmethod
    def extending(cls, file: BinaryIO) -> "ArchiveWriter":
        """Adds parts to an archive, which is open for reading and writing: its table is replaced by a longer one.

        Raises:
            CheckpointError: it is cut off, or nothing that ``torch.save`` writes.
        """
        archive = Archive(file)
        writer = cls(file, archive.top)
        writer._at, _, writer._num_entries = archive.table
        writer._table += archive.read_table()
        file.seek(writer._at)
        return writer

    def add(self, name: str, content: Any) -> None:
        """Adds a part.

        Args:
            name: below the top folder.
            content: bytes, or what has them as its memory, such as an array of ctypes.
        """
        path, size = f"{self._top}/{name}".encode(), len(content)
        is_large = size >= _FULL_32
        is_far = self._at >= _FULL_32
        crc32, version = zlib.crc32(content), _VERSION_LARGE if is_large or is_far else _VERSION
        stated = _FULL_32 if is_large else size
        extra = _LARGE_SIZES.pack(1, 16, size, size) if is_large else b""
        end = self._at + _HEADER.size + len(path) + len(extra) + _PADDING.size
        num_padding = -end % _ALIGNMENT
        extra += _PADDING.pack(b"FB", num_padding) + b"Z" * num_padding
        header = _HEADER.pack(
            _FIRST, version, 0, 0, 0, _DATE, crc32, stated, stated, len(path), len(extra)
        )  # fmt: skip
        places = _LARGE_PLACES.pack(1, 24, size, size, self._at) if is_large or is_far else b""
        self._table += _ENTRY.pack(
            b"PK\x01\x02", version, version, 0, 0, 0, _DATE, crc32, _FULL_32 if places else size,
            _FULL_32 if places else size, len(path), len(places), 0, 0, 0, 0, _FULL_32 if places else self._at,
        )  # fmt: skip
        self._table += path + places
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
        """Writes the table. The file stays open."""
        start, size, count = self._at, len(self._table), self._num_entries
        few = min(count, 0xFFFF)
        self._pending += self._table
        self._pending += _END_64.pack(
            b"PK\x06\x06", _END_64.size - 12, _VERSION_LARGE, _VERSION_LARGE, 0, 0, count, count, size, start
        )  # fmt: skip
        self._pending += _END_64_LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
        self._pending += _END.pack(
            b"PK\x05\x06", 0, 0, few, few, min(size, _FULL_32), min(start, _FULL_32), 0
        )  # fmt: skip
        self._flush()

    def _flush(self) -> None:
        self._file.write(self._pending)
        self._pending = bytearray()


def _place_of(entry: Entry) -> int:
    return entry.header


def _find_table(file: BinaryIO) -> _Table:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) != _FIRST:
        raise CheckpointError("it does not begin like a zip file" if size else "it is empty")
    at = size - _END.size
    file.seek(max(at - _END_64_LOCATOR.size, 0))
    tail = file.read()
    # torch adds no comment: the record is the last thing in the file.
    if at < 0 or len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\x05\x06":
        raise CheckpointError("its end is missing, so it is cut off")
    _, _, _, _, num_entries, table_size, start, comment_size = _END.unpack(tail[-_END.size :])
    table = _Table(start, table_size, num_entries)
    if tail[:4] == b"PK\x06\x07" and len(tail) == _END_64_LOCATOR.size + _END.size:
        at = _END_64_LOCATOR.unpack_from(tail)[2]
        table = _find_large_table(file, at, size - len(tail), table)
    if comment_size or table.start + table.size != at:
        raise CheckpointError("its table is not where it should be")
    if table.num_entries > MAX_ENTRIES:
        raise CheckpointError(
            f"it should have at most {MAX_ENTRIES} parts, but claims to have {table.num_entries}"
        )
    if table.num_entries * _ENTRY.size > table.size:
        raise CheckpointError("its table is too short")
    return table


def _find_large_table(file: BinaryIO, at: int, end: int, small: _Table) -> _Table:
    """From the record for large files, which torch always writes."""
    if at + _END_64.size != end:
        raise CheckpointError("its table is not where it should be")
    file.seek(at)
    magic, *_, num_entries, table_size, start = _END_64.unpack(file.read(_END_64.size))
    table = _Table(start, table_size, num_entries)
    limits = (_FULL_32, _FULL_32, 0xFFFF)
    if magic != b"PK\x06\x06" or any(
        b not in (a, limit) for a, b, limit in zip(table, small, limits, strict=True)
    ):
        raise CheckpointError("the end of it is damaged")
    return table


def _entries(table: bytes, num_entries: int) -> Iterator[Entry]:
    at, length = 0, len(table)
    for _ in range(num_entries):
        if at + _ENTRY.size > length:
            raise CheckpointError("its table is too short")
        (
            magic, _, _, flags, method, _, _, crc32, packed, size, name_size, extra_size, comment_size, _, _, _, header,
        ) = _ENTRY.unpack_from(table, at)  # fmt: skip
        at += _ENTRY.size
        end = at + name_size
        name = table[at:end]
        at = end + extra_size + comment_size
        if magic != b"PK\x01\x02":
            raise CheckpointError("its table is damaged")
        if size == _FULL_32 or packed == _FULL_32 or header == _FULL_32:
            size, packed, header = _large(table[end : end + extra_size], size, packed, header)
        if method != 0 or packed != size:
            raise CheckpointError(f"its part {name!r:.80} is compressed, which torch never does")
        if flags & ~(_HAS_DESCRIPTOR | _IS_UTF8):
            raise CheckpointError(
                f"its part {name!r:.80} is encrypted, or packed in another way that torch never uses"
            )
        try:
            yield Entry(name.decode(), header, size, crc32, flags, name)
        except UnicodeDecodeError:
            raise CheckpointError(f"its part {name!r:.80} has a damaged name") from None
    if at != length:
        raise CheckpointError("its table has more parts than it should have")


def _large(extra: bytes, *values: int) -> list[int]:
    """Sizes and places of 4 GB and more, which stand in an extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and at + 4 + length <= len(extra):
            stored = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [next(stored, _FULL_32) if value == _FULL_32 else value for value in values]
        at += 4 + length
    raise CheckpointError("the size of a part is missing")


def _check_name(name: str, top: str) -> str:
    """The name below the folder that all parts are in."""
    folder, _, rest = name.partition("/")
    if folder == top and folder.isalnum() and _IS_TENSOR(rest):
        return rest
    parts = rest.split("/")
    is_plain = folder not in ("", ".", "..") and not any(part in ("", ".", "..") for part in parts)
    if folder != top or not is_plain or "\\" in name or "\0" in name or len(parts) > _MAX_DEPTH:
        raise CheckpointError(f"one of its parts has the name {name!r:.80}")
    return rest
