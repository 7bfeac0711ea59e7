"""The zip files that ``torch.save`` writes, read strictly: what torch never writes is refused.

Not by ``zipfile``: it makes an object of each entry that a file claims to have, and finds other entries than torch does
if somebody has made the file so.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ignite.exceptions import CheckpointError

MAX_ENTRIES = 200_000
_CHUNK = 1 << 20
_FIRST = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_HEADER = struct.Struct("<4s5H3L2H")
_FULL_32 = 0xFFFFFFFF
_HAS_DESCRIPTOR = 0x8  # checksum and size stand behind the content, and in the table
_IS_UTF8 = 0x800
_MAX_DEPTH = 20

# How files begin that torch wrote before it wrote zip files: a number, pickled.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


class Entry(NamedTuple):
    """A part of the file, as the table at its end has it."""

    name: str
    header: int
    size: int
    crc32: int
    flags: int


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
        self._table = _find_table(file)
        file.seek(self._table.start)
        table = file.read(self._table.size)
        if len(table) != self._table.size:
            raise CheckpointError("its table is cut off")
        entries = list(_entries(table, self._table.num_entries))
        self._top = entries[0].name.partition("/")[0] if entries else ""
        self.entries = {_check_name(entry.name, self._top): entry for entry in entries}
        # torch looks parts up without regard to case.
        if len({name.lower() for name in self.entries}) != len(entries):
            raise CheckpointError("two of its parts have the same name")

    def check(self) -> None:
        """Reads all parts and compares their checksums.

        Raises:
            CheckpointError: one is not as it was written.
        """
        if "data.pkl" not in self.entries:
            raise CheckpointError("it has no data.pkl, so it is no checkpoint")
        buffer = memoryview(bytearray(_CHUNK))
        end = 0
        for entry in sorted(self.entries.values(), key=lambda one: one.header):
            if entry.header < end:
                raise CheckpointError(f"its part {entry.name!r:.80} lies in another one")
            end = self._seek(entry) + entry.size
            if self._crc32(entry.size, buffer) != entry.crc32:
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
            raise CheckpointError(f"its part {entry.name!r:.80} should have at most {max_bytes} bytes")
        self._seek(entry)
        content = self._file.read(entry.size)
        if len(content) != entry.size or zlib.crc32(content) != entry.crc32:
            raise CheckpointError(f"the checksum of its part {entry.name!r:.80} is wrong")
        return content

    def _seek(self, entry: Entry) -> int:
        """Goes to the content of a part; returns where that is."""
        self._file.seek(entry.header)
        name = entry.name.encode()
        header = self._file.read(_HEADER.size + len(name))
        if len(header) < _HEADER.size:
            raise CheckpointError(f"the header of its part {entry.name!r:.80} is missing")
        magic, _, flags, method, _, _, crc32, packed, size, name_size, extra_size = _HEADER.unpack_from(header)
        is_same = magic == _FIRST and method == 0 and flags == entry.flags and header[_HEADER.size :] == name
        if not flags & _HAS_DESCRIPTOR:
            is_same = is_same and crc32 == entry.crc32 and {packed, size} <= {entry.size, _FULL_32}
        if not is_same or name_size != len(name):
            raise CheckpointError(f"the header of its part {entry.name!r:.80} is damaged")
        start: int = entry.header + _HEADER.size + name_size + extra_size
        if start + entry.size > self._table.start:
            raise CheckpointError(f"its part {entry.name!r:.80} claims to be larger than the file")
        self._file.seek(start)
        return start

    def _crc32(self, num_bytes: int, buffer: memoryview) -> int:
        crc32 = 0
        while num_bytes:
            chunk = buffer[: min(num_bytes, _CHUNK)]
            num_read: int = self._file.readinto(chunk)  # type: ignore[attr-defined]
            if not num_read:
                raise CheckpointError("it is cut off")
            crc32 = zlib.crc32(chunk[:num_read], crc32)
            num_bytes -= num_read
        return crc32


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
        raise CheckpointError(f"it should have at most {MAX_ENTRIES} parts, but claims to have {table.num_entries}")
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
    if magic != b"PK\x06\x06" or any(b not in (a, limit) for a, b, limit in zip(table, small, limits, strict=True)):
        raise CheckpointError("the end of it is damaged")
    return table


def _entries(table: bytes, num_entries: int) -> Iterator[Entry]:
    at = 0
    for _ in range(num_entries):
        if at + _ENTRY.size > len(table):
            raise CheckpointError("its table is too short")
        magic, _, _, flags, method, _, _, crc32, packed, size, *lengths, header = _ENTRY.unpack_from(table, at)
        name_size, extra_size, comment_size = lengths[:3]
        at += _ENTRY.size
        name = table[at : at + name_size]
        extra = table[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if magic != b"PK\x01\x02":
            raise CheckpointError("its table is damaged")
        if _FULL_32 in (size, packed, header):
            size, packed, header = _large(extra, size, packed, header)
        if method != 0 or packed != size:
            raise CheckpointError(f"its part {name!r:.80} is compressed, which torch never does")
        if flags & ~(_HAS_DESCRIPTOR | _IS_UTF8):
            raise CheckpointError(f"its part {name!r:.80} is encrypted, or packed in another way that torch never uses")
        try:
            yield Entry(name.decode(), header, size, crc32, flags)
        except UnicodeDecodeError:
            raise CheckpointError(f"its part {name!r:.80} has a damaged name") from None
    if at != len(table):
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
    parts = rest.split("/")
    is_plain = folder not in ("", ".", "..") and not any(part in ("", ".", "..") for part in parts)
    if folder != top or not is_plain or "\\" in name or "\0" in name or len(parts) > _MAX_DEPTH:
        raise CheckpointError(f"one of its parts has the name {name!r:.80}")
    return rest
