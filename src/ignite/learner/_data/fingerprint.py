"""Fingerprints of data, so that two runs can be compared: were they trained on the same data?"""

from __future__ import annotations

import ctypes
import hashlib
from typing import Any

import torch
from torch import Tensor

from ignite.learner._data.inspection import named_tensors_in
from ignite.learner._data.sources import Loader

__all__ = ["fingerprint"]

_MAX_BYTES = 1 << 22
"""At most so many bytes are hashed, which takes 10 to 20 milliseconds."""


def fingerprint(loader: Loader) -> dict[str, Any]:
    """Returns what identifies the data: shapes, dtypes, number of samples, and a hash of the values.

    Arrays are hashed as a whole up to 4 MiB; of larger ones, rows in equal distances are. Of data
    that are not in memory, the first batch is hashed if it is known: a random augmentation without
    a seed changes it. The entry "covers" says which.

    Args:
        loader: the batches. Nothing is loaded for this.
    """
    found: dict[str, Any] = {"num_samples": loader.num_samples}
    parts, covers = loader.whole, "all samples"
    if parts is None:
        found["batches"] = type(getattr(loader.batches, "dataset", loader.batches)).__name__
        parts, covers = loader.first(), "the first batch"
    if parts is None:
        return found
    arrays = [
        pair
        for name, part in zip(parts._fields, parts, strict=True)
        for pair in named_tensors_in(part, name)
        if isinstance(pair[1], Tensor)
    ]
    digest = hashlib.sha1(usedforsecurity=False)
    sizes = sum(tensor.nbytes for _, tensor in arrays if _is_plain(tensor))
    share = min(1.0, _MAX_BYTES / max(sizes, 1))
    found["arrays"] = {}
    for name, tensor in arrays:
        kind = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        found["arrays"][name] = kind
        digest.update(f"{name} {kind}".encode())
        if _is_plain(tensor):
            digest.update(_bytes_of(_rows_of(tensor, share)))
    covers = covers if share == 1 else f"{share:.2g} of the samples, in equal distances"
    return {**found, "hash": digest.hexdigest()[:16], "covers": covers}


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor has memory of its own that can be read: not sparse, nested or distributed."""
    return (
        type(tensor) is Tensor and tensor.layout == torch.strided and tensor.device.type != "meta"
    )


def _rows_of(tensor: Tensor, share: float) -> Tensor:
    if share == 1 or tensor.ndim == 0:
        return tensor
    num_rows = max(1, int(len(tensor) * share))
    return tensor[torch.linspace(0, len(tensor) - 1, num_rows).long().to(tensor.device)]


def _bytes_of(tensor: Tensor) -> bytes:
    tensor = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    # Through ctypes: torch tensors offer no buffer without numpy, which may not be installed.
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes) if tensor.nbytes else b""
