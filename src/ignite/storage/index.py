"""``index.json``: a list of the checkpoints in a folder, for people and tools.

The index is derived from the checkpoints, and loading does not depend on it.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from ignite.exceptions import CheckpointError
from ignite.storage.commit import Written
from ignite.storage.ledger import Row, ranked
from ignite.storage.naming import check_name
from ignite.storage.note import Note, number_to_json
from ignite.storage.place import BEST, INDEX, LAST, Place
from ignite.storage.reader import scan
from ignite.storage.verify import verify

__all__ = ["BEST", "INDEX", "LAST", "Index", "build_index", "read_index", "write_index"]

logger = logging.getLogger(__name__)

VERSION = 1
_MAX_BYTES = 1 << 26
_FROM_NOTE = ("step", "epoch", "score", "score_name", "mode", "restarts", "created")


class Index(NamedTuple):
    """The content of ``index.json``: checkpoints, newest last; names of the best and the last one."""

    rows: list[Row]
    best: str | None
    last: str | None


def write_index(place: Place, rows: Sequence[Row]) -> Index:
    """Writes ``index.json`` and updates the links ``best.pt`` and ``last.pt``.

    Rows whose files do not exist are omitted.

    Raises:
        OSError: the index could not be written.
    """
    existing = [
        (row, size)
        for row in sorted(rows, key=lambda row: row.note.order)
        if (size := _size_of(place, row)) >= 0
    ]
    in_order = [row for row, _ in existing]
    best = [row.file for row in ranked(in_order)]
    index = Index(in_order, best[0] if best else None, in_order[-1].file if in_order else None)
    checkpoints = [_to_json(row, size, best) for row, size in existing]
    values = {
        "version": VERSION,
        "best": index.best,
        "last": index.last,
        "checkpoints": checkpoints,
    }
    text = json.dumps(values, indent=1, allow_nan=False)
    place.write(INDEX, lambda file: file.write(text.encode()))
    for link, name in ((BEST, index.best), (LAST, index.last)):
        if name is not None:
            place.point(link, name)
    return index


def read_index(place: Place) -> Index:
    """Reads ``index.json``.

    All file names in it are checked to be plain, see ``check_name``.

    Raises:
        CheckpointError: the index is damaged, or contains a name that is not plain.
        FileNotFoundError: there is no index.
    """
    try:
        if place.size(INDEX) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        with place.local(INDEX) as path:
            values = json.loads(path.read_bytes())
        if values["version"] != VERSION:
            raise ValueError(
                f"it has version {values['version']!r:.20}, but only version {VERSION} is supported"
            )
        rows = [_to_row(row) for row in values["checkpoints"]]
        best, last = (
            None if values[key] is None else check_name(values[key]) for key in ("best", "last")
        )
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        CheckpointError,
    ) as error:
        raise CheckpointError(
            f"{INDEX} in {place} is damaged: {error!r:.300}. Run ignite doctor --repair to rebuild it"
        ) from error
    return Index(rows, best, last)


def build_index(place: Place) -> Index:
    """Builds the index from the intact checkpoints and writes it."""
    rows = []
    for found in scan(place):
        try:
            with place.local(found.name) as path:
                note = verify(path)
        except (CheckpointError, OSError) as error:
            logger.warning("%s is omitted from the index: %s", found.name, error)
            continue
        if note is not None:
            rows.append(Row(found.name, note))
    return write_index(place, rows)


def _size_of(place: Place, row: Row) -> int:
    try:
        return place.size(row.file)
    except FileNotFoundError:
        return -1


def _to_json(row: Row, size_bytes: int, best: list[str]) -> dict[str, Any]:
    is_known = row.written is not None and row.written.size_bytes == size_bytes
    return {
        "file": row.file,
        "rank": best.index(row.file) + 1 if row.file in best else None,
        **{key: number_to_json(getattr(row.note, key)) for key in _FROM_NOTE},
        "size_bytes": size_bytes,
        "crc32": row.written.crc32 if is_known and row.written is not None else None,
    }


def _to_row(values: dict[str, Any]) -> Row:
    known = {key: values[key] for key in _FROM_NOTE}
    size_bytes, crc32 = values["size_bytes"], values["crc32"]
    is_known = type(size_bytes) is int and type(crc32) is int
    note = Note.from_json(json.dumps({"version": 1, **known}))
    return Row(check_name(values["file"]), note, Written(size_bytes, crc32) if is_known else None)
