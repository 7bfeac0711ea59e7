"""Saves and loads checkpoints; verifies checksums, and runs no code from a file by default."""

import logging
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch

from ignite._core.systems import on_disk
from ignite._core.torch_private import REBUILD_SPARSE, ZIP_FORMAT, quiet_about_sparse
from ignite.exceptions import CheckpointError
from ignite.storage._archive import is_legacy
from ignite.storage._objects import TAG_BYTES
from ignite.storage._pickle_safety import check_calls, check_legacy_calls
from ignite.storage._serialization import write_state
from ignite.storage.commit import Written
from ignite.storage.note import NOTE_NAME, Note, append_note, read_note
from ignite.storage.place import Place, follow
from ignite.storage.snapshot import decode_objects, plain
from ignite.storage.verify import open_file, verify, verify_file, with_path

__all__ = ["Found", "Loaded", "load", "load_latest", "save", "scan"]

logger = logging.getLogger(__name__)

SUFFIXES = (".pt", ".pth", ".ckpt")
_UNSUPPORTED = re.compile(r"Unsupported global: GLOBAL (\S+)")
# Decimal numbers such as 0.95 are scores, not steps.
_STEP = re.compile(r"(?<![\d.])\d{1,18}(?!\.?\d)")


class Loaded(NamedTuple):
    """The content of a checkpoint."""

    state: Any
    note: Note | None
    name: str


class Found(NamedTuple):
    """A checkpoint found by :func:`scan`, which reads only its note."""

    name: str
    note: Note | None
    step: int | None
    error: str | None

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: the newest checkpoint has the highest."""
        restarts = 0 if self.note is None else self.note.restarts
        return restarts, -1 if self.step is None else self.step


def save(
    place: Place,
    name: str,
    state: Any,
    note: Note | None,
    *,
    is_plain: bool = False,
    weights_only: bool = True,
    **kwargs: Any,
) -> Written:
    """Writes a checkpoint that :func:`load`, ``torch.load`` and Ignite can read.

    Args:
        place: where to write the file.
        name: a plain file name.
        state: the state to save; see :func:`ignite.storage.check_storable`.
        note: metadata of the checkpoint; if None, the file is an ordinary file of ``torch.save``.
        is_plain: whether ``state`` is a result of ``plain`` or ``Snapshot.take``, which have
            already checked it.
        weights_only: whether to refuse objects that cannot be loaded safely. If not, they are
            pickled, and loading them requires ``weights_only=False``, too.
        **kwargs: keyword arguments for ``torch.save``.

    Returns:
        Size and checksum of the file, after reading it back and verifying it.

    Raises:
        TypeError: a value in ``state`` cannot be loaded safely. Nothing is written.
        ValueError: ``name`` is not a plain file name.
        OSError: the file cannot be written. An existing file of this name is unchanged.

    Example:
        >>> import tempfile
        >>> from ignite.storage import open_place
        >>> place = open_place(tempfile.mkdtemp())
        >>> _ = save(place, "model.pt", {"weight": torch.ones(2)}, Note(step=7))
        >>> loaded = load_latest(place)
        >>> loaded.name, loaded.note.step, loaded.state
        ('model.pt', 7, {'weight': tensor([1., 1.])})
    """
    state = state if is_plain else plain(state, weights_only=weights_only)
    is_zip = kwargs.get(ZIP_FORMAT, True)

    def write(file: BinaryIO) -> None:
        if (
            weights_only
            and not kwargs
            and write_state(
                file, state, {} if note is None else {NOTE_NAME: note.to_json().encode()}
            )
        ):
            return
        torch.save(state, file, **kwargs)
        if note is not None and is_zip:
            append_note(file, note)

    return place.write(name, write, verify if is_zip else None)


def load(
    source: str | Path | tuple[Place, str],
    map_location: Any = "cpu",
    *,
    weights_only: bool = True,
    **kwargs: Any,
) -> Loaded:
    """Verifies and loads a checkpoint of this library or of Ignite.

    Args:
        source: a path, or a place and the name of a file in it.
        map_location: device for the tensors, see ``torch.load``.
        weights_only: whether to refuse a file that could run code. If False, loading runs whatever
            code the file names: use it only for files that you trust.
        **kwargs: keyword arguments for ``torch.load``.

    Raises:
        ValueError: a ``pickle_module`` is given, or ``weights_only`` is neither True nor False.
        CheckpointError: the file is damaged, cannot be loaded safely, or is of a newer version.
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read.
    """
    if not isinstance(weights_only, bool):
        raise ValueError(f"weights_only should be True or False, but given {weights_only!r}")
    if kwargs.get("pickle_module") is not None:
        raise ValueError(
            "pickle_module should be None, because torch's own unpickler reads the file, "
            f"but given {kwargs['pickle_module']!r}"
        )
    kwargs["weights_only"] = weights_only
    if isinstance(source, tuple):
        place, name = source
        with place.local(name) as path:
            return _load(path, name, map_location, kwargs)
    path = follow(on_disk(source).expanduser())
    return _load(path, path.name, map_location, kwargs)


def _load(path: Path, name: str, map_location: Any, kwargs: dict[str, Any]) -> Loaded:
    # The file stays open between check and load, so both read the same file even if it is replaced.
    with open_file(path) as file:
        try:
            note, may_hold_objects, may_hold_sparse = _check(file, path, kwargs["weights_only"])
            # torch can map a path only, so a file that is replaced after the check is not checked.
            target = path if kwargs.get("mmap") else file
            with quiet_about_sparse(may_hold_sparse):
                state = torch.load(cast(Any, target), map_location=map_location, **kwargs)
        except (OSError, torch.OutOfMemoryError):
            raise  # not an error of the file
        except CheckpointError as error:
            raise with_path(error, path) from None
        except Exception as error:
            raise CheckpointError(f"{path} {_reason(error)}") from error
    if may_hold_objects:
        try:
            state = decode_objects(state)
        except CheckpointError as error:
            raise CheckpointError(f"{path} cannot be loaded: {error}") from error
    return Loaded(state, note, name)


def _reason(error: Exception) -> str:
    unsupported = _UNSUPPORTED.search(str(error))
    if unsupported is None:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"cannot be loaded safely: {text:.300}"
    return (
        f"cannot be loaded safely: it refers to {unsupported[1]:.100}, which could run any code. If "
        "you trust the file, load it with weights_only=False"
    )


def _check(file: BinaryIO, path: Path, weights_only: bool) -> tuple[Note | None, bool, bool]:
    """Verifies a file. Returns its note, and whether it may hold tagged tuples and sparse tensors."""
    size = file.seek(0, os.SEEK_END)
    if is_legacy(file):
        logger.warning(
            "%s was written by a version of torch before 1.6, and has no checksums", path
        )
        if weights_only:
            check_legacy_calls(file, size)
        note, may_hold_objects, may_hold_sparse = None, True, True
    else:
        archive, note = verify_file(file)
        pickled = archive.content("data.pkl", size) or b""
        if weights_only:
            check_calls(pickled, size, archive.sizes())
        may_hold_objects = TAG_BYTES in pickled
        may_hold_sparse = REBUILD_SPARSE.encode() in pickled
    file.seek(0)
    return note, may_hold_objects, may_hold_sparse


def scan(place: Place, family: str | None = None) -> list[Found]:
    """Lists the checkpoints in a place, newest first, by the steps in their notes.

    Reads only the notes. The step of a file without a note, such as a file of Ignite, is the last
    integer in its name. So is that of an unreadable file, which is listed with its error.
    Modification times are ignored.

    Args:
        place: the folder to search.
        family: list only checkpoints of this series, and those that cannot be read.
    """
    checkpoints = [_find(place, name) for name in place.names() if name.endswith(SUFFIXES)]
    if family is not None:
        checkpoints = [
            found
            for found in checkpoints
            if found.error is not None or (found.note is not None and found.note.family == family)
        ]
    return sorted(checkpoints, key=lambda found: (found.order, found.name), reverse=True)


def load_latest(
    place: Place, family: str | None = None, map_location: Any = "cpu"
) -> Loaded | None:
    """Loads the newest intact checkpoint; returns None if there is none.

    Logs a warning for each newer one that cannot be loaded.
    """
    for found in scan(place, family):
        try:
            return load((place, found.name), map_location)
        except (CheckpointError, OSError) as error:
            logger.warning("%s is skipped: %s", found.name, error)
    return None


def _find(place: Place, name: str) -> Found:
    numbers = _STEP.findall(name.rpartition(".")[0])
    step = int(numbers[-1]) if numbers else None
    try:
        note = _read_note(place, name)
    except (CheckpointError, OSError) as error:
        return Found(name, None, step, str(error))
    return Found(name, note, step if note is None or note.step is None else note.step, None)


def _read_note(place: Place, name: str) -> Note | None:
    # From an object store, this downloads only the end of the file.
    open_remote = getattr(place, "open", None)
    if open_remote is not None:
        with open_remote(name) as file:
            return read_note(file)
    with place.local(name) as path:
        return read_note(path)
