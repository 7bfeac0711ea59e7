"""All private names of torch in use, with the versions they were seen in and their fallbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.modules.batchnorm import _NormBase

from ignite._core.optional import LazyModule

__all__ = [
    "BATCH_NORM_BASE",
    "COMPILED_MODULE_NAME",
    "MKLDNN_LAYOUT",
    "checkpoint_entry_class",
    "compiled_module_class",
    "dataset_fetcher",
    "default_store",
    "foreach_copy_",
    "foreach_lerp_",
    "forget_workers",
    "num_received",
    "num_storage_uses",
    "rebuild_tensor",
    "shut_down_workers",
    "storage_id",
    "worker_of_next_batch",
    "worker_processes",
]

BATCH_NORM_BASE: type[torch.nn.Module] = _NormBase
"""Base of batch and instance normalization.

Seen in 2.13; without it, the import of this module fails.
"""

MKLDNN_LAYOUT: torch.layout = torch._mkldnn  # type: ignore[attr-defined]
"""Layout of mkldnn tensors. Seen in 2.13; without it, the import of this module fails."""

rebuild_tensor: Callable[..., torch.Tensor] = torch._utils._rebuild_tensor_v2
"""The function that files of ``torch.save`` name for a tensor.

Seen in 2.13; a part of torch's file format.
"""

foreach_copy_: Callable[..., None] = torch._foreach_copy_
foreach_lerp_: Callable[..., None] = torch._foreach_lerp_
"""Operations on lists of tensors, which torch's optimizers use, too.

Seen in 2.13; without them, the import of this module fails.
"""

_checkpoint_files = LazyModule("torch.distributed.checkpoint.filesystem")


def checkpoint_entry_class() -> Any:
    """Returns the class that describes where an entry of a sharded checkpoint is stored.

    Seen in 2.13; a part of the file format. Without it, sharded checkpoints raise AttributeError.
    """
    return _checkpoint_files._StorageInfo


def default_store() -> Any:
    """Returns the key-value store of the default process group.

    Seen in 2.13. None without it, and with MPI: processes then communicate by collectives only.
    """
    find = getattr(dist.distributed_c10d, "_get_default_store", None)
    store = find() if find is not None and dist.is_initialized() else None
    is_only_the_base = (
        type(store).__module__ == "torch._C._distributed_c10d" and type(store).__name__ == "Store"
    )
    return None if is_only_the_base else store


def storage_id(storage: torch.UntypedStorage) -> int:
    """Returns the identity of a storage, which is the same for all tensors that share it.

    Seen in 2.13. Without it, saving raises AttributeError.
    """
    identity: int = storage._cdata
    return identity


def num_storage_uses(storage: torch.UntypedStorage) -> int:
    """Returns the number of tensors and Python objects that refer to a storage.

    Seen in 2.13. Without it, snapshots raise AttributeError.
    """
    count: int = torch._C._storage_Use_Count(storage._cdata)
    return count


# The iterator of a DataLoader with workers.


def worker_processes(iterator: Any) -> list[Any]:
    """Returns the worker processes of a DataLoader's iterator.

    Seen in 2.13. Empty without workers or without the name: there are then no warnings about
    workers that hang.
    """
    workers: list[Any] = getattr(iterator, "_workers", [])
    return workers


def num_received(iterator: Any) -> int | None:
    """Returns the number of batches that an iterator has received from its workers.

    Seen in 2.13. None without workers or without the name: a failed batch then counts as not
    retried.
    """
    return getattr(iterator, "_rcvd_idx", None)


def worker_of_next_batch(iterator: Any) -> int | None:
    """Returns the index of the worker that loads the next batch.

    Seen in 2.13. None if it is unknown: warnings then do not name the worker.
    """
    task = getattr(iterator, "_task_info", {}).get(num_received(iterator))
    return task[0] if task else None


def shut_down_workers(iterator: Any) -> None:
    """Shuts down the workers of an iterator.

    Seen in 2.13. Without the name, the workers end with their iterator.
    """
    shut_down = getattr(iterator, "_shutdown_workers", None)
    if shut_down is not None:
        shut_down()


def forget_workers(loader: Any) -> None:
    """Makes a DataLoader with persistent workers start new workers for its next iterator.

    Seen in 2.13. Without the name, this has no effect.
    """
    vars(loader)["_iterator"] = None


def dataset_fetcher(iterator: Any) -> Any:
    """Returns the object that fetches samples for an iterator without workers.

    Its attribute ``ended`` tells whether an iterable dataset is exhausted. Seen in 2.13. None
    without it: an iterable dataset that restarts by itself is then not noticed.
    """
    return getattr(iterator, "_dataset_fetcher", None)


COMPILED_MODULE_NAME = "_orig_mod"
"""The attribute of a compiled module that holds the original one; a part of parameter names.

Seen in 2.13. Without it, parameter names keep the prefix that ``torch.compile`` adds.
"""


def compiled_module_class(loaded: Any) -> Any:
    """Returns the class of compiled modules.

    Seen in 2.13. None without it, and if it has not been imported, which would take a second:
    parameter names then keep the prefix that ``torch.compile`` adds.

    Args:
        loaded: ``sys.modules``.
    """
    return getattr(loaded.get("torch._dynamo.eval_frame"), "OptimizedModule", None)
