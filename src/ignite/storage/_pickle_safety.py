"""Checks the calls in the pickle of a checkpoint before ``torch.load`` makes them.

``torch.load(weights_only=True)`` runs no code from a file. But it calls constructors that allocate
as much memory as the file asks for, it imports codecs by name, and it hashes tuples, which
overflows the stack if they are nested too deeply. Up to 2.9, it also takes the size of a storage
from the pickle, and so reads memory beyond it.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import torch

from ignite._core.torch_private import (
    REBUILD_FROM_TYPE,
    REBUILD_OTHER_DTYPE,
    REBUILD_QUANTIZED,
    REBUILD_TENSOR,
    REBUILD_TENSORS,
)
from ignite.exceptions import CheckpointError

_MAX_DEPTH = 1000
_NUM_BITS = {
    "BFloat16Storage": 16, "BoolStorage": 8, "ByteStorage": 8, "CharStorage": 8,
    "ComplexDoubleStorage": 128, "ComplexFloatStorage": 64, "DoubleStorage": 64,
    "FloatStorage": 32, "HalfStorage": 16, "IntStorage": 32, "LongStorage": 64,
    "QInt32Storage": 32, "QInt8Storage": 8, "QUInt2x4Storage": 2, "QUInt4x2Storage": 4,
    "QUInt8Storage": 8, "ShortStorage": 16, "UntypedStorage": 8,
}  # fmt: skip
"""Size of an element, by the storage class that represents its dtype."""


class _Global(NamedTuple):
    name: str


class _Tuple(NamedTuple):
    items: tuple[Any, ...]
    depth: int


class _Storage(NamedTuple):
    """A reference to the memory of tensors."""

    num_bytes: int
    num_bits: int  # of an element


_ENCODE = _Global("encode")  # creates bytes in pickles of protocol 2
_REBUILD_TENSOR = _Global(REBUILD_TENSOR)
_ORDERED_DICT = _Global("OrderedDict")


def check_calls(pickled: bytes, file_size: int, sizes: Mapping[str, int]) -> None:
    """Refuses a pickle that asks for memory outside of its file, or would overflow the stack.

    Storages must be as large as their entries in the archive, and tensors must be inside of their
    storages.

    Args:
        pickled: the pickle.
        file_size: size of the file in bytes.
        sizes: the sizes in bytes of the entries of the archive, by name.

    Raises:
        CheckpointError: the pickle is refused.
    """
    _Interpreter(pickled, file_size, sizes=sizes).run()


def check_legacy_calls(file: BinaryIO, file_size: int) -> None:
    """Like :func:`check_calls`, for files of torch before 1.6, whose pickles contain storage sizes."""
    content, at = file.read(), 0
    for _ in range(5):  # pickles of: magic number, version, system, the state, keys of storages
        at = _Interpreter(content, file_size, at).run()


def _tensor_pattern() -> re.Pattern[bytes]:
    """Returns a pattern of the opcodes after ``_rebuild_tensor_v2`` of an ordinary tensor."""
    get, put = rb"(?:h.|j....)", rb"(?:q.|r....)"
    integer = rb"(?:K.|M..|J....)"
    digits = b"|".join(rb"X%c\0\0\0\d{%d}" % (length, length) for length in range(1, 7))
    integers = rb"(?:\)|(%(i)s\x85|%(i)s{2}\x86|%(i)s{3}\x87|\(%(i)s{1,64}t)(%(p)s))" % {
        b"i": integer,
        b"p": put,
    }
    storage = rb"\((%(g)s)(%(g)s)(?:(%(d)s)(%(p)s)|(%(g)s))(%(g)s)(%(i)s)t(%(p)s)Q" % {
        b"g": get, b"p": put, b"d": digits, b"i": integer
    }  # fmt: skip
    hooks = rb"(%s)\)R(%s)" % (get, put)
    pattern = rb"\(%s(%s)%s%s[\x88\x89]%st(%s)R(%s)" % (
        storage, integer, integers, integers, hooks, put, put
    )  # fmt: skip
    return re.compile(pattern, re.DOTALL)


_TENSOR = _tensor_pattern()
_STORAGE_TUPLE = _Tuple((None, None, None), 1)  # torch uses it only once, so items are not checked
_TENSOR_ARGUMENTS = _Tuple((None, None, None), 2)
# Plain values between a mark and the end of a list or dictionary, of at most a thousand items.
# Possessive quantifiers avoid backtracking.
_PLAIN_ITEMS = re.compile(rb"(?:G.{8}|[Kh].|M..|[Jj].{4}|[N\x88\x89]){1,2000}+[eu]", re.DOTALL)


class _Interpreter:
    """Interprets a pickle to find the arguments of each call.

    On the stack, ``None`` represents all values that no check needs. ``pickletools`` could list
    the opcodes, but takes three times as long.

    Args:
        data: the pickle; more bytes may follow.
        file_size: size of its file in bytes.
        at: start of the pickle.
        sizes: the sizes of the entries in the archive; None if the pickle creates storages itself.
    """

    def __init__(
        self, data: bytes, file_size: int, at: int = 0, sizes: Mapping[str, int] | None = None
    ) -> None:
        self._data, self._at = data, at
        self._file_size = file_size
        self._sizes = sizes
        # Before 1.6, a reference to a storage had one more item.
        self._view = [None] if sizes is None else []
        self._storages: dict[str, _Storage] = {}
        self._num_bytes_created = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> int:
        """Interprets the pickle and returns the offset of its end."""
        data = self._data
        try:
            while (code := data[self._at]) != _STOP:
                self._at += 1
                _OPCODES[code](self)
        except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise CheckpointError(f"its pickle is damaged: {error!r:.200}") from None
        return self._at + 1

    # Slices may be shorter than asked for. A truncated pickle then raises at the next opcode.

    def _take(self, num_bytes: int) -> bytes:
        start = self._at
        self._at = start + num_bytes
        return self._data[start : self._at]

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _number(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def _line(self) -> str:
        end = self._data.index(b"\n", self._at)
        line, self._at = self._data[self._at : end], end + 1
        return line.decode()

    def _push_signed(self, num_bytes: int) -> None:
        self._stack.append(int.from_bytes(self._take(num_bytes), "little", signed=True))

    def _push_text(self, num_bytes: int) -> None:
        self._stack.append(self._take(num_bytes).decode("utf-8", "surrogatepass"))

    def _push_global(self) -> None:
        self._line()  # the module
        self._stack.append(_Global(self._line().rpartition(" ")[2]))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        value = self._memo[index]
        if value == _REBUILD_TENSOR and self._skip_tensor():
            value = None
        self._stack.append(value)

    def _skip_tensor(self) -> bool:
        """Skips the arguments and the call of ``_rebuild_tensor_v2`` for an ordinary tensor.

        The effect is the same as that of interpreting the thirty opcodes one by one, which takes
        ten times as long.

        Returns:
            Whether the tensor was skipped. If not, nothing has changed.
        """
        found = None if self._sizes is None else _TENSOR.match(self._data, self._at)
        if found is None:
            return False
        (
            tag, kind, digits, put_key, get_key, location, num, put_storage, offset,
            size, put_size, stride, put_stride, hooks_class, put_hooks, put_arguments, put_tensor,
        ) = found.groups()  # fmt: skip
        if self._memo_at(hooks_class) != _ORDERED_DICT:
            return False
        key = self._memo_at(get_key) if digits is None else digits[5:].decode()
        tag, kind, location = map(self._memo_at, (tag, kind, location))
        storage = self._storage((tag, kind, key, location, *_integers(num).items))
        sizes, strides = _integers(size or b""), _integers(stride or b"")
        _check_extent(storage, _integers(offset).items[0], sizes, strides)
        for put, value in (
            (put_key, key), (put_storage, _STORAGE_TUPLE), (put_size, sizes), (put_stride, strides),
            (put_hooks, None), (put_arguments, _TENSOR_ARGUMENTS), (put_tensor, None),
        ):  # fmt: skip
            if put is not None:
                self._memo[int.from_bytes(put[1:], "little")] = value
        self._at = found.end()
        return True

    def _memo_at(self, get: bytes | None) -> Any:
        return None if get is None else self._memo[int.from_bytes(get[1:], "little")]

    def _mark(self) -> None:
        # Skips numbers in lists and dictionaries, of which histories of runs have many.
        if items := _PLAIN_ITEMS.match(self._data, self._at):
            self._at = items.end()
            return
        self._marks.append(self._stack)
        self._stack = []

    def _push_tuple(self, num_items: int) -> None:
        self._stack[-num_items:] = [_tuple(self._stack[-num_items:])]

    def _push_marked_tuple(self) -> None:
        items = self._pop_mark()
        self._stack.append(_tuple(items))

    def _call(self) -> None:
        stack = self._stack
        arguments = stack.pop()
        self._check(stack[-1], arguments)
        stack[-1] = b"" if stack[-1] == _ENCODE else None

    def _build(self) -> None:
        state = self._stack.pop()
        # torch calls Tensor.set_ with such a tuple.
        if isinstance(state, _Tuple) and any(isinstance(item, _Storage) for item in state.items):
            _check_tensor(state.items)

    def _load_storage(self) -> None:
        reference = self._stack[-1]
        self._stack[-1] = self._storage(reference.items if isinstance(reference, _Tuple) else ())

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _check(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, _Global):
            return  # torch only calls globals
        items = arguments.items if isinstance(arguments, _Tuple) else (None,)
        name = function.name
        if name.endswith(REBUILD_FROM_TYPE) and len(items) == 4:
            self._check(items[0], items[2])
        elif name == REBUILD_QUANTIZED and len(items) > 2:
            sizes = items[2].items if isinstance(items[2], _Tuple) else (math.inf,)
            is_small = (
                all(isinstance(size, int) for size in sizes)
                and math.prod(sizes) <= 16 * self._file_size
            )
            _refuse_unless(is_small, name)
        if name in REBUILD_TENSORS:
            _check_tensor(items, has_own_dtype=name == REBUILD_OTHER_DTYPE)
        elif function == _ENCODE:
            # Python imports the module that has the name of the codec.
            if len(items) != 2 or items[1] not in ("latin1", "latin-1"):
                raise CheckpointError(
                    "it has bytes in another encoding than latin1, which torch writes"
                )
        elif name == "bytearray":
            _refuse_unless(all(isinstance(item, str | bytes) for item in items), name)
        elif name.endswith("Tensor") or name in ("UntypedStorage", "TypedStorage"):
            _refuse_unless(False, name)

    def _storage(self, reference: tuple[Any, ...]) -> _Storage:
        """Returns the storage that a persistent ID of torch refers to, after checking it."""
        match reference:
            case ("storage", _Global(kind), str(key), str(), int(num), *view) if (
                kind in _NUM_BITS and num >= 0 and view == self._view
            ):
                num_bytes = num * max(_NUM_BITS[kind] // 8, 1)
            case _:
                raise CheckpointError("its reference to a storage is not one that torch writes")
        storage = _Storage(num_bytes, _NUM_BITS[kind])
        known = self._storages.setdefault(key, storage)
        if known is storage:
            self._check_size(key, num_bytes)
        elif known != storage and (num_bytes or known.num_bytes):
            raise CheckpointError(f"its storage {key!r:.80} has two sizes")
        return storage

    def _check_size(self, key: str, num_bytes: int) -> None:
        if self._sizes is None:
            self._num_bytes_created += num_bytes
            _refuse_unless(self._num_bytes_created <= self._file_size, "its storages")
            return
        size = self._sizes.get(f"data/{key}")
        if size is None:
            raise CheckpointError(f"its storage {key!r:.80} is missing")
        if size != num_bytes:
            raise CheckpointError(
                f"its storage {key!r:.80} should have {num_bytes} bytes, as its pickle says, but has {size}"
            )


def _check_tensor(arguments: tuple[Any, ...], has_own_dtype: bool = False) -> None:
    """Checks the arguments of a function of torch that creates a tensor from a storage."""
    match arguments:
        case (_Storage() as storage, int(offset), _Tuple() as sizes, _Tuple() as strides, *others):
            if has_own_dtype:
                name = others[2].name if len(others) > 2 and isinstance(others[2], _Global) else ""
                dtype = getattr(torch, name, None)
                if not isinstance(dtype, torch.dtype):
                    raise CheckpointError("a tensor has no dtype")
                storage = storage._replace(num_bits=8 * dtype.itemsize)
            _check_extent(storage, offset, sizes, strides)
        case _:
            raise CheckpointError("the arguments of a tensor are not those that torch writes")


def _check_extent(storage: _Storage, offset: int, sizes: _Tuple, strides: _Tuple) -> None:
    """Refuses a tensor that is not inside of its storage."""
    values = (offset, *sizes.items, *strides.items)
    is_valid = len(sizes.items) == len(strides.items) and all(
        isinstance(value, int) and value >= 0 for value in values
    )
    if is_valid and 0 not in sizes.items:
        steps = zip(sizes.items, strides.items, strict=True)
        num_elements = offset + 1 + sum((size - 1) * stride for size, stride in steps)
        is_valid = num_elements * storage.num_bits <= 8 * storage.num_bytes
    if not is_valid:
        raise CheckpointError(
            f"a tensor of size {sizes.items!r:.80}, stride {strides.items!r:.80} and offset {offset!r:.80} "
            f"is not inside of its storage of {storage.num_bytes} bytes"
        )


@functools.lru_cache(maxsize=4096)
def _integers(opcodes: bytes) -> _Tuple:
    """Returns the integers of a few opcodes, the last of which may combine them to a tuple."""
    values, at = [], 0
    while at < len(opcodes):
        num_bytes = _NUM_BYTES_OF_INTEGER.get(opcodes[at], 0)
        if num_bytes:
            is_signed = num_bytes == 4
            value = opcodes[at + 1 : at + 1 + num_bytes]
            values.append(int.from_bytes(value, "little", signed=is_signed))
        at += 1 + num_bytes
    return _Tuple(tuple(values), 1)


_NUM_BYTES_OF_INTEGER = {ord("K"): 1, ord("M"): 2, ord("J"): 4}


def _push_other(run: _Interpreter, num_bytes: int = 0) -> None:
    """Pushes None for a value whose ``num_bytes`` in the pickle are skipped."""
    run._take(num_bytes)
    run._stack.append(None)


_STOP = ord(".")
_OPCODES: dict[int, Callable[[_Interpreter], object]] = {
    ord(code): effect
    for code, effect in {
        "K": lambda run: run._stack.append(run._byte()),
        "M": lambda run: run._stack.append(run._byte() | run._byte() << 8),
        "J": lambda run: run._push_signed(4),
        "\x8a": lambda run: run._push_signed(run._byte()),
        "X": lambda run: run._push_text(run._number()),
        "U": lambda run: run._push_text(run._byte()),
        "q": lambda run: run._put(run._byte()),
        "r": lambda run: run._put(run._number()),
        "p": lambda run: run._put(int(run._line())),
        "h": lambda run: run._get(run._byte()),
        "j": lambda run: run._get(run._number()),
        "g": lambda run: run._get(int(run._line())),
        "c": _Interpreter._push_global,
        ")": lambda run: run._stack.append(_tuple([])),
        "\x85": lambda run: run._push_tuple(1),
        "\x86": lambda run: run._push_tuple(2),
        "\x87": lambda run: run._push_tuple(3),
        "t": _Interpreter._push_marked_tuple,
        "(": _Interpreter._mark,
        "R": _Interpreter._call,
        "\x81": _Interpreter._call,
        "Q": _Interpreter._load_storage,
        "e": _Interpreter._pop_mark,
        "u": _Interpreter._pop_mark,
        "a": lambda run: run._stack.pop(),
        "b": _Interpreter._build,
        "s": lambda run: run._stack.__delitem__(slice(-2, None)),
        "G": lambda run: _push_other(run, 8),
        "\x80": lambda run: run._take(1),
        **dict.fromkeys("N\x88\x89]}\x8f", _push_other),
    }.items()
}
"""The effect of each opcode that torch writes."""


def _tuple(items: list[Any]) -> _Tuple:
    depth = 1
    for item in items:
        if type(item) is _Tuple and item.depth >= depth:
            depth = item.depth + 1
    if depth > _MAX_DEPTH:
        raise CheckpointError(
            f"its tuples should be nested at most {_MAX_DEPTH} deep, but are nested deeper"
        )
    return _Tuple(tuple(items), depth)


def _refuse_unless(is_allowed: bool, name: str) -> None:
    if not is_allowed:
        raise CheckpointError(f"loading it would allocate more memory for {name} than the file has")
