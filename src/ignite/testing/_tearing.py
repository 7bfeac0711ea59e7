"""Damages files, as power cuts and failing disks do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["Damage", "check_how", "tear"]

Damage = Literal["truncate", "flip", "zero"]

_BLOCK_BYTES = 4096


def tear(path: str | os.PathLike[str], how: Damage = "truncate", *, place: float = 0.5) -> Path:
    """Damages a file in its place.

    Args:
        path: the file; or a folder, of which the file that was written last is taken.
        how: "truncate" cuts the file off, "flip" turns one bit over, "zero" puts zeros into up to 4096 bytes.
        place: where, as a fraction of the length, from 0 up to, not including, 1.

    Returns:
        The file.

    Raises:
        ValueError: ``how`` or ``place`` is something else, or the file is empty.
        FileNotFoundError: there is no such file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "model.pt").write_bytes(b"AAAA")
        ...     tear(folder, "flip").read_bytes()
        b'AA@A'
    """
    check_how(how)
    if not 0 <= place < 1:
        raise ValueError(f"place should be at least 0 and less than 1, but given {place}")
    file = _newest_in(Path(path)) if Path(path).is_dir() else Path(path)
    size = file.stat().st_size
    if size == 0:
        raise ValueError(f"{file} should have a byte to damage, but it is empty")
    position = int(size * place)
    with file.open("r+b") as stream:
        if how == "truncate":
            stream.truncate(position)
            return file
        stream.seek(position)
        found = stream.read(1 if how == "flip" else _BLOCK_BYTES)
        stream.seek(position)
        stream.write(bytes([found[0] ^ 1]) if how == "flip" else bytes(len(found)))
    return file


def check_how(how: str) -> None:
    if how not in ("truncate", "flip", "zero"):
        raise ValueError(f"how should be 'truncate', 'flip' or 'zero', but given {how!r}")


def _newest_in(folder: Path) -> Path:
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    if not files:
        raise FileNotFoundError(f"{folder} should have a file to damage, but there is none")
    return max(files, key=lambda path: path.stat().st_mtime_ns)
