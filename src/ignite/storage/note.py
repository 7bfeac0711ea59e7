"""Metadata of a checkpoint, such as step and score, as JSON in an entry that torch ignores."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from ignite.exceptions import CheckpointError
from ignite.storage._archive import Archive, ArchiveWriter, is_legacy

__all__ = ["NOTE_NAME", "RUN_FAMILY", "VERSION", "Note", "append_note", "read_note"]

VERSION = 1
"""Version of the format. Files of a newer version are refused."""

RUN_FAMILY = "run"
"""The family of checkpoints that contain a whole run."""

NOTE_NAME = ".ignite.json"
MAX_BYTES = 65536
_MAX_TEXT = 1000
_MAX_INT = 2**63 - 1
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class NewerVersionError(CheckpointError):
    """Raised for a file that is intact, but has a newer format."""


@dataclass(frozen=True)
class Note:
    """Metadata of a checkpoint.

    Args:
        version: version of the format.
        step: number of iterations that the run had completed.
        epoch: epoch of the run.
        score: score for comparing checkpoints; NaN is never the best.
        score_name: name of the score.
        mode: whether a higher ("max") or a lower ("min") score is better.
        family: the series of checkpoints that this one belongs to.
        restarts: number of times the run had been resumed. Of two checkpoints, the one with the higher
            ``(restarts, step)`` is newer.
        created: seconds since 1970, for display only, because clocks are too unreliable for ordering.

    Example:
        >>> Note.from_json(Note(step=3, created=0.0).to_json()).step
        3
    """

    version: int = VERSION
    step: int | None = None
    epoch: int | None = None
    score: float | None = None
    score_name: str | None = None
    mode: str = "max"
    family: str = ""
    restarts: int = 0
    created: float = field(default_factory=time.time)

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: the newest checkpoint has the highest."""
        return self.restarts, -1 if self.step is None else self.step

    @property
    def rating(self) -> float | None:
        """Sort key: the best checkpoint has the highest; None if the score is missing or NaN."""
        if self.score is None or math.isnan(self.score):
            return None
        return self.score if self.mode == "max" else -self.score

    def to_json(self) -> str:
        """Returns the note as one line of standard JSON.

        Raises:
            CheckpointError: a value has the wrong type or size.
        """
        values = {key: number_to_json(value) for key, value in asdict(self).items()}
        _check(values)
        return json.dumps(values, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Note":
        """Reads the result of ``to_json``; ignores unknown keys.

        Raises:
            CheckpointError: the text is not a note, or of a newer version.
        """
        if len(text) > MAX_BYTES:
            raise CheckpointError(
                f"The note should have at most {MAX_BYTES} bytes, but given {len(text)}"
            )
        try:
            # Decoded as UTF-8 here, because json would guess the encoding from the bytes.
            values = json.loads(text if isinstance(text, str) else text.decode())
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"The note should be JSON, but is not: {error}") from error
        if not isinstance(values, dict):
            raise CheckpointError(
                f"The note should be a JSON object, but is a {type(values).__name__}"
            )
        _check(values)
        names = {field.name for field in fields(cls)}
        known = {key: value for key, value in values.items() if key in names}
        for key in ("score", "created"):
            if known.get(key) is not None:
                known[key] = number_from_json(known[key])
        return cls(**{"created": 0.0, **known})


def append_note(file: str | Path | BinaryIO, note: Note) -> None:
    """Adds a note to a file written by ``torch.save``.

    Args:
        file: the path of the file, or the file open for reading and writing.
        note: the note to add.

    Example:
        >>> import io, torch
        >>> file = io.BytesIO()
        >>> torch.save({"weight": torch.zeros(2)}, file)
        >>> append_note(file, Note(step=7))
        >>> read_note(file).step
        7
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "r+b") as opened:
            append_note(opened, note)
        return
    writer = ArchiveWriter.extending(file)
    writer.add(NOTE_NAME, note.to_json().encode())
    writer.close()


def read_note(file: str | Path | BinaryIO) -> Note | None:
    """Reads the note of a checkpoint without reading the rest of the file.

    Returns:
        The note; None if there is none, for example in files of Ignite.

    Raises:
        CheckpointError: the file is damaged, not a checkpoint, or of a newer version.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return read_note(opened)
    return None if is_legacy(file) else note_in(Archive(file))


def note_in(archive: Archive) -> Note | None:
    """Returns the note of an archive; None if there is none."""
    content = archive.content(NOTE_NAME, MAX_BYTES)
    return None if content is None else Note.from_json(content)


def number_to_json(value: Any) -> Any:
    """Converts NaN and infinities to strings, because JSON does not have them."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def number_from_json(value: Any) -> float:
    """The reverse of :func:`number_to_json`."""
    return _NOT_FINITE[value] if isinstance(value, str) else float(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value in _NOT_FINITE
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INT


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT


_CHECKS = {
    "step": (_is_count, "an integer from 0 or null"),
    "epoch": (_is_count, "an integer from 0 or null"),
    "score": (_is_number, "a number or null"),
    "score_name": (_is_text, f"a string of at most {_MAX_TEXT} characters or null"),
    "mode": (lambda value: value in ("max", "min"), "'max' or 'min'"),
    "family": (_is_text, f"a string of at most {_MAX_TEXT} characters"),
    "restarts": (_is_count, "an integer from 0"),
    "created": (_is_number, "a number"),
}
_NULLABLE = ("step", "epoch", "score", "score_name")


def _check(values: Mapping[str, Any]) -> None:
    version = values.get("version")
    if type(version) is not int or version < 1:
        raise CheckpointError(
            f"version in the note should be an integer from 1, but given {version!r:.100}"
        )
    if version > VERSION:
        raise NewerVersionError(
            f"written by a newer version: it has format {version}, but this version reads formats up to {VERSION}. "
            "Upgrade reignition to read it"
        )
    for key, (is_valid, expected) in _CHECKS.items():
        value = values.get(key)
        is_absent = value is None and (key in _NULLABLE or key not in values)
        if not is_absent and not is_valid(value):
            raise CheckpointError(
                f"{key} in the note should be {expected}, but given {value!r:.100}"
            )
