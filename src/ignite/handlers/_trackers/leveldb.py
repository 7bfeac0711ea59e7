"""Reads files in LevelDB's log format, which some trackers write."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["records"]

_BLOCK_BYTES = 32768
_WHOLE, _LAST = 1, 4


def records(data: bytes, header_bytes: int = 7) -> Iterator[bytes]:
    """Yields the records of a file, up to the first incomplete one.

    After a header, the file consists of blocks of 32 KiB with chunks: a checksum (4 bytes), a
    length (2), a type (1: a whole record; 2, 3, 4: first, middle and last part of one) and the
    content. Chunks do not cross the end of a block.

    Args:
        data: the content of the file, which may be truncated at any byte.
        header_bytes: the length of the header, which counts as part of the first block.

    Example:
        >>> chunk = struct.pack("<IHB", 0, 3, 1) + b"abc"
        >>> list(records(b"header." + chunk + chunk[:5]))
        [b'abc']

    References:
        https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    position, parts = header_bytes, b""
    while position + 7 <= len(data):
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left < 7:  # padding
            position += left
            continue
        size, kind = struct.unpack_from("<HB", data, position + 4)
        position += 7
        if not _WHOLE <= kind <= _LAST or position + size > len(data):
            return
        parts += data[position : position + size]
        position += size
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""
