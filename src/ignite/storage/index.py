"""``index.json``: which checkpoints there are, for people and tools. Made from the checkpoints, and never needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ignite.exceptions import CheckpointError
from ignite.storage.ledger import Row, best
from ignite.storage.naming import check_name
from ignite.storage.note import Note
from ignite.storage.place import Place
from ignite.storage.reader import scan
from ignite.storage.verify import verify

__all__ = ["BEST", "INDEX", "LAST", "Index", "build_index", "read_index", "write_index"]

INDEX = "index.json"
BEST = "best.pt"
LAST = "last.pt"
VERSION = 1


class Index(NamedTuple):
    """What ``index.json`` says."""

    rows: list[Row]
    best: str | None
    last: str | None


def write_index(place: Place, rows: Sequence[Row]) -> Index:
    """Says which of ``rows`` is the best and which the newest, in ``index.json`` and by stable names.

    Raises:
        OSError: it could not be written.
    """
    in_order = sorted(rows, key=lambda row: row.note.order)
    best_row = best(in_order)
    index = Index(in_order, None if best_row is None else best_row.file, in_order[-1].file if in_order else None)
    text = json.dumps(_to_json(place, index), indent=1)
    place.write(INDEX, lambda file: file.write(text.encode()))
    for link, name in ((BEST, index.best), (LAST, index.last)):
        if name is not None:
            place.point(link, name)
    return index


def _to_json(place: Place, index: Index) -> dict[str, Any]:
    rated = [row for row in index.rows if row.note.rating is not None]
    by_score = sorted(rated, key=lambda row: (row.note.rating, row.note.order), reverse=True)
    ranks = {row.file: i + 1 for i, row in enumerate(by_score)}
    checkpoints = [
        {
            "file": row.file,
            "rank": ranks.get(row.file),
            "step": row.note.step,
            "epoch": row.note.epoch,
            "score": row.note.score if row.file in ranks else None,
            "score_name": row.note.score_name,
            "size_bytes": place.size(row.file),
            "restarts": row.note.restarts,
            "created": row.note.created,
        }
        for row in index.rows
    ]
    return {"version": VERSION, "best": index.best, "last": index.last, "checkpoints": checkpoints}


def read_index(place: Place) -> Index:
    """Reads ``index.json``.

    Raises:
        CheckpointError: it is damaged, or names files that are not plain.
        FileNotFoundError: there is none.
    """
    with place.local(INDEX) as path:
        text = path.read_bytes()
    try:
        values = json.loads(text)
        rows = [_to_row(row) for row in values["checkpoints"]]
        names = [None if values[key] is None else check_name(values[key]) for key in ("best", "last")]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{INDEX} in {place} is damaged: {error!r}. ignite doctor --repair makes it anew"
        ) from error
    return Index(rows, *names)


def _to_row(values: dict[str, Any]) -> Row:
    known = {name: values[name] for name in ("step", "epoch", "score", "score_name", "restarts", "created")}
    return Row(check_name(values["file"]), Note.from_json(json.dumps({"version": 1, **known})))


def build_index(place: Place) -> Index:
    """Makes the index from the checkpoints that are whole."""
    rows = []
    for found in scan(place):
        try:
            with place.local(found.name) as path:
                note = verify(path)
        except (CheckpointError, OSError):
            continue
        if note is not None:
            rows.append(Row(found.name, note))
    return write_index(place, rows)
