"""A state in a file as ``torch.save`` writes it, in a fraction of its time where there are many small tensors.

``torch.save`` asks a Python function about each of some twenty objects of which a tensor consists in a pickle. Here, a
tensor is taken apart at once, and its bytes are written from where they lie. What is no ordinary tensor of the host is
left to ``torch.save``.
"""

import copyreg
import ctypes
import functools
import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

import torch
from torch import Tensor

from ignite.storage._archive import ArchiveWriter

_PROTOCOL = 2  # of pickle, which torch.load(weights_only=True) asks for
_FORMAT = b"3\n"  # of torch's files, since 1.6
_LOCATION = "cpu"
_REBUILD = torch._utils._rebuild_tensor_v2
# The names under which files know dtypes. Newer dtypes have none, and are written in another way.
_STORAGES = {
    torch.bfloat16: torch.BFloat16Storage,
    torch.bool: torch.BoolStorage,
    torch.complex64: torch.ComplexFloatStorage,
    torch.complex128: torch.ComplexDoubleStorage,
    torch.float16: torch.HalfStorage,
    torch.float32: torch.FloatStorage,
    torch.float64: torch.DoubleStorage,
    torch.int8: torch.CharStorage,
    torch.int16: torch.ShortStorage,
    torch.int32: torch.IntStorage,
    torch.int64: torch.LongStorage,
    torch.uint8: torch.ByteStorage,
}


def write_state(file: BinaryIO, state: Any, parts: Mapping[str, bytes]) -> bool:
    """Writes a state into a new file.

    Args:
        file: open for writing, at its beginning.
        state: plain values and tensors; see :func:`ignite.storage.plain`.
        parts: further parts of the file, by name.

    Returns:
        Whether it was written. If not, it holds something that only ``torch.save`` can write, such as a tensor on an
        accelerator, and the file is as it was.

    Example:
        >>> file = io.BytesIO()
        >>> write_state(file, {"weight": torch.ones(2)}, {}), write_state(file, torch.ones(2).to_sparse(), {})
        (True, False)
        >>> torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        {'weight': tensor([1., 1.])}
    """
    pickled, storages = io.BytesIO(), _Storages()
    try:
        _Pickler(pickled, storages).dump(state)
    except _OtherError:
        return False
    writer = ArchiveWriter(file)
    writer.add("data.pkl", pickled.getbuffer())
    writer.add("byteorder", sys.byteorder.encode())
    for storage, _, name in storages.values():
        num_bytes = storage.nbytes()
        memory = (ctypes.c_char * num_bytes).from_address(storage.data_ptr()) if num_bytes else b""
        writer.add(f"data/{name}", memory)
    for part, content in {"version": _FORMAT, **parts}.items():
        writer.add(part, content)
    writer.close()
    return True


class _OtherError(Exception):
    """Something that only ``torch.save`` can write."""


class _Reference:
    """Stands for a storage in the pickle: its bytes are another part of the file."""

    __slots__ = ("id",)

    def __init__(self, id: tuple[Any, ...]) -> None:
        self.id = id


class _NoHooks:
    """The hooks of a tensor that has none, as torch writes them."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ()


_Storages = dict[int, tuple[torch.UntypedStorage, type, str]]
"""By the memory that they are: each with its kind and its name in the file."""


class _Pickler(pickle.Pickler):
    def __init__(self, file: BinaryIO, storages: _Storages) -> None:
        super().__init__(file, _PROTOCOL)
        # Whatever holds memory comes here by one of these three. Nothing of it holds the pickler: with it, the whole
        # state would stay until the garbage is collected.
        self.dispatch_table = {
            **copyreg.dispatch_table,
            Tensor: functools.partial(_reduce, storages),
            torch.UntypedStorage: _leave_to_torch,
            torch.TypedStorage: _leave_to_torch,
        }

    def persistent_id(self, obj: Any) -> Any:
        return obj.id if type(obj) is _Reference else None


def _reduce(storages: _Storages, tensor: Tensor) -> tuple[Any, ...]:
    """How a tensor is made again: from its storage, and where its elements lie in there."""
    kind = _STORAGES.get(tensor.dtype)
    if kind is None or tensor.layout is not torch.strided or tensor.device.type != _LOCATION:
        raise _OtherError
    if tensor.is_quantized or tensor.is_nested or tensor.is_neg() or tensor.is_conj():
        raise _OtherError
    if tensor.requires_grad or tensor.__dict__:
        raise _OtherError
    storage = tensor.untyped_storage()
    _, known_as, name = storages.setdefault(storage._cdata, (storage, kind, str(len(storages))))
    if known_as is not kind:
        raise _OtherError  # memory that is seen as two dtypes
    reference = _Reference(("storage", kind, name, _LOCATION, storage.nbytes() // tensor.itemsize))
    size, stride = tuple(tensor.size()), tensor.stride()
    return _REBUILD, (reference, tensor.storage_offset(), size, stride, False, _NoHooks())


def _leave_to_torch(storage: Any) -> NoReturn:
    raise _OtherError
