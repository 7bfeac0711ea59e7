"""Sharded checkpoints: each process writes its shard; the folder is complete or absent.

Loading never runs code from the folder.
"""

import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, cast

import torch
from torch.distributed.checkpoint import metadata as dcp_metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ignite._core.logs import join_names
from ignite._core.systems import on_disk, sync
from ignite._core.torch_private import (
    CHECKPOINT_GLOBALS,
    REBUILD_SPARSE,
    checkpoint_entry_class,
    quiet_about_sparse,
)
from ignite.exceptions import CheckpointError
from ignite.storage._archive import Archive, Section
from ignite.storage._pickle_safety import check_calls
from ignite.storage.commit import read_checksum
from ignite.storage.naming import check_name, is_temporary, owner_is_dead, temporary_name
from ignite.storage.snapshot import decode_objects, plain

__all__ = ["load_sharded", "save_sharded"]

Agree = Callable[[Any], list[Any]]
"""Gathers a value from all processes, in the order of ranks, like ``all_gather_object``."""

MANIFEST = "ignite.json"
_VERSION = 1
_SUFFIX = ".dir"  # temporary folders: the name of a temporary file and this suffix
_ALLOWED_GLOBALS = {
    (dcp_metadata.__name__, "BytesStorageMetadata"),
    (dcp_metadata.__name__, "ChunkStorageMetadata"),
    (dcp_metadata.__name__, "Metadata"),
    (dcp_metadata.__name__, "MetadataIndex"),
    (dcp_metadata.__name__, "StorageMeta"),
    (dcp_metadata.__name__, "TensorProperties"),
    (dcp_metadata.__name__, "TensorStorageMetadata"),
    *CHECKPOINT_GLOBALS,
    ("collections", "OrderedDict"),
    ("torch", "Size"),
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
    """Writes a state with ``torch.distributed.checkpoint`` to the folder ``directory/name``.

    The folder has a temporary name until all processes have written their files, all files are
    synced, and a list of checksums is added. All processes must call this function. DTensors are
    written by the processes that hold their shards; all other values are written once.

    Args:
        directory: a folder that all processes can access.
        name: a plain name for the new folder.
        state: nested dictionaries and lists; keys are strings.
        rank: rank of this process; rank 0 creates and renames the folder.
        agree: gathers a value from all processes, like ``all_gather_object``.
        group: the process group for the collectives of torch.

    Raises:
        FileExistsError: a file or folder of this name exists.
        TypeError: a value in ``state`` cannot be loaded safely.
        CheckpointError: another process has failed; the message gives its rank.
        Exception: the error of this process. After any error, no folder of this name exists.
    """
    directory, name = on_disk(directory), str(on_disk(check_name(name)))
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
        checked: dict[str, Any] = plain(state, keeps_mappings=True)
        return checked

    def write() -> None:
        with _single_failure(rank), _without_torchs_warnings():
            save(checked, storage_writer=_Writer(temporary), process_group=group)

    def publish() -> None:
        if rank == 0:
            _publish(temporary, directory / name, checksums)

    try:
        checked = _raise_together(prepare, agree)
        _raise_together(write, agree)
        share = sorted(os.listdir(temporary))[rank::num_ranks]
        checksums = agree(_raise_together(lambda: _checksums(share, temporary), agree))
        _raise_together(publish, agree)
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
    """Loads a folder of :func:`save_sharded` into ``state``, with any number of processes.

    Tensors are filled in place, so each process gets the shards that its DTensors hold. All other
    values are replaced. All processes must call this function. No code from the folder is run.

    Args:
        path: the folder.
        state: a state with the structure of the saved one. The state of an optimizer has tensors
            only after the first step; torch's ``get_optimizer_state_dict`` creates them.
        rank: rank of this process.
        agree: gathers a value from all processes, like ``all_gather_object``.
        group: the process group for the collectives of torch.
        strict: whether values in the folder that ``state`` lacks are errors.

    Raises:
        FileNotFoundError: the folder does not exist.
        CheckpointError: the folder is damaged, unsafe, of a newer version, or does not match
            ``state``. If reading fails in the middle, ``state`` may be partly filled.
    """
    path = on_disk(path)
    num_ranks = len(agree(None))
    _raise_together(lambda: _verify(path, rank, num_ranks), agree)
    try:
        with _without_torchs_warnings():
            planner = _SafePlanner(allows_more=not strict)
            load(state, storage_reader=_SafeReader(path), planner=planner, process_group=group)
    except CheckpointException as error:
        reasons = "; ".join(
            f"rank {r}: {type(e).__name__}: {e}" for r, (e, _) in sorted(error.failures.items())
        )
        raise CheckpointError(f"{path} could not be loaded: {reasons}") from error


def _publish(temporary: Path, target: Path, checksums: list[dict[str, list[int]]]) -> None:
    """Syncs all files, adds the list of checksums, and renames the folder."""
    files = {name: value for of_rank in checksums for name, value in of_rank.items()}
    for name in files:
        sync(temporary / name)
    (temporary / MANIFEST).write_text(
        json.dumps({"version": _VERSION, "files": files}, sort_keys=True), encoding="utf-8"
    )
    sync(temporary / MANIFEST)
    sync(temporary)
    os.rename(temporary, target)
    sync(target.parent)


def _verify(path: Path, rank: int, num_ranks: int) -> None:
    """Verifies the checksums of this process's share of the files."""
    if not path.is_dir():
        raise FileNotFoundError(f"path should be a folder, but given {path}, which is not")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
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
        if not (path / name).is_file() or _checksums([name], path)[name] != files[name]:
            raise CheckpointError(f"{path} is damaged: {name} is missing, or its checksum is wrong")
    used = {entry.relative_path for entry in _read_metadata(path).storage_data.values()}
    if not used <= files.keys():
        raise CheckpointError(
            f"{path} should have checksums for all its files, but has none for {used - files.keys()}"
        )


def _checksums(names: list[str], folder: Path) -> dict[str, list[int]]:
    """Returns size and CRC-32 of files, by name."""
    checksums = {}
    for name in names:
        with (folder / name).open("rb") as file:
            checksums[name] = [*read_checksum(file)]
    return checksums


def _raise_together(work: Callable[[], Any], agree: Agree) -> Any:
    """Runs ``work`` on all ranks and returns its result; raises on all ranks if it fails on one."""
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
def _single_failure(rank: int) -> Iterator[None]:
    """Raises one error, if possible that of this process, instead of torch's collection of all."""
    try:
        yield
    except CheckpointException as error:
        failures = {r: e for r, (e, _) in error.failures.items()}
        own = failures.get(rank)
        if own is not None:
            raise own from None
        raise CheckpointError(f"other processes have failed: {failures}") from None


@contextmanager
def _without_torchs_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # Running in a single process, without a process group, is supported.
        warnings.filterwarnings(
            "ignore", message="torch.distributed is disabled, unavailable or uninitialized"
        )
        # Up to torch 2.9, torch itself uses TypedStorage.
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
        yield


def _sweep(directory: Path) -> None:
    for path in directory.glob(f".*{_SUFFIX}"):
        name = path.name.removesuffix(_SUFFIX)
        if is_temporary(name) and owner_is_dead(name) and not path.is_symlink():
            shutil.rmtree(path)


# A path may be from any version of Python (3.13 has them in ``pathlib._local``) and from any system
# (Linux cannot create a WindowsPath).
_PATH_MODULES = ("pathlib", "pathlib._local")
_PURE_PATHS = {
    "Path": PurePath,
    "PosixPath": PurePosixPath,
    "PurePath": PurePath,
    "PurePosixPath": PurePosixPath,
    "PureWindowsPath": PureWindowsPath,
    "WindowsPath": PureWindowsPath,
}


class _Unpickler(pickle.Unpickler):
    """Unpickles only the classes that describe a checkpoint."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _PATH_MODULES and name in _PURE_PATHS:
            return _PURE_PATHS[name]
        if (module, name) in _ALLOWED_GLOBALS or (
            module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        ):
            return super().find_class(module, name)
        raise CheckpointError(
            f".metadata should name classes of torch's checkpoints only, but names {module}.{name}"
        )


class _Writer(FileSystemWriter):
    """Writes metadata without the path, which other versions of Python could not unpickle."""

    def storage_meta(self) -> dcp_metadata.StorageMeta | None:
        """Describes the checkpoint."""
        described = super().storage_meta()
        if described is not None:
            described.checkpoint_id = None
        return described


class _SafeReader(FileSystemReader):
    """Reads metadata without running code, and refuses files outside of the checkpoint's folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> dcp_metadata.Metadata:
        """Returns the content of the file ``.metadata``."""
        metadata = _read_metadata(Path(self.path))
        metadata.storage_meta = metadata.storage_meta or dcp_metadata.StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata

    def read_data(self, plan: Any, planner: Any) -> Any:
        """Reads the values of a plan, after checking the pickles of all."""
        entries = [self.storage_data[item.storage_index] for item in plan.items]
        for name, of_file in groupby(sorted(entries, key=_file_of), _file_of):
            with (Path(self.path) / name).open("rb") as file:
                for entry in of_file:
                    _check_value(file, entry)
        return super().read_data(plan, planner)


def _file_of(entry: Any) -> str:
    name: str = entry.relative_path
    return name


def _check_value(file: BinaryIO, entry: Any) -> None:
    """Refuses a value, a file of ``torch.save`` within a file, that ``torch.load`` should not read."""
    try:
        section = Section(file, entry.offset, entry.length)
        archive = Archive(cast(BinaryIO, section))
        check_calls(archive.content("data.pkl", entry.length) or b"", entry.length, archive.sizes())
    except CheckpointError as error:
        raise CheckpointError(
            f"the value at {entry.offset} of {entry.relative_path} is damaged: {error}"
        ) from None


class _SafePlanner(DefaultLoadPlanner):
    """Loads values without running code, and stores them in place, in dictionaries and lists.

    Args:
        allows_more: whether the checkpoint may contain values that the state lacks.
    """

    def __init__(self, *, allows_more: bool) -> None:
        super().__init__()
        self._allows_more = allows_more
        self._locations: dict[str, tuple[Any, Any]] = {}

    def set_up_planner(
        self,
        state_dict: dict[str, Any],
        metadata: dcp_metadata.Metadata | None = None,
        is_coordinator: bool = False,
    ) -> None:
        """Records the container and key of each value."""
        super().set_up_planner(state_dict, metadata, is_coordinator)
        # torch has replaced the lists by new ones.
        self._locations = dict(_find_locations(self.original_state_dict))

    def create_local_plan(self) -> Any:
        """Checks that the state contains all values of the checkpoint."""
        stored = self.metadata.state_dict_metadata if self.metadata is not None else {}
        unexpected = sorted(stored.keys() - self.state_dict.keys())
        if unexpected and not self._allows_more:
            raise CheckpointError(
                f"state should have all keys of the checkpoint, but lacks {join_names(unexpected)}"
            )
        return super().create_local_plan()

    def load_bytes(self, read_item: Any, value: Any) -> None:
        """Stores a value other than a tensor; torch's own method would run its code."""
        container, key = self._locations[read_item.dest_index.fqn]
        with quiet_about_sparse(REBUILD_SPARSE.encode() in value.getvalue()):
            loaded = torch.load(value, map_location="cpu", weights_only=True)
        container[key] = decode_objects(loaded)


def _find_locations(container: Any, prefix: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields torch's fully qualified name of each value, with its container and key."""
    for key, value in container.items() if isinstance(container, Mapping) else enumerate(container):
        name = f"{prefix}{key}"
        yield name, (container, key)
        if isinstance(value, Mapping | list):
            yield from _find_locations(value, f"{name}.")


def _read_metadata(path: Path) -> dcp_metadata.Metadata:
    """Reads the metadata of a sharded checkpoint: its values and where they are stored.

    Raises:
        CheckpointError: the file ``.metadata`` is damaged, or names other classes or files outside
            of the folder.
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
    entries = getattr(metadata, "storage_data", None)
    if not isinstance(metadata, dcp_metadata.Metadata) or not isinstance(entries, dict):
        raise CheckpointError(
            f"{path / '.metadata'} should describe a checkpoint, but holds {type(metadata).__name__}"
        )
    for entry in entries.values():
        if not isinstance(entry, checkpoint_entry_class()) or not _is_inside(entry.relative_path):
            raise CheckpointError(
                f"{path / '.metadata'} should name files in its folder, but names {entry!r}"
            )
    return metadata


def _is_inside(name: Any) -> bool:
    """Whether ``name`` is the name of a file directly in its folder."""
    return (
        isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)
    )
