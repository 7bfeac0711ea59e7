"""Reading what ``torch.distributed.checkpoint`` has written, without running what is in it."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import metadata as kinds
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo

from ignite.exceptions import CheckpointError

_CLASSES = {
    *((kinds.__name__, name) for name in ("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex")),
    *((kinds.__name__, name) for name in ("StorageMeta", "TensorProperties", "TensorStorageMetadata")),
    (kinds.__name__, "_MEM_FORMAT_ENCODING"),
    (_StorageInfo.__module__, _StorageInfo.__name__),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
}


class _Unpickler(pickle.Unpickler):
    """Makes the classes that describe a checkpoint, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CLASSES or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise CheckpointError(f".metadata should name classes of torch's checkpoints only, but names {module}.{name}")


class SafeReader(FileSystemReader):
    """Reads the description of a checkpoint without running what is in it, and stays in its folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> kinds.Metadata:
        """What is in the file ``.metadata``."""
        metadata = read_metadata(Path(self.path))
        metadata.storage_meta = metadata.storage_meta or kinds.StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class SafePlanner(DefaultLoadPlanner):
    """Loads values without running what is in them, and puts them where they belong, also under keys that are numbers.

    Args:
        allows_more: whether the checkpoint may hold more than is asked for.
    """

    def __init__(self, *, allows_more: bool) -> None:
        super().__init__()
        self._allows_more = allows_more
        self._places: dict[str, tuple[Any, Any]] = {}

    def set_up_planner(
        self, state_dict: dict[str, Any], metadata: kinds.Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        """Notes down where each value goes."""
        self._places = dict(_places_in(state_dict))
        super().set_up_planner(state_dict, metadata, is_coordinator)

    def create_local_plan(self) -> Any:
        """Checks that nothing in the checkpoint is left out."""
        stored = self.metadata.state_dict_metadata if self.metadata is not None else {}
        more = sorted(stored.keys() - self.state_dict.keys())
        if more and not self._allows_more:
            listed = ", ".join(more[:10]) + (f" and {len(more) - 10} more" if len(more) > 10 else "")
            raise CheckpointError(f"state should have a place for all that is stored, but has none for {listed}")
        return super().create_local_plan()

    def load_bytes(self, read_item: Any, value: Any) -> None:
        """Puts a value that is no tensor into its place; torch's own method would run what is in it."""
        container, key = self._places[read_item.dest_index.fqn]
        container[key] = torch.load(value, map_location="cpu", weights_only=True)


def _places_in(container: Any, prefix: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """By the name that torch gives it, where each value stands."""
    for key, value in container.items() if isinstance(container, Mapping) else enumerate(container):
        name = f"{prefix}{key}"
        yield name, (container, key)
        if isinstance(value, Mapping | list):
            yield from _places_in(value, f"{name}.")


def read_metadata(path: Path) -> kinds.Metadata:
    """What the folder holds, and where.

    Raises:
        CheckpointError: the file ``.metadata`` is damaged, or names what it should not.
    """
    try:
        with (path / ".metadata").open("rb") as file:
            metadata = _Unpickler(file).load()
    except (CheckpointError, OSError):
        raise
    except Exception as error:
        raise CheckpointError(f"{path / '.metadata'} is damaged: {type(error).__name__}: {error}") from error
    places = getattr(metadata, "storage_data", None)
    if not isinstance(metadata, kinds.Metadata) or not isinstance(places, dict):
        raise CheckpointError(f"{path / '.metadata'} should describe a checkpoint, but holds {type(metadata).__name__}")
    for place in places.values():
        if not isinstance(place, _StorageInfo) or not is_inside(place.relative_path):
            raise CheckpointError(f"{path / '.metadata'} should name files in its folder, but names {place!r}")
    return metadata


def is_inside(name: Any) -> bool:
    """Whether ``name`` is that of a file right in its folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)
