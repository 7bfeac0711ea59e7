"""Saves and loads checkpoints: verifies checksums both times, and never executes code from a file."""

import logging
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch

from ignite.exceptions import CheckpointError
from ignite.storage._archive import is_legacy
from ignite.storage._pickle_safety import check_calls, check_legacy_calls
from ignite.storage._serialization import write_state
from ignite.storage.commit import Written
from ignite.storage.note import NOTE_NAME, Note, append_note, read_note
from ignite.storage.place import Place
from ignite.storage.snapshot import plain
from ignite.storage.verify import explained, open_file, verify, verify_file

__all__ = ["Found", "Loaded", "load", "load_latest", "save", "scan"]

logger = logging.getLogger(__name__)

SUFFIXES = (".pt", ".pth", ".ckpt")
# Numbers such as 0.95 are scores, not steps.
_STEP = re.compile(r"(?<![\d.])\d{1,18}(?!\.?\d)")


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
        restarts = 0 if self.note is None else self.note.restarts
        return restarts, -1 if self.step is None else self.step


def save(
    place: Place, name: str, state: Any, note: Note | None, *, is_plain: bool = False, **kwargs: Any
) -> Written:
    """Writes a checkpoint: ``torch.load`` and Ignite read it, and :func:`load` does and checks it.

    Args:
        place: where.
        name: a plain file name.
        state: what to save; see :func:`ignite.storage.check_storable`.
        note: what it says about itself; None writes an ordinary file of torch.
        is_plain: whether ``state`` is what ``plain`` or ``Snapshot.take`` has returned, and need
            not be looked through once more.
        **kwargs: for ``torch.save``.

    Returns:
        Size and checksum of the file, which has been read back and compared.

    Raises:
        TypeError: something in ``state`` could not be loaded safely. Nothing was written then.
        ValueError: the name is not plain.
        OSError: it could not be written. What had the name has it still.

    Example:
        >>> import tempfile
        >>> from ignite.storage import open_place
        >>> place = open_place(tempfile.mkdtemp())
        >>> _ = save(place, "model.pt", {"weight": torch.ones(2)}, Note(step=7))
        >>> loaded = load_latest(place)
        >>> loaded.name, loaded.note.step, loaded.state
        ('model.pt', 7, {'weight': tensor([1., 1.])})
    """
    state = state if is_plain else plain(state)
    is_zip = kwargs.get("_use_new_zipfile_serialization", True)

    def write(file: BinaryIO) -> None:
        if not kwargs and write_state(
            file, state, {} if note is None else {NOTE_NAME: note.to_json().encode()}
        ):
            return
        torch.save(state, file, **kwargs)
        if note is not None and is_zip:
            append_note(file, note)

    return place.write(name, write, verify if is_zip else None)


def load(
    source: str | Path | tuple[Place, str], map_location: Any = "cpu", **kwargs: Any
) -> Loaded:
    """Reads a checkpoint, ours or one of Ignite, if it is whole.

    Args:
        source: a path, or a place and a name in it.
        map_location: where to put tensors.
        **kwargs: for ``torch.load``.

    Raises:
        ValueError: ``weights_only=False`` or a module that unpickles is asked for.
        CheckpointError: it is damaged, holds what could not be loaded safely, or is of a newer
            version.
        FileNotFoundError: it is not there.
        OSError: it cannot be read.
    """
    if not kwargs.pop("weights_only", True) or kwargs.get("pickle_module") is not None:
        raise ValueError(
            "weights_only should be True, but given False: files can execute what they like otherwise"
        )
    if isinstance(source, tuple):
        place, name = source
        with place.local(name) as path:
            return _load(path, name, map_location, kwargs)
    path = Path(source).expanduser()
    return _load(path, path.name, map_location, kwargs)


def _load(path: Path, name: str, map_location: Any, kwargs: dict[str, Any]) -> Loaded:
    # What is checked and what is loaded is one open file, whatever happens to the name meanwhile.
    with open_file(path) as file:
        try:
            note = _check(file, path)
            # Only a path can be mapped; then, what is mapped may be a file that has replaced the
            # checked one.
            opened = path if kwargs.get("mmap") else file
            state = torch.load(
                cast(Any, opened), map_location=map_location, **kwargs, weights_only=True
            )
        except (OSError, torch.OutOfMemoryError):
            raise  # the disk's fault, and the accelerator's
        except CheckpointError as error:
            raise explained(error, path) from None
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            raise CheckpointError(f"{path} cannot be loaded safely: {text:.300}") from error
    return Loaded(state, note, name)


def _check(file: BinaryIO, path: Path) -> Note | None:
    size = file.seek(0, os.SEEK_END)
    if is_legacy(file):
        logger.warning(
            "%s was written by a version of torch before 1.6, and has no checksums", path
        )
        check_legacy_calls(file, size)
        note = None
    else:
        archive, note = verify_file(file)
        check_calls(archive.content("data.pkl", size) or b"", size)
    file.seek(0)
    return note


def scan(place: Place, family: str | None = None) -> list[Found]:
    """The checkpoints in a place, the newest first: by the steps that their notes tell.

    Reads no more of each.

    A file without a note, such as Ignite's, is placed by the last integer in its name; one that
    cannot be read, too, and it is listed with its error. Times of files mean nothing.

    Args:
        place: where.
        family: only those of this series.
    """
    found = [_find(place, name) for name in place.names() if name.endswith(SUFFIXES)]
    if family is not None:
        found = [
            one
            for one in found
            if one.error is not None or (one.note is not None and one.note.family == family)
        ]
    return sorted(found, key=lambda one: (one.order, one.name), reverse=True)


def load_latest(
    place: Place, family: str | None = None, map_location: Any = "cpu"
) -> Loaded | None:
    """The newest checkpoint that is whole; None if there is none.

    Those that are left out are named in the log.
    """
    for found in scan(place, family):
        try:
            return load((place, found.name), map_location)
        except (CheckpointError, OSError) as error:
            logger.warning("%s is left out: %s", found.name, error)
    return None


def _find(place: Place, name: str) -> Found:
    numbers = _STEP.findall(name.rpartition(".")[0])
    guess = int(numbers[-1]) if numbers else None
    try:
        note = _read_note(place, name)
    except (CheckpointError, OSError) as error:
        return Found(name, None, guess, str(error))
    return Found(name, note, guess if note is None or note.step is None else note.step, None)


def _read_note(place: Place, name: str) -> Note | None:
    # Of an object store, this gets the end of the file instead of the whole of it.
    opens = getattr(place, "open", None)
    if opens is not None:
        with opens(name) as file:
            return read_note(file)
    with place.local(name) as path:
        return read_note(path)
