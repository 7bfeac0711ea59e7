"""Checks the calls in the pickle of a checkpoint before ``torch.load`` makes them.

``torch.load(weights_only=True)`` runs no code from a file. But it calls constructors that allocate
as much memory as the file asks for, it imports codecs by name, and it hashes tuples, which
overflows the stack if they are nested too deeply.
"""

import math
import re
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from ignite._core.torch_private import REBUILD_FROM_TYPE, REBUILD_QUANTIZED, REBUILD_TENSOR
from ignite.exceptions import CheckpointError

_MAX_DEPTH = 1000
_NUM_HARMLESS_TUPLES = 5000  # do not overflow the stack, even if all are nested in each other
_ALLOCATING_CALLS = re.compile(
    rb"\n(encode|bytearray|\w*Tensor|UntypedStorage|TypedStorage|%s)\n" % REBUILD_QUANTIZED.encode()
)


class _Global(NamedTuple):
    name: str


class _Tuple(NamedTuple):
    items: tuple[Any, ...]
    depth: int


_ENCODE = _Global("encode")  # creates bytes in pickles of protocol 2
_REBUILD_TENSOR = _Global(REBUILD_TENSOR)
_ORDERED_DICT = _Global("OrderedDict")


def check_calls(pickled: bytes, file_size: int) -> None:
    """Refuses a pickle that would allocate much more memory than the file has, or overflow the stack.

    Only pickles that contain the name of such a call, or very many tuples, are interpreted; most do
    not.

    Raises:
        CheckpointError: the pickle is refused.
    """
    num_tuples = sum(pickled.count(code) for code in (b"\x85", b"\x86", b"\x87", b"t"))
    if _ALLOCATING_CALLS.search(pickled) or num_tuples > _NUM_HARMLESS_TUPLES:
        _Interpreter(pickled, file_size).run()


def check_legacy_calls(file: BinaryIO, file_size: int) -> None:
    """Like :func:`check_calls`, for files of torch before 1.6, whose storages state their size."""
    content, at = file.read(), 0
    for _ in range(5):  # pickles of: magic number, version, system, the state, keys of storages
        at = _Interpreter(content, file_size, at, has_storages=True).run()


def _tensor_pattern() -> re.Pattern[bytes]:
    """Returns a pattern of the opcodes after ``_rebuild_tensor_v2`` of an ordinary tensor."""
    get, put = rb"(?:h.|j....)", rb"(?:q.|r....)"
    integer = rb"(?:K.|M..|J....)"
    digits = b"|".join(rb"X%c\0\0\0\d{%d}" % (length, length) for length in range(1, 7))
    integers = rb"(?:\)|(?:%(i)s\x85|%(i)s{2}\x86|%(i)s{3}\x87|\(%(i)s{1,64}t)(%(p)s))" % {
        b"i": integer,
        b"p": put,
    }
    storage = rb"\((%(g)s)(%(g)s)(?:(?:%(d)s)(%(p)s)|(%(g)s))(%(g)s)%(i)st(%(p)s)Q" % {
        b"g": get, b"p": put, b"d": digits, b"i": integer
    }  # fmt: skip
    hooks = rb"(%s)\)R(%s)" % (get, put)
    pattern = rb"\(%s%s%s%s[\x88\x89]%st(%s)R(%s)" % (
        storage, integer, integers, integers, hooks, put, put
    )  # fmt: skip
    return re.compile(pattern, re.DOTALL)


_TENSOR = _tensor_pattern()
_TENSOR_TUPLE = _Tuple((None, None, None), 1)
_TENSOR_ARGUMENTS = _Tuple((None, None, None), 2)


class _Interpreter:
    """Interprets a pickle to find the arguments of each call.

    On the stack, ``None`` stands for all values that no check needs. ``pickletools`` can list the
    opcodes, too, but takes three times as long.

    Args:
        data: the pickle; more bytes may follow.
        file_size: size of its file in bytes.
        at: start of the pickle.
        has_storages: whether the pickle creates storages itself.
    """

    def __init__(
        self, data: bytes, file_size: int, at: int = 0, has_storages: bool = False
    ) -> None:
        self._data, self._at = data, at
        self._file_size = file_size
        self._has_storages = has_storages
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
        found = None if self._has_storages else _TENSOR.match(self._data, self._at)
        if found is None:
            return False
        *gets, hooks_class = map(self._memo_at, found.group(1, 2, 4, 5, 9))
        if hooks_class != _ORDERED_DICT or any(type(value) is _Tuple for value in gets):
            return False
        puts = zip(
            found.group(3, 6, 7, 8, 10, 11, 12),
            ("", _TENSOR_TUPLE, _TENSOR_TUPLE, _TENSOR_TUPLE, None, _TENSOR_ARGUMENTS, None),
            strict=True,
        )
        self._memo.update(
            (int.from_bytes(put[1:], "little"), value) for put, value in puts if put is not None
        )
        self._at = found.end()
        return True

    def _memo_at(self, get: bytes | None) -> Any:
        return None if get is None else self._memo[int.from_bytes(get[1:], "little")]

    def _mark(self) -> None:
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

    def _load_storage(self) -> None:
        self._check_storage(self._stack[-1])
        self._stack[-1] = None

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
        elif function == _ENCODE:
            # Python imports the module that a codec's name names.
            if len(items) != 2 or items[1] not in ("latin1", "latin-1"):
                raise CheckpointError("it has bytes in another encoding than torch writes, latin1")
        elif name == "bytearray":
            _refuse_unless(all(isinstance(item, str | bytes) for item in items), name)
        elif name.endswith("Tensor") or name in ("UntypedStorage", "TypedStorage"):
            _refuse_unless(False, name)

    def _check_storage(self, key: Any) -> None:
        if self._has_storages:
            sizes = (
                [item for item in key.items if isinstance(item, int)]
                if isinstance(key, _Tuple)
                else [math.inf]
            )
            _refuse_unless(sum(sizes) <= self._file_size, "a storage")


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
        "b": lambda run: run._stack.pop(),
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
