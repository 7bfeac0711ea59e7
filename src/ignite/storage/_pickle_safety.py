"""Checks what the pickle of a checkpoint calls, before torch loads it.

``torch.load(weights_only=True)`` runs no code of a file. But it calls constructors that allocate as
many bytes as the file says, codecs that Python imports by name, and hashes of tuples, which
overflow the stack if tuples are nested deeply enough.
"""

import math
import re
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from ignite.exceptions import CheckpointError

_MAX_DEPTH = 1000
_NUM_HARMLESS = 5000  # so many nested tuples do not overflow any stack
_MAKERS = re.compile(
    rb"\n(encode|bytearray|\w*Tensor|UntypedStorage|TypedStorage|_rebuild_qtensor)\n"
)


class _Global(NamedTuple):
    name: str


class _Tuple(NamedTuple):
    items: tuple[Any, ...]
    depth: int


_ENCODE = _Global("encode")  # the function that bytes are written with


def check_calls(pickled: bytes, file_size: int) -> None:
    """Refuses a pickle that would need much more memory than the file, or overflow the stack.

    Most pickles are not followed, because they name nothing that could do so.

    Raises:
        CheckpointError: the pickle is refused.
    """
    num_tuples = sum(pickled.count(code) for code in (b"\x85", b"\x86", b"\x87", b"t"))
    if _MAKERS.search(pickled) or num_tuples > _NUM_HARMLESS:
        _Walk(pickled, file_size).go()


def check_legacy_calls(file: BinaryIO, file_size: int) -> None:
    """Like :func:`check_calls`, for files of torch before version 1.6, whose storages also state their size."""
    content, at = file.read(), 0
    for _ in range(5):  # magic number, version, system, the state, keys of storages
        at = _Walk(content, file_size, at, has_storages=True).go()


class _Walk:
    """Follows a pickle to find the arguments of each call. ``None`` stands for any other value.

    ``pickletools`` can do this, too, and takes three times as long.

    Args:
        data: the pickle; more bytes may follow.
        file_size: size of its file in bytes.
        at: start of the pickle.
        has_storages: whether the pickle creates storages.
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

    def go(self) -> int:
        """Follows the pickle and returns its end."""
        data = self._data
        try:
            while (code := data[self._at]) != _STOP:
                self._at += 1
                _ACTS[code](self)
        except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise CheckpointError(f"its pickle is damaged: {error!r:.200}") from None
        return self._at + 1

    # A truncated pickle raises at the next code: nothing here reads behind the end.

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
        self._stack.append(self._memo[index])

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
            return  # torch calls nothing else
        items = arguments.items if isinstance(arguments, _Tuple) else (None,)
        name = function.name
        if name.endswith("_rebuild_from_type_v2") and len(items) == 4:
            self._check(items[0], items[2])
        elif name == "_rebuild_qtensor" and len(items) > 2:
            sizes = items[2].items if isinstance(items[2], _Tuple) else (math.inf,)
            is_small = (
                all(isinstance(size, int) for size in sizes)
                and math.prod(sizes) <= 16 * self._file_size
            )
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
            sizes = (
                [item for item in key.items if isinstance(item, int)]
                if isinstance(key, _Tuple)
                else [math.inf]
            )
            _refuse_unless(sum(sizes) <= self._file_size, "a storage")


def _push_nothing(walk: _Walk, num_bytes: int = 0) -> None:
    """Skips a value, or pushes an empty one."""
    walk._take(num_bytes)
    walk._stack.append(None)


_STOP = ord(".")
_ACTS: dict[int, Callable[[_Walk], object]] = {
    ord(code): act
    for code, act in {
        "K": lambda walk: walk._stack.append(walk._byte()),
        "M": lambda walk: walk._stack.append(walk._byte() | walk._byte() << 8),
        "J": lambda walk: walk._push_signed(4),
        "\x8a": lambda walk: walk._push_signed(walk._byte()),
        "X": lambda walk: walk._push_text(walk._number()),
        "U": lambda walk: walk._push_text(walk._byte()),
        "q": lambda walk: walk._put(walk._byte()),
        "r": lambda walk: walk._put(walk._number()),
        "p": lambda walk: walk._put(int(walk._line())),
        "h": lambda walk: walk._get(walk._byte()),
        "j": lambda walk: walk._get(walk._number()),
        "g": lambda walk: walk._get(int(walk._line())),
        "c": _Walk._push_global,
        ")": lambda walk: walk._stack.append(_tuple([])),
        "\x85": lambda walk: walk._push_tuple(1),
        "\x86": lambda walk: walk._push_tuple(2),
        "\x87": lambda walk: walk._push_tuple(3),
        "t": _Walk._push_marked_tuple,
        "(": _Walk._mark,
        "R": _Walk._call,
        "\x81": _Walk._call,
        "Q": _Walk._load_storage,
        "e": _Walk._pop_mark,
        "u": _Walk._pop_mark,
        "a": lambda walk: walk._stack.pop(),
        "b": lambda walk: walk._stack.pop(),
        "s": lambda walk: walk._stack.__delitem__(slice(-2, None)),
        "G": lambda walk: _push_nothing(walk, 8),
        "\x80": lambda walk: walk._take(1),
        **dict.fromkeys("N\x88\x89]}\x8f", _push_nothing),
    }.items()
}
"""Opcode of a pickle -> its effect; torch writes no others."""


def _tuple(items: list[Any]) -> _Tuple:
    depth = 1
    for item in items:
        if type(item) is _Tuple and item.depth >= depth:
            depth = item.depth + 1
    if depth > _MAX_DEPTH:
        raise CheckpointError(
            f"its tuples should be nested at most {_MAX_DEPTH} deep, but are deeper"
        )
    return _Tuple(tuple(items), depth)


def _refuse_unless(is_right: bool, name: str) -> None:
    if not is_right:
        raise CheckpointError(
            f"it would have {name} made of a size that is not that of anything in the file"
        )
