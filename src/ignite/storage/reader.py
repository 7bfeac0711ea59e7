"""Checkpoints are written and read: checked on the way out and in, and nothing in them is executed."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from ignite.exceptions import CheckpointError
from ignite.storage.commit import Written
from ignite.storage.note import Note, append_note, read_note
from ignite.storage.place import Place
from ignite.storage.snapshot import check_storable
from ignite.storage.verify import verify

__all__ = ["Found", "Loaded", "load", "load_latest", "save", "scan"]

logger = logging.getLogger(__name__)

SUFFIX = ".pt"
# How files begin that torch wrote before it wrote zip files: a number, pickled.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


class Loaded(NamedTuple):
    """What a checkpoint holds."""

    state: Any
    note: Note | None
    name: str


class Found(NamedTuple):
    """A checkpoint that was found, and has not been read yet."""

    name: str
    note: Note | None
    step: int | None
    error: str | None

    @property
    def order(self) -> tuple[int, int]:
        """What the newest one has the highest of."""
        return self.note.order if self.note is not None else (-1, -1 if self.step is None else self.step)


def save(place: Place, name: str, state: Any, note: Note | None, **kwargs: Any) -> Written:
    """Commits a state, which loads with ``torch.load(weights_only=True)`` then.

    Args:
        place: where.
        name: a plain file name.
        state: nested containers of tensors, numbers and strings.
        note: what the file says about itself.
        **kwargs: for ``torch.save``.

    Raises:
        TypeError: something in the state would not load again; nothing is written.
        OSError: it could not be written; what had the name has it still.
    """
    check_storable(state)
    is_zip = kwargs.get("_use_new_zipfile_serialization", True)

    def finish(path: Path) -> None:
        if is_zip:
            verify(path)

    def write(file: BinaryIO) -> None:
        torch.save(state, file, **kwargs)
        if note is not None and is_zip:
            append_note(file, note)

    return place.write(name, write, finish)


def load(source: str | Path | tuple[Place, str], map_location: Any = "cpu", **kwargs: Any) -> Loaded:
    """Reads a checkpoint, ours or one of Ignite, if it is whole.

    Args:
        source: a path, or a place and a name in it.
        map_location: where to put tensors.
        **kwargs: for ``torch.load``.

    Raises:
        CheckpointError: it is damaged, holds what could not be loaded safely, or is of a newer version.
        FileNotFoundError: it is not there.
        OSError: it cannot be read.
    """
    if isinstance(source, tuple):
        place, name = source
        with place.local(name) as path:
            return _load(path, name, map_location, kwargs)
    path = Path(source).expanduser()
    return _load(path, path.name, map_location, kwargs)


def _load(path: Path, name: str, map_location: Any, kwargs: dict[str, Any]) -> Loaded:
    with path.open("rb") as file:
        is_legacy = file.read(len(_LEGACY)) == _LEGACY
    note = None
    if is_legacy:
        logger.warning("%s was written by an old version of torch, and has no checksums", path)
    else:
        note = verify(path)
    try:
        state = torch.load(path, map_location=map_location, **{**kwargs, "weights_only": True})
    except OSError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} cannot be loaded safely: {str(error).splitlines()[0]:.300}") from error
    return Loaded(state, note, name)


def scan(place: Place, family: str | None = None) -> list[Found]:
    """The checkpoints in a place, the newest first. Reads no more of each than its note.

    Args:
        place: where.
        family: only those of this series.
    """
    found = [_find(place, name) for name in place.names() if name.endswith(SUFFIX)]
    if family is not None:
        found = [one for one in found if one.error is not None or (one.note is not None and one.note.family == family)]
    return sorted(found, key=lambda one: (*one.order, one.name), reverse=True)


def _find(place: Place, name: str) -> Found:
    numbers = re.findall(r"\d{1,18}", name)
    guess = int(numbers[-1]) if numbers else None
    try:
        with place.local(name) as path:
            note = read_note(path)
    except (CheckpointError, OSError) as error:
        return Found(name, None, guess, str(error))
    return Found(name, note, guess if note is None or note.step is None else note.step, None)


def load_latest(place: Place, family: str | None = None, map_location: Any = "cpu") -> Loaded | None:
    """The newest checkpoint that is whole; None if there is none. Those that are left out are named in the log."""
    for found in scan(place, family):
        try:
            return load((place, found.name), map_location)
        except (CheckpointError, OSError) as error:
            logger.warning("%s is left out: %s", found.name, error)
    return None
