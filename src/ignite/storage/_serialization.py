"""Checks and converts states for safe loading, and writes them in the format of ``torch.save``.

``torch.save`` calls a Python function for each of the about twenty objects that represent a tensor
in a pickle. For many small tensors, :func:`write_state` is several times faster: it reduces a
tensor in one call and writes its bytes without a copy. It supports only ordinary tensors on the
host; ``torch.save`` writes all others.
"""

import codecs
import copy
import copyreg
import ctypes
import functools
import io
import pickle
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, NoReturn

import torch
from torch import Tensor

from ignite._core.torch_private import (
    REBUILD_SPARSE,
    is_mkldnn,
    quiet_about_sparse,
    reads_bytearray,
    rebuild_tensor,
    storage_id,
)
from ignite.storage._archive import ArchiveWriter
from ignite.storage._objects import TAG, encode

MAX_DEPTH = 100
"""Limit for nested containers: pickle and :class:`StateConverter` are recursive."""

_LEAVES = frozenset(
    {type(None), bool, float, complex, str, torch.dtype, torch.device, torch.layout}
)
_CONTAINERS = frozenset({dict, list, tuple, set})
_READ_BY_TORCH = _CONTAINERS | {OrderedDict, Counter, torch.Size}
# torch's restricted unpickler reads integers of at most 255 bytes, including the sign.
_MAX_INT_BITS = 8 * 254
_SUB_BYTE = re.compile(r"torch\.u?int[1-7]$")
_PROTOCOL = 2  # the pickle protocol that torch.load(weights_only=True) requires
_FORMAT = b"3\n"  # the version of torch's file format since torch 1.6
_LOCATION = "cpu"
# Files name a dtype by its storage class. Newer dtypes have none, and only torch.save writes them.
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
_ADVICE = {
    f"{torch.Generator.__module__}.Generator": "save its get_state()",
    "torch.nn.parameter.UninitializedParameter": "run a batch through lazy modules before saving them",
    "torch.nn.parameter.UninitializedBuffer": "run a batch through lazy modules before saving them",
}
_ADVICE_FOR_OTHERS = (
    "save tensors, plain numbers and strings instead; or, if unpickling it runs only code that you "
    "trust, mark its class by torch.serialization.add_safe_globals([type(x)]); or save with "
    "DiskSaver(folder, weights_only=False) and load with weights_only=False"
)


class KeyPath(NamedTuple):
    """The path to a value in a state: its key and the path to its container.

    A linked list that is formatted only for error messages, because one is created for each value
    of a state.

    Args:
        key: the key or index; for the root, the text at the start of the path.
        parent: path to the container; None for the root.
        template: format of the key; if empty, the key is used as it is.
    """

    key: Any
    parent: "KeyPath | None" = None
    template: str = "[{}]"

    def __str__(self) -> str:
        texts: list[str] = []
        path: KeyPath | None = self
        while path is not None:
            is_verbatim = not path.template or path.parent is None
            texts.append(path.key if is_verbatim else path.template.format(_short(path.key)))
            path = path.parent
        return "".join(reversed(texts))


class _EmptyBytes(bytes):
    """Empty bytes that are pickled like other bytes.

    Python pickles empty bytes as the call ``bytes()``, which torch refuses when loading.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return codecs.encode, ("", "latin1")


class StateConverter:
    """Checks all values in a state, and converts it to plain containers and values.

    An object that occurs twice in the state is converted once, and is one object in the result,
    too. Objects of well-known classes become tagged tuples, see :mod:`ignite.storage._objects`.

    Args:
        convert_tensor: returns the replacement of a tensor.
        copies: whether to copy objects of classes that are marked as safe to load.
        weights_only: whether to refuse objects that ``torch.load(weights_only=True)`` would. If
            not, they are kept.
        keeps_mappings: whether to convert every mapping to a dictionary, never to a tagged tuple.
    """

    def __init__(
        self,
        convert_tensor: Callable[[Tensor], Tensor],
        *,
        copies: bool,
        weights_only: bool = True,
        keeps_mappings: bool = False,
    ) -> None:
        self._convert_tensor = convert_tensor
        self._copies = copies
        self._weights_only = weights_only
        self._keeps_mappings = keeps_mappings
        # id -> the object and its replacement. Holding the object keeps its id from being reused.
        self._converted: dict[int, tuple[Any, Any]] = {}
        self._in_progress: set[int] = set()

    def convert(self, x: Any, at: KeyPath, depth: int = 0) -> Any:
        """Returns the replacement of ``x``.

        Raises:
            TypeError: ``torch.load(weights_only=True)`` would refuse ``x`` or a value in it.
        """
        kind = type(x)
        if kind in _LEAVES:
            return x
        if kind is int:
            if x.bit_length() > _MAX_INT_BITS:
                raise TypeError(
                    f"{at} should be an integer of at most {_MAX_INT_BITS} bits, but given {x.bit_length()}"
                )
            return x
        if kind is bytes:
            return x or _EmptyBytes()
        if kind is bytearray:
            if not reads_bytearray():
                _refuse(x, at, "save bytes(x) instead")
            return bytearray(x) if self._copies else x
        if id(x) in self._converted:
            return self._converted[id(x)][1]
        if id(x) in self._in_progress:
            raise TypeError(
                f"{at} should not contain itself, but given a {_name_of(kind)} that does"
            )
        if depth > MAX_DEPTH:
            raise TypeError(
                f"{at} should be at most {MAX_DEPTH} containers deep, but given one that is deeper"
            )
        self._in_progress.add(id(x))
        result = self._convert_object(x, kind, at, depth)
        self._in_progress.remove(id(x))
        self._converted[id(x)] = (x, result)
        return result

    def _convert_object(self, x: Any, kind: type, at: KeyPath, depth: int) -> Any:
        if isinstance(x, Tensor):
            if not self._weights_only and not _is_of_torch(x):
                return self._keep(x)
            _check_tensor(x, at)
            return self._convert_tensor(x)
        if kind not in _READ_BY_TORCH and not (self._keeps_mappings and isinstance(x, dict)):
            if _is_marked_safe(x):
                return self._check_loadable(x, at)
            if (parts := self._encode(x, kind, at, depth)) is not None:
                return parts
        if isinstance(x, dict):
            return self._convert_dict(x, kind, at, depth)
        if isinstance(x, list):
            if _are_leaves(x):
                return list(x)
            return [self.convert(value, KeyPath(i, at), depth + 1) for i, value in enumerate(x)]
        if kind is tuple or kind is torch.Size:
            return self._convert_tuple(x, kind, at, depth)
        if kind is set:
            return {self._convert_key(value, at, depth) for value in x}
        plain = _plain_or_none(x)
        if plain is not None:
            return self.convert(plain, at, depth)
        return _refuse(x, at) if self._weights_only else self._keep(x)

    def _encode(self, x: Any, kind: type, at: KeyPath, depth: int) -> Any:
        """Returns the tagged tuple of an object; None if its class is not a well-known one."""
        if kind is frozenset:
            return (TAG, "frozenset", *(self._convert_key(value, at, depth) for value in x))
        try:
            encoded = encode(x, kind)
        except TypeError as error:
            return _refuse(x, at, str(error)) if self._weights_only else self._keep(x)
        if encoded is None:
            return None
        name, *parts = encoded
        if _are_leaves(parts):
            return (TAG, name, *parts)
        # Users do not know the parts, so the message gives the path of the object.
        return (TAG, name, *(self.convert(part, KeyPath("", at, ""), depth + 1) for part in parts))

    def _convert_tuple(self, x: tuple[Any, ...], kind: type, at: KeyPath, depth: int) -> Any:
        is_tagged = kind is tuple and len(x) > 0 and isinstance(x[0], str) and x[0] == TAG
        if not is_tagged and _are_leaves(x):
            return x
        items = [self.convert(value, KeyPath(i, at), depth + 1) for i, value in enumerate(x)]
        return (TAG, "tuple", *items[1:]) if is_tagged else kind(items)

    def _keep(self, x: Any) -> Any:
        return copy.deepcopy(x) if self._copies else x

    def _convert_dict(self, x: dict[Any, Any], kind: type, at: KeyPath, depth: int) -> Any:
        # torch loads dict, OrderedDict and Counter only. Others, such as defaultdict, become dict.
        result: Any = (
            OrderedDict() if issubclass(kind, OrderedDict) else Counter() if kind is Counter else {}
        )
        for key, value in x.items():
            new_key = key if type(key) is str else self._convert_key(key, at, depth)
            result[new_key] = self.convert(value, KeyPath(key, at), depth + 1)
        if len(result) != len(x):
            raise TypeError(
                f"{at} should have keys that differ as plain values, too, but given {_short(list(x))}"
            )
        # State dicts of modules have an attribute _metadata with the versions of the modules.
        if kind is OrderedDict and vars(x):
            vars(result).update(
                {
                    name: self.convert(value, KeyPath(f".{name}", at, ""), depth + 1)
                    for name, value in vars(x).items()
                }
            )
        return result

    def _convert_key(self, key: Any, at: KeyPath, depth: int) -> Any:
        path = KeyPath(key, at, "[the key {}]")
        if isinstance(key, Tensor):
            raise TypeError(
                f"{path} should be a number, a string or a tuple, but given a tensor: its identity is lost"
            )
        return self.convert(key, path, depth + 1)

    def _check_loadable(self, x: Any, at: KeyPath) -> Any:
        """Saves and loads an object in memory, the only way to check that all of it can be loaded."""
        buffer = io.BytesIO()
        try:
            torch.save(x, buffer)
            buffer.seek(0)
            with quiet_about_sparse(REBUILD_SPARSE.encode() in buffer.getvalue()):
                copy = torch.load(buffer, map_location="cpu", weights_only=True)
        except Exception as error:
            # torch's message starts with advice on loading unsafe files; the reason comes after it.
            reason = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
            raise TypeError(
                f"{at} should be something that torch.load(weights_only=True) reads, but given a "
                f"{_name_of(type(x))}, whose class is marked as safe but fails to load: {reason.splitlines()[0]}"
            ) from error
        return copy if self._copies else x


class _Aliases:
    """Returns tensors without gradients, hooks and attributes; avoids copies where possible."""

    def __init__(self) -> None:
        self._dtypes: dict[int, torch.dtype] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if tensor.requires_grad or vars(tensor) or type(tensor) is torch.nn.Parameter:
            tensor = tensor.detach()
        if (
            type(tensor) is not Tensor
            or tensor.layout is not torch.strided
            or tensor.device.type == "meta"
        ):
            return tensor
        start = 0 if tensor.is_nested else tensor.untyped_storage().data_ptr()
        if start and self._dtypes.setdefault(start, tensor.dtype) != tensor.dtype:
            return tensor.clone()  # torch.save refuses tensors of two dtypes that share memory
        return tensor


def check_storable(state: Any, path: str = "") -> None:
    """Checks that ``torch.load(weights_only=True)`` will load everything in ``state``.

    A state may contain None, numbers, strings, bytes, tensors, ``torch.Size``, dtypes, devices and
    layouts; lists, tuples, sets and dictionaries of them; and objects of classes that are marked by
    ``torch.serialization.add_safe_globals``.

    Objects of these classes are accepted, too, and keep their class: NumPy arrays, scalars and
    dtypes; ``datetime``, ``date``, ``time``, ``timedelta`` and time zones; paths; ``Decimal``,
    ``Fraction``, ``UUID``, ``range``, ``slice``, ``frozenset``, ``deque``; ``defaultdict`` of a
    built-in class; ``SimpleNamespace`` and ``argparse.Namespace``; named tuples and enum members
    whose classes can be imported by name.

    Instances of other subclasses of numbers, strings, lists and dictionaries are converted to the
    built-in class.

    Args:
        state: the state to save.
        path: the path to ``state`` itself, for the message, such as ``"['model']"``.

    Raises:
        TypeError: a value cannot be loaded safely. The message gives its path and says what to do.

    Example:
        >>> check_storable({"epoch": 3, "weight": torch.zeros(2)})
        >>> check_storable({"hooks": [print]})
        Traceback (most recent call last):
        TypeError: state['hooks'][0] should be something that torch.load(weights_only=True) reads, but given ...
    """
    StateConverter(lambda tensor: tensor, copies=False).convert(state, KeyPath(f"state{path}"))


def plain(state: Any, *, weights_only: bool = True, keeps_mappings: bool = False) -> Any:
    """Checks ``state`` and converts it to plain values for ``torch.save``, without copying tensors.

    Args:
        state: the state to save.
        weights_only: whether to refuse objects that could not be loaded safely. If not, they are
            kept.
        keeps_mappings: whether to convert every mapping to a dictionary, never to a tagged tuple.

    Raises:
        TypeError: a value would be refused, see :func:`check_storable`.

    Example:
        >>> class Settings(dict): ...
        >>> plain({"settings": Settings(a=True), "rate": 0.5})
        {'settings': {'a': True}, 'rate': 0.5}
    """
    converter = StateConverter(
        _Aliases(), copies=False, weights_only=weights_only, keeps_mappings=keeps_mappings
    )
    return converter.convert(state, KeyPath("state"))


def _is_of_torch(tensor: Tensor) -> bool:
    return type(tensor) is Tensor or type(tensor) is torch.nn.Parameter or _is_marked_safe(tensor)


def _check_tensor(tensor: Tensor, at: KeyPath) -> None:
    if not _is_of_torch(tensor):
        _refuse(tensor, at)
    if is_mkldnn(tensor):
        raise TypeError(
            f"{at} should be a tensor with a storage, but given one of mkldnn: save x.to_dense() instead"
        )
    if _has_sub_byte_elements(tensor.dtype):
        raise TypeError(
            f"{at} should have a dtype of whole bytes, but given {tensor.dtype}: view it as torch.uint8"
        )


@functools.cache  # formatting a dtype takes longer than all other checks of a tensor
def _has_sub_byte_elements(dtype: torch.dtype) -> bool:
    return _SUB_BYTE.match(str(dtype)) is not None


def _are_leaves(x: Sequence[Any]) -> bool:
    """Whether all items are plain values; much faster than converting each of a million numbers."""
    kinds = set(map(type, x))
    if int in kinds:
        kinds.discard(int)
        return kinds <= _LEAVES and all(
            type(i) is not int or i.bit_length() <= _MAX_INT_BITS for i in x
        )
    return kinds <= _LEAVES


def _is_marked_safe(x: Any) -> bool:
    marked: Iterable[Any] = torch.serialization.get_safe_globals()
    for entry in marked:
        marked_object = entry[0] if isinstance(entry, tuple) else entry
        if marked_object is x or marked_object is type(x):
            return True
    return False


def _plain_or_none(x: Any) -> Any:
    """Converts subclasses of numbers and strings; returns None for other objects."""
    if isinstance(x, str):
        return str.__str__(x)
    if isinstance(x, bytes):
        return bytes(memoryview(x))
    if isinstance(x, bool | int):
        return x if isinstance(x, bool) else int.__int__(x)
    if isinstance(x, float):
        return float.__float__(x)
    return complex.__complex__(x) if isinstance(x, complex) else None


def _refuse(x: Any, at: KeyPath, advice: str = "") -> NoReturn:
    name = _name_of(type(x))
    if not advice:
        advice = _ADVICE.get(name) or (
            "save tuple(x) instead" if isinstance(x, tuple) else _ADVICE_FOR_OTHERS
        )
    raise TypeError(
        f"{at} should be something that torch.load(weights_only=True) reads, but given a {name}: {advice}"
    )


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _short(key: Any) -> str:
    """Formats a key without calling the ``repr`` of a user-defined class, which may run any code."""
    text = repr(key) if type(key).__module__ == "builtins" else f"<{_name_of(type(key))}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_state(file: BinaryIO, state: Any, parts: Mapping[str, bytes]) -> bool:
    """Writes a state to a new file in the format of ``torch.save``.

    Args:
        file: open for writing, at its start.
        state: plain values and tensors; see :func:`ignite.storage.plain`.
        parts: further entries of the archive, by name.

    Returns:
        Whether the state was written. If not, it contains a value that only ``torch.save`` can
        write, such as a tensor on an accelerator, and the file is unchanged.

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
    except _UnsupportedError:
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


class _UnsupportedError(Exception):
    """Raised for a value that only ``torch.save`` can write."""


class _Reference:
    """Represents a storage in the pickle; its bytes are an entry of their own."""

    __slots__ = ("id",)

    def __init__(self, id: tuple[Any, ...]) -> None:
        self.id = id


class _NoHooks:
    """Pickled as the empty OrderedDict that torch writes for the hooks of a tensor."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ()


_Storages = dict[int, tuple[torch.UntypedStorage, type, str]]
"""Identity of a storage -> the storage, its storage class and its name in the archive."""


class _Pickler(pickle.Pickler):
    def __init__(self, file: BinaryIO, storages: _Storages) -> None:
        super().__init__(file, _PROTOCOL)
        # Only these three types hold tensor memory. No function refers to the pickler: the cycle
        # would keep the whole state alive until garbage collection.
        self.dispatch_table = {
            **copyreg.dispatch_table,
            Tensor: functools.partial(_reduce, storages),
            torch.UntypedStorage: _refuse_storage,
            torch.TypedStorage: _refuse_storage,
        }

    def persistent_id(self, obj: Any) -> Any:
        return obj.id if type(obj) is _Reference else None


def _reduce(storages: _Storages, tensor: Tensor) -> tuple[Any, ...]:
    """Reduces a tensor to its storage, offset, size and stride."""
    kind = _STORAGES.get(tensor.dtype)
    if (
        kind is None
        or rebuild_tensor is None
        or tensor.layout is not torch.strided
        or tensor.device.type != _LOCATION
    ):
        raise _UnsupportedError
    if tensor.is_quantized or tensor.is_nested or tensor.is_neg() or tensor.is_conj():
        raise _UnsupportedError
    if tensor.requires_grad or tensor.__dict__:
        raise _UnsupportedError
    storage = tensor.untyped_storage()
    _, known_kind, name = storages.setdefault(
        storage_id(storage), (storage, kind, str(len(storages)))
    )
    if known_kind is not kind:
        raise _UnsupportedError  # tensors of two dtypes share memory
    reference = _Reference(("storage", kind, name, _LOCATION, storage.nbytes() // tensor.itemsize))
    size, stride = tuple(tensor.size()), tensor.stride()
    return rebuild_tensor, (reference, tensor.storage_offset(), size, stride, False, _NoHooks())


def _refuse_storage(storage: Any) -> NoReturn:
    raise _UnsupportedError
