"""What the pickle in a checkpoint would have torch call, looked at before it does.

``torch.load(weights_only=True)`` runs no code of a file. But among what it calls are constructors that take a number
of bytes from it, codecs that python imports by name, and hashes of tuples, which overflow the stack if tuples are
nested deeply enough.
"""

import io
import math
import pickletools
import re
from typing import Any, BinaryIO, NamedTuple

from ignite.exceptions import CheckpointError

_MAX_DEPTH = 1000
_NUM_HARMLESS = 5000  # tuples nested in each other that no stack overflows from
_MAKERS = re.compile(rb"\n(encode|bytearray|\w*Tensor|UntypedStorage|TypedStorage|_rebuild_qtensor)\n")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MEMO_PUT = ("BINPUT", "LONG_BINPUT", "PUT")
_MEMO_GET = ("BINGET", "LONG_BINGET", "GET")
_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINSTRING")


class _Bounded:
    """Reads no more than there is: a file makes room for as much as it is asked for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, num_bytes: int) -> bytes:
        return self._file.read(min(num_bytes, self._size))


class _Global(NamedTuple):
    name: str


class _Tuple(NamedTuple):
    items: tuple[Any, ...]
    depth: int


_ENCODE = _Global("encode")  # how bytes are written


def check_calls(pickled: bytes, file_size: int) -> None:
    """Refuses a pickle that would take much more memory than the file, or more stack than there is.

    Most are not looked at more closely, because they name nothing that could do so.

    Raises:
        CheckpointError: it would.
    """
    num_tuples = sum(pickled.count(code) for code in (b"\x85", b"\x86", b"\x87", b"t"))
    if _MAKERS.search(pickled) or num_tuples > _NUM_HARMLESS:
        _Walk(file_size).go(io.BytesIO(pickled))


def check_legacy_calls(file: BinaryIO, file_size: int) -> None:
    """The same for a file that torch wrote before version 1.6, of which storages claim their size, too."""
    bounded = _Bounded(file, file_size)
    for _ in range(5):  # magic number, version, system, the state, keys of storages
        _Walk(file_size, has_storages=True).go(bounded)


class _Walk:
    """Follows a pickle as far as is needed to know what is called with what. ``None`` stands for anything else."""

    def __init__(self, file_size: int, has_storages: bool = False) -> None:
        self._file_size = file_size
        self._has_storages = has_storages
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def go(self, file: Any) -> None:
        try:
            for opcode, argument, _ in pickletools.genops(file):
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise CheckpointError(f"its pickle is damaged: {error!r:.200}") from None

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _MEMO_PUT:
            self._memo[argument] = stack[-1]
        elif name in _MEMO_GET:
            stack.append(self._memo[argument])
        elif name == "GLOBAL":
            stack.append(_Global(argument.rpartition(" ")[2]))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [_tuple(stack[-_TUPLES[name] :])]
        elif name in ("TUPLE", "EMPTY_TUPLE"):
            items = self._pop_mark() if name == "TUPLE" else []
            self._stack.append(_tuple(items))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            self._check(stack[-1], arguments)
            stack[-1] = b"" if stack[-1] == _ENCODE else None
        elif name == "BINPERSID":
            self._check_storage(stack[-1])
            stack[-1] = None
        else:
            self._move(name)

    def _move(self, name: str) -> None:
        """What only puts values into others, or is plain."""
        if name == "MARK":
            self._marks.append(self._stack)
            self._stack = []
        elif name in ("APPENDS", "SETITEMS"):
            self._pop_mark()
        elif name in ("APPEND", "BUILD", "STOP"):
            self._stack.pop()
        elif name == "SETITEM":
            del self._stack[-2:]
        elif name in ("NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
            self._stack.append(None)
        elif name != "PROTO":
            raise ValueError(f"{name} in it")

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _check(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, _Global):
            return  # torch calls nothing else
        items = arguments.items if isinstance(arguments, _Tuple) else (None,)
        name = function.name
        if name.endswith("_rebuild_from_type_v2") and len(items) == 4:
            self._check(items[0], items[2])
        elif name == "_rebuild_qtensor" and len(items) > 2:
            sizes = items[2].items if isinstance(items[2], _Tuple) else (math.inf,)
            is_small = all(isinstance(size, int) for size in sizes) and math.prod(sizes) <= 16 * self._file_size
            _refuse_unless(is_small, name)
        elif function == _ENCODE:
            # Python imports a module of the name of a codec.
            if len(items) != 2 or items[1] not in ("latin1", "latin-1"):
                raise CheckpointError("it has bytes in another encoding than torch writes")
        elif name == "bytearray":
            _refuse_unless(all(isinstance(item, str | bytes) for item in items), name)
        elif name.endswith("Tensor") or name in ("UntypedStorage", "TypedStorage"):
            _refuse_unless(False, name)

    def _check_storage(self, key: Any) -> None:
        if self._has_storages:
            sizes = [item for item in key.items if isinstance(item, int)] if isinstance(key, _Tuple) else [math.inf]
            _refuse_unless(sum(sizes) <= self._file_size, "a storage")


def _tuple(items: list[Any]) -> _Tuple:
    depth = 1 + max((item.depth for item in items if isinstance(item, _Tuple)), default=0)
    if depth > _MAX_DEPTH:
        raise CheckpointError(f"its tuples should be nested at most {_MAX_DEPTH} deep, but are deeper")
    return _Tuple(tuple(items), depth)


def _refuse_unless(is_right: bool, name: str) -> None:
    if not is_right:
        raise CheckpointError(f"it would have {name} made of a size that is not that of anything in the file")
