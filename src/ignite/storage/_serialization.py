"""States as ``torch.load(weights_only=True)`` reads them: checked and converted, then written like ``torch.save`` does.

``torch.save`` calls a Python function for each of about twenty objects that a tensor consists of in
a pickle. For many small tensors, :func:`write_state` is several times faster: it takes a tensor
apart at once and writes its bytes from where they are. Anything but ordinary tensors on the host is
left to ``torch.save``.
"""

import codecs
import copyreg
import ctypes
import functools
import io
import pickle
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple, NoReturn

import torch
from torch import Tensor

from ignite._core.torch_private import MKLDNN_LAYOUT, rebuild_tensor, storage_id
from ignite.storage._archive import ArchiveWriter

MAX_DEPTH = 100
"""Of nested containers. Pickle and :class:`Walk` recurse, on the stack of the user's program."""

_LEAVES = frozenset(
    {type(None), bool, float, complex, str, bytearray, torch.dtype, torch.device, torch.layout}
)
_CONTAINERS = (dict, list, tuple, set)
_MAX_INT_BITS = (
    8 * 254
)  # the restricted unpickler reads integers of at most 255 bytes, with their sign
_SUB_BYTE = re.compile(r"torch\.u?int[1-7]$")
_PROTOCOL = 2  # of pickle, as torch.load(weights_only=True) requires
_FORMAT = b"3\n"  # of torch's files, since 1.6
_LOCATION = "cpu"
# How files name dtypes. Newer dtypes have no such name, and are written in another way.
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
    "numpy.ndarray": "give a tensor, torch.from_numpy(x)",
    "builtins.frozenset": "give a set",
    "torch._C.Generator": "give its get_state()",
    "torch.nn.parameter.UninitializedParameter": "run a batch through lazy modules before saving them",
    "torch.nn.parameter.UninitializedBuffer": "run a batch through lazy modules before saving them",
}
_ADVICE_FOR_OTHERS = (
    "give tensors, plain numbers and strings; or, if loading it runs no code that you do not know, "
    "mark its class by torch.serialization.add_safe_globals"
)


class Step(NamedTuple):
    """The path to a value: its key, or a word for the first step, and the steps before it.

    Formatted only for a message, because there is a step for each value of a state.
    """

    what: Any
    before: "Step | None" = None
    form: str = "[{}]"

    def __str__(self) -> str:
        texts: list[str] = []
        step: Step | None = self
        while step is not None:
            texts.append(
                step.form.format(_short(step.what)) if step.form and step.before else step.what
            )
            step = step.before
        return "".join(reversed(texts))


class _EmptyBytes(bytes):
    """Empty bytes that are pickled like other bytes.

    Loading does not allow the call ``bytes()`` that Python writes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return codecs.encode, ("", "latin1")


class Walk:
    """Checks everything in a state, and builds a state of plain containers and values.

    An object that occurs twice in the state is visited once, and is one object in the result.

    Args:
        on_tensor: returns the replacement of a tensor.
        copies: take the copies of objects of other classes that are safe to load, instead of the
            objects.
    """

    def __init__(self, on_tensor: Callable[[Tensor], Tensor], *, copies: bool) -> None:
        self._on_tensor = on_tensor
        self._copies = copies
        self._done: dict[
            int, tuple[Any, Any]
        ] = {}  # id -> the object, kept so that its id stays its own; the result
        self._open: set[int] = set()

    def visit(self, x: Any, at: Step, depth: int = 0) -> Any:
        """Returns the replacement of ``x``.

        Raises:
            TypeError: ``x``, or something in it, would not be loaded.
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
        if id(x) in self._done:
            return self._done[id(x)][1]
        if id(x) in self._open:
            raise TypeError(
                f"{at} should not contain itself, but given a {_name_of(kind)} that does"
            )
        if depth > MAX_DEPTH:
            raise TypeError(
                f"{at} should be at most {MAX_DEPTH} containers deep, but given one that is deeper"
            )
        self._open.add(id(x))
        result = self._build(x, kind, at, depth)
        self._open.remove(id(x))
        self._done[id(x)] = (x, result)
        return result

    def _build(self, x: Any, kind: type, at: Step, depth: int) -> Any:
        if isinstance(x, Tensor):
            _check_tensor(x, at)
            return self._on_tensor(x)
        if kind not in _CONTAINERS and _is_marked_safe(x):
            return self._copy_of(x, at)
        if isinstance(x, dict):
            return self._build_dict(x, kind, at, depth)
        if isinstance(x, list):
            if _are_leaves(x):
                return list(x)
            return [self.visit(value, Step(i, at), depth + 1) for i, value in enumerate(x)]
        if kind is tuple or kind is torch.Size:
            if _are_leaves(x):
                return x
            return kind(self.visit(value, Step(i, at), depth + 1) for i, value in enumerate(x))
        if kind is set:
            return {self._visit_key(value, at, depth) for value in x}
        plain = _plain_or_none(x)
        if plain is None:
            _refuse(x, at)
        return self.visit(plain, at, depth)

    def _build_dict(self, x: dict[Any, Any], kind: type, at: Step, depth: int) -> Any:
        # Loading supports these three only. All others, such as a defaultdict, become plain
        # dictionaries.
        result: Any = (
            OrderedDict() if issubclass(kind, OrderedDict) else Counter() if kind is Counter else {}
        )
        for key, value in x.items():
            new_key = key if type(key) is str else self._visit_key(key, at, depth)
            result[new_key] = self.visit(value, Step(key, at), depth + 1)
        if len(result) != len(x):
            raise TypeError(
                f"{at} should have keys that differ as plain values, too, but given {_short(list(x))}"
            )
        if kind is OrderedDict and vars(
            x
        ):  # modules keep the versions of their states there, as _metadata
            vars(result).update(
                {
                    name: self.visit(value, Step(f".{name}", at, ""), depth + 1)
                    for name, value in vars(x).items()
                }
            )
        return result

    def _visit_key(self, key: Any, at: Step, depth: int) -> Any:
        step = Step(key, at, "[the key {}]")
        if isinstance(key, Tensor):
            raise TypeError(
                f"{step} should be a number, a string or a tuple, but given a tensor: its identity is lost"
            )
        return self.visit(key, step, depth + 1)

    def _copy_of(self, x: Any, at: Step) -> Any:
        """Saves and loads an object in memory: only that tells whether everything inside of it can be loaded."""
        buffer = io.BytesIO()
        try:
            torch.save(x, buffer)
            buffer.seek(0)
            copy = torch.load(buffer, map_location="cpu", weights_only=True)
        except Exception as error:
            # Before its reason, torch says how to load unsafe files.
            reason = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
            raise TypeError(
                f"{at} should be loaded by torch.load(weights_only=True), but given a {_name_of(type(x))} that is not, "
                f"although it is marked as safe: {reason.splitlines()[0]}"
            ) from error
        return copy if self._copies else x


class _Aliases:
    """Returns tensors without a copy, and without gradients, hooks, attributes and mixed dtypes."""

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
            return tensor.clone()  # torch.save refuses memory that tensors of two dtypes share
        return tensor


def check_storable(state: Any, path: str = "") -> None:
    """Checks that everything in ``state`` will be loaded by ``torch.load(weights_only=True)``.

    That is: None, numbers, strings, bytes, tensors, ``torch.Size``, dtypes, devices and layouts;
    lists, tuples, sets and dictionaries of them; numpy's numbers, and subclasses of numbers,
    strings, lists and dictionaries, which
    :func:`plain` and ``Snapshot`` turn into plain ones; and what ``torch.serialization.add_safe_globals`` has marked.

    Args:
        state: the state to save.
        path: the path to ``state`` itself, for the message, such as ``"['model']"``.

    Raises:
        TypeError: something would not be loaded. The message tells where it is, and what to do.

    Example:
        >>> check_storable({"epoch": 3, "weight": torch.zeros(2)})
        >>> check_storable({"hooks": [print]})
        Traceback (most recent call last):
        TypeError: state['hooks'][0] should be something that torch.load(weights_only=True) reads, but given ...
    """
    Walk(lambda tensor: tensor, copies=False).visit(state, Step(f"state{path}"))


def plain(state: Any) -> Any:
    """Checks ``state`` and returns it as ``torch.save`` should get it: plain values, and the tensors without a copy.

    Raises:
        TypeError: as :func:`check_storable` does.

    Example:
        >>> from collections import defaultdict
        >>> plain({"counts": defaultdict(int, a=True), "rate": 0.5})
        {'counts': {'a': True}, 'rate': 0.5}
    """
    return Walk(_Aliases(), copies=False).visit(state, Step("state"))


def _check_tensor(tensor: Tensor, at: Step) -> None:
    if (
        type(tensor) is not Tensor
        and type(tensor) is not torch.nn.Parameter
        and not _is_marked_safe(tensor)
    ):
        _refuse(tensor, at)
    if tensor.layout is MKLDNN_LAYOUT:
        raise TypeError(
            f"{at} should be a tensor with a storage, but given one of mkldnn: give x.to_dense()"
        )
    if _has_sub_byte_elements(tensor.dtype):
        raise TypeError(
            f"{at} should have a dtype of whole bytes, but given {tensor.dtype}: view it as torch.uint8"
        )


@functools.cache  # the text of a dtype costs more than all other checks of a tensor
def _has_sub_byte_elements(dtype: torch.dtype) -> bool:
    return _SUB_BYTE.match(str(dtype)) is not None


def _are_leaves(x: list[Any] | tuple[Any, ...]) -> bool:
    """Whether all items are plain values: much faster than a visit to each of a million numbers."""
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
        what = entry[0] if isinstance(entry, tuple) else entry
        if what is x or what is type(x):
            return True
    return False


def _plain_or_none(x: Any) -> Any:
    """Converts numbers and strings of numpy, and of subclasses such as enumerations, to Python's; None for others."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, numpy.generic):
        x = x.item()
    if isinstance(x, str):
        return str.__str__(x)
    if isinstance(x, bytes):
        return bytes(memoryview(x))
    if isinstance(x, bool | int):
        return x if isinstance(x, bool) else int.__int__(x)
    if isinstance(x, float):
        return float.__float__(x)
    return complex.__complex__(x) if isinstance(x, complex) else None


def _refuse(x: Any, at: Step) -> NoReturn:
    name = _name_of(type(x))
    advice = _ADVICE.get(name) or ("give tuple(x)" if isinstance(x, tuple) else _ADVICE_FOR_OTHERS)
    raise TypeError(
        f"{at} should be something that torch.load(weights_only=True) reads, but given a {name}: {advice}"
    )


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _short(key: Any) -> str:
    """The text of a key; for other classes than Python's own the name, because their ``repr`` may do anything."""
    text = repr(key) if type(key).__module__ == "builtins" else f"<{_name_of(type(key))}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_state(file: BinaryIO, state: Any, parts: Mapping[str, bytes]) -> bool:
    """Writes a state into a new file, as ``torch.save`` would.

    Args:
        file: open for writing, at its beginning.
        state: plain values and tensors; see :func:`ignite.storage.plain`.
        parts: further parts of the file, by name.

    Returns:
        Whether the state was written. If not, it holds something that only ``torch.save`` can
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
    """Something that only ``torch.save`` can write."""


class _Reference:
    """Stands for a storage in the pickle; its bytes are a part of the file of their own."""

    __slots__ = ("id",)

    def __init__(self, id: tuple[Any, ...]) -> None:
        self.id = id


class _NoHooks:
    """The hooks of a tensor without hooks, as torch writes them."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ()


_Storages = dict[int, tuple[torch.UntypedStorage, type, str]]
"""Identity of a storage -> the storage, its class and its name in the file."""


class _Pickler(pickle.Pickler):
    def __init__(self, file: BinaryIO, storages: _Storages) -> None:
        super().__init__(file, _PROTOCOL)
        # All objects with memory are of these three types. No function holds the pickler: that
        # would keep the whole state until the garbage is collected.
        self.dispatch_table = {
            **copyreg.dispatch_table,
            Tensor: functools.partial(_reduce, storages),
            torch.UntypedStorage: _leave_to_torch,
            torch.TypedStorage: _leave_to_torch,
        }

    def persistent_id(self, obj: Any) -> Any:
        return obj.id if type(obj) is _Reference else None


def _reduce(storages: _Storages, tensor: Tensor) -> tuple[Any, ...]:
    """Describes a tensor by its storage, and the place of its elements in it."""
    kind = _STORAGES.get(tensor.dtype)
    if kind is None or tensor.layout is not torch.strided or tensor.device.type != _LOCATION:
        raise _UnsupportedError
    if tensor.is_quantized or tensor.is_nested or tensor.is_neg() or tensor.is_conj():
        raise _UnsupportedError
    if tensor.requires_grad or tensor.__dict__:
        raise _UnsupportedError
    storage = tensor.untyped_storage()
    _, known_as, name = storages.setdefault(
        storage_id(storage), (storage, kind, str(len(storages)))
    )
    if known_as is not kind:
        raise _UnsupportedError  # tensors of two dtypes share memory
    reference = _Reference(("storage", kind, name, _LOCATION, storage.nbytes() // tensor.itemsize))
    size, stride = tuple(tensor.size()), tensor.stride()
    return rebuild_tensor, (reference, tensor.storage_offset(), size, stride, False, _NoHooks())


def _leave_to_torch(storage: Any) -> NoReturn:
    raise _UnsupportedError
