"""All private names of torch, Python and other packages that this package uses, with fallbacks.

They are looked up only here, which ``tests/test_sources.py`` checks. Unless its docstring says
otherwise, a name exists in torch 2.9 to 2.14 and Python 3.11 to 3.13;
``tests/core/test_torch_private.py`` fails in a version that lacks it, and tests each fallback.
"""

from __future__ import annotations

import atexit
import functools
import io
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules import batchnorm
from torch.optim.lr_scheduler import LRScheduler

from ignite._core.optional import LazyModule

__all__ = [
    "BATCH_NORM_BASE",
    "CHECKPOINT_GLOBALS",
    "COMPILED_MODULE_NAME",
    "FRAME_OF_FROM_IMPORT",
    "MODULE_DICTIONARIES",
    "NUM_IDLE_USES",
    "REBUILD_FROM_TYPE",
    "REBUILD_OTHER_DTYPE",
    "REBUILD_QUANTIZED",
    "REBUILD_SPARSE",
    "REBUILD_TENSOR",
    "REBUILD_TENSORS",
    "STEP_COUNT",
    "SUBMODULES",
    "ZIP_FORMAT",
    "at_exit",
    "checkpoint_entry_class",
    "compiled_module_class",
    "dataset_fetcher",
    "default_store",
    "event_files",
    "event_log",
    "foreach_copy_",
    "foreach_lerp_",
    "forget_workers",
    "has_own_loading_of_keys",
    "is_default_generator",
    "is_mkldnn",
    "is_shard",
    "non_persistent_buffers",
    "num_received",
    "num_uses",
    "num_yielded",
    "quiet_about_sparse",
    "reads_bytearray",
    "rebuild_tensor",
    "safetensors_dtypes",
    "saved_for_backward",
    "shut_down_workers",
    "state_of_scheduler",
    "storage_id",
    "submodules",
    "total_weight_of",
    "version_of",
    "worker_of_next_batch",
    "worker_processes",
]

# Tensors and their memory.


def is_mkldnn(tensor: Tensor) -> bool:
    """Whether a tensor has the mkldnn layout. Fallback: False."""
    return tensor.layout is getattr(torch, "_mkldnn", None)


def foreach_copy_(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copies each source to its target. Fallback: a loop over the tensors."""
    fused = getattr(torch, "_foreach_copy_", None)
    if fused is not None:
        fused(targets, sources)
        return
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def foreach_lerp_(targets: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """Interpolates each target towards its end. Fallback: a loop over the tensors."""
    fused = getattr(torch, "_foreach_lerp_", None)
    if fused is not None:
        fused(targets, ends, weight)
        return
    for target, end in zip(targets, ends, strict=True):
        target.lerp_(end, weight)


def storage_id(storage: torch.UntypedStorage) -> int:
    """Returns the identity of a storage, which is the same for all tensors that share it.

    Fallback: its address; for a storage without memory, which is never shared, a unique value.
    """
    identity: int | None = getattr(storage, "_cdata", None)
    return storage.data_ptr() or id(storage) if identity is None else identity


def num_uses(buffer: Tensor) -> tuple[int, ...]:
    """Returns the numbers of references to the memory of ``buffer`` and to its storage.

    Only comparisons with :data:`NUM_IDLE_USES` are meaningful, because versions of torch count
    differently.

    Raises:
        AttributeError: this version of torch does not expose the counts.
    """
    storage = buffer.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)


def _measure_idle_uses() -> tuple[int, ...] | None:
    """Counts the references to a new buffer, and checks that further references are counted."""
    buffer = torch.empty(8, dtype=torch.uint8, device="cpu")
    tensor = torch.empty(0, dtype=torch.uint8, device="cpu")
    try:
        idle = num_uses(buffer)
        tensor.set_(buffer.untyped_storage(), 0, (8,), (1,))
        used = [num_uses(buffer)]
        tensor = tensor[2:]
        used.append(num_uses(buffer))
        storage: Any = tensor.untyped_storage()
        del tensor
        used.append(num_uses(buffer))
        del storage
        is_counted = num_uses(buffer) == idle
    except (AttributeError, TypeError, RuntimeError):
        return None
    is_counted = is_counted and all(any(map(int.__gt__, uses, idle)) for uses in used)
    return idle if is_counted else None


NUM_IDLE_USES = _measure_idle_uses()
"""Measured counts for a buffer to which only its owner refers.

They differ between versions: since 2.10, torch itself keeps a reference to the storage. Fallback:
None, and memory is not reused.
"""


def saved_for_backward(node: Any, name: str) -> Any:
    """Returns the value that an operation saved for its backward pass as ``name``, or None.

    Fallback: None; the number of averaged values of a custom loss is then unknown.

    Args:
        node: a ``grad_fn``, or None.
        name: the name, such as ``"reduction"``.
    """
    return getattr(node, f"_saved_{name}", None)


def total_weight_of(node: Any) -> Any:
    """Returns the weight that a mean of ``nll_loss`` was divided by, which it has kept; else None.

    Without the names, targets that are not ignored are counted.

    Args:
        node: a ``grad_fn``, or None.
    """
    is_mean = getattr(node, "_saved_reduction", None) == 1
    return getattr(node, "_saved_total_weight", None) if is_mean else None


# File formats.

REBUILD_TENSOR = "_rebuild_tensor_v2"
REBUILD_QUANTIZED = "_rebuild_qtensor"
REBUILD_SPARSE = "_rebuild_sparse_tensor"
REBUILD_FROM_TYPE = "_rebuild_from_type_v2"
REBUILD_OTHER_DTYPE = "_rebuild_tensor_v3"
"""The functions that files of ``torch.save`` refer to for tensors; the last for dtypes without a storage class."""

REBUILD_TENSORS = frozenset(
    {"_rebuild_tensor", REBUILD_TENSOR, REBUILD_OTHER_DTYPE, REBUILD_QUANTIZED}
)
"""Those that create a tensor from a storage, an offset, a size and a stride."""

ZIP_FORMAT = "_use_new_zipfile_serialization"
"""The argument of ``torch.save`` that selects the format of the file."""

rebuild_tensor: Callable[..., Tensor] | None = getattr(torch._utils, REBUILD_TENSOR, None)
"""The function of this name. Fallback: None; ``torch.save`` then writes all files."""


@functools.cache
def reads_bytearray() -> bool:
    """Whether ``torch.load(weights_only=True)`` reads a bytearray, as since 2.6; tested once."""
    file = io.BytesIO()
    torch.save(bytearray(b"a"), file)
    file.seek(0)
    try:
        return bool(torch.load(file, weights_only=True) == b"a")
    except Exception:  # the class of the error depends on the version
        return False


@contextmanager
def quiet_about_sparse(may_hold: bool) -> Iterator[None]:
    """Silences the warning of ``torch.load`` that it checks sparse tensors, issued since 2.14.

    Args:
        may_hold: whether the file may hold sparse tensors. If not, the warning filters, which all
            threads share, are not changed.
    """
    if not may_hold:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Validating sparse tensor invariants", UserWarning)
        yield


CHECKPOINT_GLOBALS = frozenset(
    {
        ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        ("torch.serialization", "_get_layout"),
    }
)
"""Private classes and functions that the metadata of a sharded checkpoint refers to."""

_checkpoint_files = LazyModule("torch.distributed.checkpoint.filesystem")


def checkpoint_entry_class() -> Any:
    """Returns the class that describes where an entry of a sharded checkpoint is stored.

    It is part of the file format. No fallback: loading sharded checkpoints raises AttributeError.
    """
    return _checkpoint_files._StorageInfo


def safetensors_dtypes(safetensors: Any) -> frozenset[torch.dtype] | None:
    """Returns the dtypes that safetensors writes; exists in 0.4 to 0.8.

    Fallback: None; safetensors itself then raises the error.

    Args:
        safetensors: the module ``safetensors.torch``.
    """
    types = getattr(safetensors, "_TYPES", None)
    return None if types is None else frozenset(types.values())


# Modules.

BATCH_NORM_BASE: type[nn.Module] | tuple[type[nn.Module], ...] = getattr(
    batchnorm,
    "_NormBase",
    (
        nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
        nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    ),
)  # fmt: skip
"""Base class of batch and instance normalization. Fallback: torch's public subclasses."""

SUBMODULES = "_modules"
"""The attribute of a module that holds the modules in it."""

MODULE_DICTIONARIES = ("_parameters", "_buffers", SUBMODULES, "_non_persistent_buffers_set")
"""Attributes of a module that are changed in place when something is registered.

They are part of the format of pickled modules.
"""


def submodules(module: nn.Module) -> Mapping[str, nn.Module | None]:
    """Returns the direct submodules of a module by name, including duplicates and those that are None.

    The name is part of the format of pickled modules. No fallback: raises KeyError.
    """
    found: Mapping[str, nn.Module | None] = vars(module)[SUBMODULES]
    return found


def has_own_loading_of_keys(module: nn.Module) -> bool:
    """Whether hooks or an overridden method may accept other keys than those of the module.

    Fallback: True; the keys of the module are then checked only by loading.
    """
    usual = getattr(nn.Module, "_load_from_state_dict", None)
    if getattr(module, "_load_state_dict_pre_hooks", True) or usual is None:
        return True
    return getattr(type(module), usual.__name__) is not usual


COMPILED_MODULE_NAME = "_orig_mod"
"""The attribute of a compiled module that holds the original one; part of parameter names.

Fallback: parameter names keep the prefix that ``torch.compile`` adds.
"""


def compiled_module_class(loaded: Mapping[str, Any]) -> Any:
    """Returns the class of compiled modules.

    None if it has not been imported, because that would take a second. Fallback: None; parameter
    names then keep the prefix that ``torch.compile`` adds.

    Args:
        loaded: ``sys.modules``.
    """
    return getattr(loaded.get("torch._dynamo.eval_frame"), "OptimizedModule", None)


# Learning rate schedulers.

STEP_COUNT = "_step_count"
"""The key in a scheduler's state that counts its steps. Only schedulers of torch use it."""


def state_of_scheduler(scheduler: LRScheduler) -> dict[str, Any]:
    """Returns the state of a torch scheduler without functions.

    Up to torch 2.9, the state of SWALR contains the function that it was constructed with. Loading
    does not need it, because absent keys do not change the scheduler.
    """
    return _without_functions(scheduler.state_dict())


def _without_functions(state: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in state.items() if not _is_function(value)}
    inner = kept.get("_schedulers")  # of ChainedScheduler and SequentialLR
    if isinstance(inner, list):
        kept["_schedulers"] = [
            _without_functions(one) if isinstance(one, dict) else one for one in inner
        ]
    return kept


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType | MethodType)


# Process groups.


def default_store() -> Any:
    """Returns the key-value store of the default process group.

    None with MPI. Fallback: None; processes then communicate by collectives only.
    """
    find = getattr(dist.distributed_c10d, "_get_default_store", None)
    store = find() if find is not None and dist.is_initialized() else None
    is_only_the_base = (
        type(store).__module__ == "torch._C._distributed_c10d" and type(store).__name__ == "Store"
    )
    return None if is_only_the_base else store


# Looked up in sys.modules, because importing these modules is slow, and programs with such tensors
# have already imported them.
_SHARDS = {
    "torch.distributed.tensor": "DTensor",
    "torch.distributed._shard.sharded_tensor": "ShardedTensor",
}


def is_shard(tensor: Any) -> bool:
    """Whether a tensor is a shard of a larger one, whose other shards are in other processes.

    Fallback: shards of FSDP1 are not detected. The name of DTensor is public.
    """
    classes = [getattr(sys.modules.get(module), name, None) for module, name in _SHARDS.items()]
    is_instance = any(kind is not None and isinstance(tensor, kind) for kind in classes)
    return is_instance or getattr(tensor, "_fsdp_flattened", False) is True


# The iterator of a DataLoader.


def num_yielded(iterator: Any) -> int | None:
    """Returns the number of batches that an iterator has yielded.

    Fallback: None; an iterator that was used after a failure is then not detected.
    """
    return getattr(iterator, "_num_yielded", None)


def worker_processes(iterator: Any) -> list[Any]:
    """Returns the worker processes of an iterator.

    Empty without workers. Fallback: empty; there are then no warnings about workers that hang.
    """
    workers: list[Any] = getattr(iterator, "_workers", [])
    return workers


def num_received(iterator: Any) -> int | None:
    """Returns the number of batches that an iterator has received from its workers.

    None without workers. Fallback: None; a failed batch then counts as not retried.
    """
    return getattr(iterator, "_rcvd_idx", None)


def worker_of_next_batch(iterator: Any) -> int | None:
    """Returns the index of the worker that loads the next batch.

    Fallback: None; warnings then do not give the worker.
    """
    task = getattr(iterator, "_task_info", {}).get(num_received(iterator))
    return task[0] if task else None


def shut_down_workers(iterator: Any) -> None:
    """Shuts down the workers of an iterator. Fallback: no-op; they end with their iterator."""
    shut_down = getattr(iterator, "_shutdown_workers", None)
    if shut_down is not None:
        shut_down()


def forget_workers(loader: Any) -> None:
    """Makes a DataLoader with persistent workers start new workers for its next iterator.

    Fallback: no-op.
    """
    vars(loader)["_iterator"] = None


def dataset_fetcher(iterator: Any) -> Any:
    """Returns the object that fetches samples for an iterator without workers.

    Its attribute ``ended`` tells whether an iterable dataset is exhausted. Fallback: None; an
    iterable dataset that restarts by itself is then not detected.
    """
    return getattr(iterator, "_dataset_fetcher", None)


# Python.

FRAME_OF_FROM_IMPORT = "_handle_fromlist"
"""The function of the import system that looks up a name in a package.

Fallback: a warning about ``from package import name`` is issued twice.
"""


def at_exit(function: Callable[[], object]) -> None:
    """Calls a function when the interpreter ends, before thread pools are shut down.

    Handlers run in reverse order of registration. Fallback: the function is called after thread
    pools are shut down, and jobs that use them fail.
    """
    getattr(threading, "_register_atexit", atexit.register)(function)


# Clients of trackers.


def event_files(writer: Any) -> Any:
    """Returns the part of a SummaryWriter, of torch or tensorboardX, that writes event files.

    Fallback: the public attribute, which is None before the first value and after closing.
    """
    find = getattr(writer, "_get_file_writer", None)
    return writer.file_writer if find is None else find()


def event_log(run: Any) -> Any:
    """Returns the object that writes the local files of a Polyaxon run; exists in 2.4 to 2.12. Fallback: None."""
    return getattr(run, "_event_logger", None)


def non_persistent_buffers(module: torch.nn.Module) -> frozenset[str]:
    """Returns the names of a module's own non-persistent buffers.

    Exists in 2.13. Fallback: no names.
    """
    return frozenset(getattr(module, "_non_persistent_buffers_set", ()))


def is_default_generator(generator: torch.Generator) -> bool:
    """Whether a generator is the default one of torch for the CPU or a device.

    By convention, the module of a device has them as ``default_generators``: so do those of CUDA,
    XPU and MTIA, and backends outside of torch. MPS has one, behind a private function. Without the
    names, no generator of such a device is a default one.
    """
    if generator is torch.default_generator:
        return True
    kind = generator.device.type
    if kind == "cpu":
        return False
    module = getattr(torch, kind, None)
    defaults = list(getattr(module, "default_generators", ()))
    get = getattr(module, "_get_default_mps_generator", None)
    defaults += [] if get is None else [get()]
    return any(_is_one_generator(generator, one) for one in defaults)


def _is_one_generator(one: Any, other: Any) -> bool:
    """Whether two objects represent the same generator. Fallback: whether they are the same object."""
    address = getattr(one, "_cdata", None)
    return one is other or (address is not None and address == getattr(other, "_cdata", None))


def version_of(tensor: torch.Tensor) -> int | None:
    """Returns how often a tensor was changed in place; None if it is not counted.

    Exists in 2.13. Fallback: None.
    """
    return None if tensor.is_inference() else getattr(tensor, "_version", None)
