"""Sharded checkpoints: each process writes its shard, and the folder appears complete or not at all.

Loading runs no code of it.
"""

import json
import os
import pickle
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import metadata as kinds
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ignite._core.torch_private import checkpoint_entry_class
from ignite.exceptions import CheckpointError
from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name
from ignite.storage.snapshot import plain

__all__ = ["load_sharded", "save_sharded"]

Agree = Callable[[Any], list[Any]]
"""Tells all processes a value, and returns those of all, by rank: ``all_gather_object``."""

MANIFEST = "ignite.json"
_VERSION = 1
_SUFFIX = ".dir"  # after the name of a temporary file
_CHUNK = 1 << 20
_CLASSES = {
    *(
        (kinds.__name__, name)
        for name in ("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex")
    ),
    *(
        (kinds.__name__, name)
        for name in ("StorageMeta", "TensorProperties", "TensorStorageMetadata")
    ),
    (kinds.__name__, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
}


def _alone(value: Any) -> list[Any]:
    return [value]


def save_sharded(
    directory: str | Path,
    name: str,
    state: dict[str, Any],
    *,
    rank: int = 0,
    agree: Agree = _alone,
    group: Any = None,
) -> None:
    """Writes a state with ``torch.distributed.checkpoint`` into the folder ``directory/name``.

    The folder has another name until all processes have written, every file is synced, and a list
    of their checksums lies beside them. Every process has to call this. DTensors are written by the
    processes that hold their parts; anything else is written once.

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
                raise FileExistsError(
                    f"name should be new, but given {name!r}, which is in {directory}"
                )
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

    Tensors are filled where they are, so each process gets the parts that its DTensors hold; all
    other values are replaced. Every process has to call this. Nothing in the folder is executed.

    Args:
        path: the folder.
        state: has the structure of what was saved. An optimizer has its tensors only after a first
            step; torch's ``get_optimizer_state_dict`` makes them.
        rank: of this process.
        agree: ``all_gather_object`` over the same processes.
        group: the process group for torch's own collectives.
        strict: whether it is an error if the folder holds more than ``state`` asks for.

    Raises:
        FileNotFoundError: there is no such folder.
        CheckpointError: the folder is damaged, unsafe, of a newer version, or does not fit.
            ``state`` may be filled in part only if reading has failed in the middle.
    """
    path = Path(path)
    num_ranks = len(agree(None))
    _in_step(lambda: _verify(path, rank, num_ranks), agree)
    try:
        with _quiet():
            planner = _SafePlanner(allows_more=not strict)
            load(state, storage_reader=_SafeReader(path), planner=planner, process_group=group)
    except CheckpointException as error:
        reasons = "; ".join(
            f"rank {r}: {type(e).__name__}: {e}" for r, (e, _) in sorted(error.failures.items())
        )
        raise CheckpointError(f"{path} could not be loaded: {reasons}") from error


def _publish(temporary: Path, target: Path, sums: list[dict[str, list[int]]]) -> None:
    """Adds the checksums that all processes have found, and gives the folder its name."""
    files = {name: value for of_rank in sums for name, value in of_rank.items()}
    for name in files:
        _sync(temporary / name)
    (temporary / MANIFEST).write_text(
        json.dumps({"version": _VERSION, "files": files}, sort_keys=True)
    )
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
        raise CheckpointError(
            f"{path} should be complete, but {MANIFEST} is missing or damaged: {error}"
        ) from error
    if version > _VERSION:
        raise CheckpointError(
            f"{path} should be of version {_VERSION} at most, but is of {version}: update"
        )
    if not all(map(_is_inside, files)) or ".metadata" not in files:
        raise CheckpointError(
            f"{path / MANIFEST} should list the files of its folder, but lists {sorted(files)}"
        )
    for name in sorted(files)[rank::num_ranks]:
        if not (path / name).is_file() or _sums([name], path)[name] != files[name]:
            raise CheckpointError(f"{path} is damaged: {name} is missing, or its checksum is wrong")
    used = {place.relative_path for place in _read_metadata(path).storage_data.values()}
    if not used <= files.keys():
        raise CheckpointError(
            f"{path} should have checksums for all its files, but has none for {used - files.keys()}"
        )


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
    """Does the work in all processes; if it fails in one of them, it fails in all.

    Returns this one's result.
    """
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
            raise CheckpointError(
                f"all processes should succeed, but rank {rank} has failed: {text}"
            )
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
        warnings.filterwarnings(
            "ignore", message="torch.distributed is disabled, unavailable or uninitialized"
        )
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


class _Unpickler(pickle.Unpickler):
    """Creates only the classes that describe a checkpoint, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CLASSES or (
            module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        ):
            return super().find_class(module, name)
        raise CheckpointError(
            f".metadata should name classes of torch's checkpoints only, but names {module}.{name}"
        )


class _SafeReader(FileSystemReader):
    """Reads the metadata of a checkpoint without running its code, and stays in its folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> kinds.Metadata:
        """The content of the file ``.metadata``."""
        metadata = _read_metadata(Path(self.path))
        metadata.storage_meta = metadata.storage_meta or kinds.StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _SafePlanner(DefaultLoadPlanner):
    """Loads values without running their code, and stores them in place, also under keys that are numbers.

    Args:
        allows_more: whether the checkpoint may hold more than the state.
    """

    def __init__(self, *, allows_more: bool) -> None:
        super().__init__()
        self._allows_more = allows_more
        self._places: dict[str, tuple[Any, Any]] = {}

    def set_up_planner(
        self,
        state_dict: dict[str, Any],
        metadata: kinds.Metadata | None = None,
        is_coordinator: bool = False,
    ) -> None:
        """Records the place of each value."""
        self._places = dict(_places_in(state_dict))
        super().set_up_planner(state_dict, metadata, is_coordinator)

    def create_local_plan(self) -> Any:
        """Checks that the state has a place for everything in the checkpoint."""
        stored = self.metadata.state_dict_metadata if self.metadata is not None else {}
        more = sorted(stored.keys() - self.state_dict.keys())
        if more and not self._allows_more:
            listed = ", ".join(more[:10]) + (
                f" and {len(more) - 10} more" if len(more) > 10 else ""
            )
            raise CheckpointError(
                f"state should have a place for all that is stored, but has none for {listed}"
            )
        return super().create_local_plan()

    def load_bytes(self, read_item: Any, value: Any) -> None:
        """Stores a value other than a tensor; torch's own method would run its code."""
        container, key = self._places[read_item.dest_index.fqn]
        container[key] = torch.load(value, map_location="cpu", weights_only=True)


def _places_in(container: Any, prefix: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields torch's name of each value, with its container and key."""
    for key, value in container.items() if isinstance(container, Mapping) else enumerate(container):
        name = f"{prefix}{key}"
        yield name, (container, key)
        if isinstance(value, Mapping | list):
            yield from _places_in(value, f"{name}.")


def _read_metadata(path: Path) -> kinds.Metadata:
    """Reads the metadata of a sharded checkpoint: what the folder holds, and where.

    Raises:
        CheckpointError: the file ``.metadata`` is damaged, or names what it should not.
    """
    try:
        with (path / ".metadata").open("rb") as file:
            metadata = _Unpickler(file).load()
    except (CheckpointError, OSError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path / '.metadata'} is damaged: {type(error).__name__}: {error}"
        ) from error
    places = getattr(metadata, "storage_data", None)
    if not isinstance(metadata, kinds.Metadata) or not isinstance(places, dict):
        raise CheckpointError(
            f"{path / '.metadata'} should describe a checkpoint, but holds {type(metadata).__name__}"
        )
    for place in places.values():
        if not isinstance(place, checkpoint_entry_class()) or not _is_inside(place.relative_path):
            raise CheckpointError(
                f"{path / '.metadata'} should name files in its folder, but names {place!r}"
            )
    return metadata


def _is_inside(name: Any) -> bool:
    """Whether ``name`` is the name of a file directly in its folder."""
    return (
        isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)
    )
