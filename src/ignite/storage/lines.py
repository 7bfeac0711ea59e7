"""Lines of JSON that are appended to a file: what was added is in the file if the process is killed."""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ignite._core import systems
from ignite.storage.note import number_to_json

__all__ = ["append_line", "read_lines"]


def append_line(path: str | os.PathLike[str], entry: Mapping[str, Any]) -> None:
    """Appends a JSON object to a file as one line, with the time in seconds since 1970 as ``time``.

    Existing lines are never changed. The line is written with one call of the operating system, to
    the end of the file, so that lines of several processes do not mix. A line that a machine which
    stopped has left incomplete is ended, and :func:`read_lines` skips it.

    Numbers that are not finite become the strings ``NaN``, ``Infinity`` and ``-Infinity``, arrays
    become lists, and other objects that JSON does not have their text.

    Args:
        path: the file; missing folders are created.
        entry: the object.

    Raises:
        OSError: the line cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "events.jsonl")
        >>> append_line(path, {"event": "started"})
        >>> [line["event"] for line in read_lines(path)]
        ['started']
    """
    path = systems.on_disk(path)
    text = json.dumps(_plain({"time": time.time(), **entry}), allow_nan=False, default=str)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        line = (b"\n" if _ends_within_a_line(path) else b"") + text.encode() + b"\n"
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, "the line was written in part only", str(path))


def read_lines(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yields the objects in a file of lines; skips lines that are incomplete or no JSON object.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "scalars.jsonl")
        >>> _ = path.write_text('{"step": 1}' + chr(10) + '{"step": 2, "sca')
        >>> list(read_lines(path))
        [{'step': 1}]
    """
    with systems.on_disk(path).open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # left by a kill, or damaged
                continue
            if isinstance(entry, dict):
                yield entry


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # of torch or numpy
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return number_to_json(value)


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
