"""Saves and loads weights as safetensors, a portable format that contains no code."""

import ctypes
import itertools
import json
import logging
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ignite._core.optional import import_optional
from ignite._core.torch_private import safetensors_dtypes
from ignite.exceptions import CheckpointError
from ignite.storage.commit import Written
from ignite.storage.place import Place
from ignite.storage.snapshot import byte_range

__all__ = ["load_weights", "read_text", "save_weights"]

_VERSION = 1
_OWN_KEYS = ("aliases", "crc32", "step", "version")
_CHECKSUM_KEY = "crc32_of_metadata"
_TEXT_KEY, _TEXT_CHECKSUM_KEY = "text", "crc32_of_text"

logger = logging.getLogger(__name__)


def save_weights(
    place: Place,
    name: str,
    weights: Mapping[str, Tensor],
    *,
    step: int | None = None,
    text: str | None = None,
) -> Written:
    """Writes tensors to a safetensors file atomically, with a checksum for each tensor.

    Tensors that are views of exactly the same memory are written once. :func:`load_weights`
    returns them under all their names; other readers see the first name only.

    Args:
        place: where to write the file.
        name: a plain file name, by convention with the suffix ``.safetensors``.
        weights: tensors by name, such as the result of ``state_of(model)``; on any device.
        step: training step, for the file's metadata.
        text: any text to store with the weights, see :func:`read_text`.

    Raises:
        ModuleNotFoundError: safetensors is not installed.
        TypeError: a value is not a dense tensor, or has a dtype that the format does not support.
        ValueError: two tensors share only a part of their memory.
        OSError: the file could not be written.

    Example:
        >>> import tempfile
        >>> from ignite.storage.place import open_place
        >>> folder = open_place(tempfile.mkdtemp())
        >>> _ = save_weights(folder, "model.safetensors", torch.nn.Linear(2, 1).state_dict(), step=3)
        >>> with folder.local("model.safetensors") as path:
        ...     sorted(load_weights(path))
        ['bias', 'weight']
    """
    safetensors = import_optional("safetensors.torch", extra="safetensors")
    tensors, aliases = _deduplicate(weights)
    supported = safetensors_dtypes(safetensors)
    for key, tensor in tensors.items():
        if supported is not None and tensor.dtype not in supported:
            raise TypeError(
                f"weights[{key!r}] should have a dtype that safetensors supports, but given {tensor.dtype}"
            )
    metadata = {
        "aliases": json.dumps(aliases),
        "crc32": json.dumps({key: _crc32(key, tensor) for key, tensor in tensors.items()}),
        "step": "" if step is None else str(step),
        "version": str(_VERSION),
    }
    texts = {}
    if text is not None:
        texts = {_TEXT_KEY: text, _TEXT_CHECKSUM_KEY: str(zlib.crc32(text.encode()))}
    metadata_crc32 = {_CHECKSUM_KEY: _metadata_crc32(metadata)}
    data = safetensors.save(
        tensors, metadata={"format": "pt", **metadata, **metadata_crc32, **texts}
    )
    return place.write(name, lambda file: file.write(data), _verify)


def load_weights(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Reads a safetensors file and verifies the checksums written by :func:`save_weights`.

    Args:
        path: the file. A file of another program has no checksums, and a warning is logged.
        device: device of the returned tensors.

    Raises:
        ModuleNotFoundError: safetensors is not installed.
        FileNotFoundError: the file does not exist.
        CheckpointError: the file is damaged, or written by a newer version.
    """
    tensors = dict(_read_tensors(Path(path)))
    if device != "cpu":
        moved = {id(tensor): tensor.to(device) for tensor in tensors.values()}
        return {key: moved[id(tensor)] for key, tensor in tensors.items()}
    return tensors


def read_text(path: str | Path) -> str | None:
    """Returns the ``text`` that was passed to :func:`save_weights`, or None.

    Raises:
        CheckpointError: the file is damaged.
    """
    with _open(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
    text = metadata.get(_TEXT_KEY)
    if text is not None and metadata.get(_TEXT_CHECKSUM_KEY) != str(zlib.crc32(text.encode())):
        raise CheckpointError(f"{path} is damaged: the checksum of its text is wrong")
    return text


@contextmanager
def _open(path: str | Path) -> Iterator[Any]:
    """Opens a safetensors file, and raises CheckpointError if reading it fails."""
    safetensors = import_optional("safetensors", extra="safetensors")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} should be a safetensors file, but is damaged: {error}"
        ) from error


def _verify(path: Path) -> None:
    for _ in _read_tensors(path):
        continue


def _read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yields each tensor under each of its names, after verifying its checksum."""
    import_optional("safetensors", extra="safetensors")
    if not path.is_file():
        raise FileNotFoundError(f"path should be a file, but given {path}, which does not exist")
    with _open(path) as file:
        checksums, aliases = _read_metadata(file.metadata() or {}, path)
        keys = list(file.keys())
        if checksums is not None and checksums.keys() != set(keys):
            raise CheckpointError(
                f"{path} should hold {sorted(checksums)}, but holds {sorted(keys)}"
            )
        for key in keys:
            tensor = file.get_tensor(key)
            if checksums is not None and _crc32(key, tensor) != checksums[key]:
                raise CheckpointError(f"{path} is damaged: the checksum of {key!r} is wrong")
            yield key, tensor
            yield from ((alias, tensor) for alias, first in aliases.items() if first == key)


def _read_metadata(
    metadata: Mapping[str, str], path: Path
) -> tuple[dict[str, int] | None, dict[str, str]]:
    """Returns the checksums, None for files of other programs; and aliases with their first names."""
    own = {key: metadata[key] for key in _OWN_KEYS if key in metadata}
    if _CHECKSUM_KEY not in metadata and "crc32" not in own:
        logger.warning("%s has no checksums, so it cannot be verified", path)
        return None, {}
    if len(own) < len(_OWN_KEYS) or metadata.get(_CHECKSUM_KEY) != _metadata_crc32(own):
        raise CheckpointError(f"{path} is damaged: the checksum of its metadata is wrong")
    if int(own["version"]) > _VERSION:
        raise CheckpointError(
            f"{path} should be of version {_VERSION} at most, but is of {own['version']}: update"
        )
    return json.loads(own["crc32"]), json.loads(own["aliases"])


def _deduplicate(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns each tensor once, contiguous and on the host; and aliases with their first names."""
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first_names: dict[tuple[Any, ...], str] = {}
    extents: list[tuple[str, int, int, str]] = []
    for key, tensor in weights.items():
        if (
            not isinstance(tensor, Tensor)
            or tensor.layout is not torch.strided
            or tensor.is_quantized
        ):
            kind = (
                f"a tensor of layout {tensor.layout}"
                if isinstance(tensor, Tensor)
                else type(tensor).__name__
            )
            raise TypeError(f"weights[{key!r}] should be a dense tensor, but given {kind}")
        start = tensor.data_ptr()
        view = (str(tensor.device), start, tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and view in first_names:
            aliases[key] = first_names[view]
            continue
        first_names[view] = key
        if tensor.numel():
            first, end = byte_range(tensor)
            extents.append((str(tensor.device), start, start + end - first, key))
        tensors[key] = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    _check_disjoint(extents)
    return tensors, aliases


def _check_disjoint(extents: list[tuple[str, int, int, str]]) -> None:
    extents = sorted(extents)
    for (device, _, end, key), (next_device, start, _, next_key) in itertools.pairwise(extents):
        if device == next_device and start < end:
            raise ValueError(
                f"weights should share all of their memory or none, but given {key!r} and {next_key!r}, which share "
                "a part of it: clone() one of them"
            )


def _crc32(key: str, tensor: Tensor) -> int:
    """Returns the checksum of a tensor's name, dtype, shape and bytes."""
    checksum = zlib.crc32(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
    if tensor.numel() == 0:
        return checksum
    # ctypes is used because a tensor provides a buffer only through numpy, which may be missing.
    return zlib.crc32((ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr()), checksum)


def _metadata_crc32(metadata: Mapping[str, str]) -> str:
    return str(zlib.crc32(json.dumps({key: metadata[key] for key in _OWN_KEYS}).encode()))
