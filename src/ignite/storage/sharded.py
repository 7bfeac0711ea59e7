"""States that are spread over processes: each writes its own part, and the folder of all appears at once."""

import json
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ignite.exceptions import CheckpointError
from ignite.storage._dcp import SafePlanner, SafeReader, is_inside, read_metadata
from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name
from ignite.storage.snapshot import plain

__all__ = ["load_sharded", "save_sharded"]

Agree = Callable[[Any], list[Any]]
"""Tells all processes a value, and returns those of all, by rank: ``all_gather_object``."""

MANIFEST = "ignite.json"
_VERSION = 1
_SUFFIX = ".dir"  # after the name of a temporary file
_CHUNK = 1 << 20


def _alone(value: Any) -> list[Any]:
    return [value]


def save_sharded(
    directory: str | Path, name: str, state: dict[str, Any], *, rank: int = 0, agree: Agree = _alone, group: Any = None
) -> None:
    """Writes a state with ``torch.distributed.checkpoint`` into the folder ``directory/name``.

    The folder has another name until all processes have written, every file is synced, and a list of their checksums
    lies beside them. Every process has to call this. DTensors are written by the processes that hold their parts;
    anything else is written once.

    Args:
        directory: a folder that all processes see.
        name: of the new folder, a plain name.
        state: nested dictionaries and lists with text keys.
        rank: of this process; the first one makes and renames the folder.
        agree: ``all_gather_object`` over the same processes.
        group: the process group for torch's own collectives.

    Raises:
        FileExistsError: there is something of this name.
        TypeError: something in ``state`` would not be loaded.
        CheckpointError: another process has failed; it is named.
        Exception: what went wrong in this process. In any case, no folder of this name appears.
    """
    directory, name = Path(directory), check_name(name)
    temporaries = agree(temporary_name("sharded") + _SUFFIX)
    temporary, num_ranks = directory / temporaries[0], len(temporaries)

    def prepare() -> dict[str, Any]:
        if rank == 0:
            _sweep(directory)
            if os.path.lexists(directory / name):
                raise FileExistsError(f"name should be new, but given {name!r}, which is in {directory}")
            temporary.mkdir()
        checked: dict[str, Any] = plain(state)
        return checked

    def write() -> None:
        with _failures_of(rank), _quiet():
            save(checked, storage_writer=FileSystemWriter(temporary), process_group=group)

    try:
        checked = _in_step(prepare, agree)
        _in_step(write, agree)
        share = sorted(os.listdir(temporary))[rank::num_ranks]
        sums = agree(_in_step(lambda: _sums(share, temporary), agree))
        _in_step(lambda: _publish(temporary, directory / name, sums) if rank == 0 else None, agree)
    finally:
        if rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)


def load_sharded(
    path: str | Path,
    state: dict[str, Any],
    *,
    rank: int = 0,
    agree: Agree = _alone,
    group: Any = None,
    strict: bool = True,
) -> None:
    """Reads a folder of :func:`save_sharded` into ``state``, over as many processes as there are now.

    Tensors are filled where they are, so each process gets the parts that its DTensors hold; all other values are
    replaced. Every process has to call this. Nothing in the folder is executed.

    Args:
        path: the folder.
        state: has the structure of what was saved. An optimizer has its tensors only after a first step; torch's
            ``get_optimizer_state_dict`` makes them.
        rank: of this process.
        agree: ``all_gather_object`` over the same processes.
        group: the process group for torch's own collectives.
        strict: whether it is an error if the folder holds more than ``state`` asks for.

    Raises:
        FileNotFoundError: there is no such folder.
        CheckpointError: the folder is damaged, unsafe, of a newer version, or does not fit. ``state`` may be filled in
            part only if reading has failed in the middle.
    """
    path = Path(path)
    num_ranks = len(agree(None))
    _in_step(lambda: _verify(path, rank, num_ranks), agree)
    try:
        with _quiet():
            planner = SafePlanner(allows_more=not strict)
            load(state, storage_reader=SafeReader(path), planner=planner, process_group=group)
    except CheckpointException as error:
        reasons = "; ".join(f"rank {r}: {type(e).__name__}: {e}" for r, (e, _) in sorted(error.failures.items()))
        raise CheckpointError(f"{path} could not be loaded: {reasons}") from error


def _publish(temporary: Path, target: Path, sums: list[dict[str, list[int]]]) -> None:
    """Adds the checksums that all processes have found, and gives the folder its name."""
    files = {name: value for of_rank in sums for name, value in of_rank.items()}
    for name in files:
        _sync(temporary / name)
    (temporary / MANIFEST).write_text(json.dumps({"version": _VERSION, "files": files}, sort_keys=True))
    _sync(temporary / MANIFEST)
    _sync(temporary)
    os.rename(temporary, target)
    _sync(target.parent)


def _verify(path: Path, rank: int, num_ranks: int) -> None:
    """Compares the checksums of this process's share of the files."""
    if not path.is_dir():
        raise FileNotFoundError(f"path should be a folder, but given {path}, which is none")
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        version, files = int(manifest["version"]), dict(manifest["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} should be complete, but {MANIFEST} is missing or damaged: {error}") from error
    if version > _VERSION:
        raise CheckpointError(f"{path} should be of version {_VERSION} at most, but is of {version}: update")
    if not all(map(is_inside, files)) or ".metadata" not in files:
        raise CheckpointError(f"{path / MANIFEST} should list the files of its folder, but lists {sorted(files)}")
    for name in sorted(files)[rank::num_ranks]:
        if not (path / name).is_file() or _sums([name], path)[name] != files[name]:
            raise CheckpointError(f"{path} is damaged: {name} is missing, or its checksum is wrong")
    used = {place.relative_path for place in read_metadata(path).storage_data.values()}
    if not used <= files.keys():
        raise CheckpointError(f"{path} should have checksums for all its files, but has none for {used - files.keys()}")


def _sums(names: list[str], folder: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of files, by name."""
    sums = {}
    for name in names:
        checksum = 0
        with (folder / name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                checksum = zlib.crc32(chunk, checksum)
            sums[name] = [file.tell(), checksum]
    return sums


def _in_step(work: Callable[[], Any], agree: Agree) -> Any:
    """Does the work in all processes; if it fails in one of them, it fails in all. Returns this one's result."""
    result, failure = None, None
    try:
        result = work()
    except Exception as error:
        failure = error
    texts = agree(None if failure is None else f"{type(failure).__name__}: {failure}")
    if failure is not None:
        raise failure
    for rank, text in enumerate(texts):
        if text is not None:
            raise CheckpointError(f"all processes should succeed, but rank {rank} has failed: {text}")
    return result


@contextmanager
def _failures_of(rank: int) -> Iterator[None]:
    """Raises what went wrong in this process, or else in another one, instead of torch's collection of all."""
    try:
        yield
    except CheckpointException as error:
        failures = {r: e for r, (e, _) in error.failures.items()}
        own = failures.get(rank)
        if own is not None:
            raise own from None
        raise CheckpointError(f"other processes have failed: {failures}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # To run in one process, without a group, is what was asked for.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        yield


def _sweep(directory: Path) -> None:
    for path in directory.glob(f".*{_SUFFIX}"):
        name = path.name.removesuffix(_SUFFIX)
        if is_temporary(name) and owner_is_dead(name) and not path.is_symlink():
            shutil.rmtree(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
