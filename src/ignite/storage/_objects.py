"""Converts objects of well-known classes in a state to tagged tuples, and back.

``torch.load(weights_only=True)`` reads tensors, plain values and containers only. An object of
another class is saved as the tuple ``(TAG, kind, *parts)``, whose parts can be loaded. A user's
tuple that begins with the tag is saved as ``(TAG, "tuple", *items)``.

Tuples are used because they can be dictionary keys and members of sets, and because
``torch.distributed.checkpoint`` writes a tuple as one value, but splits a dictionary into its
entries.
"""

import argparse
import builtins
import collections
import datetime
import decimal
import enum
import fractions
import logging
import math
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ignite._core.optional import import_optional, numpy_or_none
from ignite.exceptions import CheckpointError

logger = logging.getLogger(__name__)

TAG = "ignite:object"
"""First item of a tuple that represents an object."""
TAG_BYTES = TAG.encode()
"""The tag as it occurs in a pickle."""

Parts = tuple[Any, ...]

# dtypes for which a tensor can share the memory of an array; other arrays are written as bytes.
# uint16, uint32 and uint64 are left out, although torch has them: only torch.save can write them.
_SHARED = frozenset("?bBhilqefdFD")
_NUMBERS = _SHARED | frozenset("HILQ")
# The dtypes that a file may name. Object dtypes, whose items are pointers, and structured dtypes
# are excluded.
_DTYPE = re.compile(r"[<>|=]?([?bBhHiIlLqQefdgFDG]|[biufc]\d{1,2}|[SUVa]\d+|[mM]8?(\[\w+\])?)")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_FACTORIES = {
    kind.__name__: kind for kind in (bool, bytes, complex, dict, float, int, list, set, str, tuple)
}
"""Default factories that a file may name. No other function named in a file is called."""
_NAMESPACES: dict[str, type] = {
    "types.SimpleNamespace": types.SimpleNamespace,
    "argparse.Namespace": argparse.Namespace,
}
_PURE = {False: pathlib.PurePosixPath, True: pathlib.PureWindowsPath}


def encode(x: Any, kind: type) -> Parts | None:
    """Returns the kind and the parts of an object; None if its class is not supported.

    Parts are tensors, plain values, containers and objects that can themselves be encoded. The
    caller adds the tag.

    Raises:
        TypeError: the class is supported, but ``x`` cannot be saved. The message says what to
            save instead.

    Example:
        >>> encode(datetime.date(2024, 2, 29), datetime.date)
        ('datetime.date', '2024-02-29')
    """
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        return encoder(x)
    if isinstance(x, pathlib.PurePath):
        return _encode_path(x, kind)
    if isinstance(x, enum.Enum):
        return _encode_member(x, kind)
    if isinstance(x, tuple):
        return _encode_named_tuple(x, kind)
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(x, numpy.ndarray):
        return _encode_array(numpy, x)
    if isinstance(x, numpy.generic):
        return _encode_number(numpy, x)
    return ("numpy.dtype", _name_of_dtype(numpy, x)) if isinstance(x, numpy.dtype) else None


def _encode_time(x: datetime.time) -> Parts:
    return ("datetime.time", x.replace(tzinfo=None).isoformat(), x.fold, _zone(x.tzinfo))


def _encode_datetime(x: datetime.datetime) -> Parts:
    return ("datetime.datetime", x.replace(tzinfo=None).isoformat(), x.fold, _zone(x.tzinfo))


def _zone(zone: datetime.tzinfo | None) -> datetime.tzinfo | None:
    if zone is None or type(zone) in (datetime.timezone, zoneinfo.ZoneInfo):
        return zone
    raise TypeError(
        f"its time zone should be a datetime.timezone or a zoneinfo.ZoneInfo, but is a {type(zone)}: "
        "save x.astimezone(datetime.timezone.utc) instead"
    )


def _encode_timezone(x: datetime.timezone) -> Parts:
    offset, *name = x.__getinitargs__()  # type: ignore[attr-defined]  # as pickle reads it
    return ("datetime.timezone", offset, *name)


def _encode_zone(x: zoneinfo.ZoneInfo) -> Parts:
    if x.key is None or not _ZONE.fullmatch(x.key):
        raise TypeError(
            "its time zone should have a key: create it by ZoneInfo(key), not from_file"
        )
    return ("zoneinfo.ZoneInfo", x.key)


def _encode_path(x: pathlib.PurePath, kind: type) -> Parts | None:
    is_windows = isinstance(x, pathlib.PureWindowsPath)
    if kind is _PURE[is_windows]:
        return ("pathlib.PurePath", is_windows, str(x))
    if kind is type(pathlib.Path()):
        return ("pathlib.Path", is_windows, str(x))
    raise TypeError("save pathlib.Path(x) instead")


def _encode_defaultdict(x: collections.defaultdict[Any, Any]) -> Parts | None:
    factory: Any = x.default_factory
    if factory is None:
        return ("collections.defaultdict", None, dict(x))
    name = next((name for name, kind in _FACTORIES.items() if kind is factory), None)
    return None if name is None else ("collections.defaultdict", name, dict(x))


def _encode_namespace(x: Any) -> Parts:
    return (next(name for name, kind in _NAMESPACES.items() if kind is type(x)), dict(vars(x)))


def _encode_member(x: enum.Enum, kind: type) -> Parts | None:
    plain = next((base(x.value) for base in (int, str, float) if isinstance(x, base)), None)
    module = _module_of(kind)
    is_known = _loaded_class(module, kind.__qualname__) is kind
    if not is_known or getattr(kind, "__members__", {}).get(x.name) is not x:
        if plain is not None:
            return None  # converted to a plain value
        raise TypeError(
            "its class should be importable by name, and x should be one of its members: save x.value instead"
        )
    return ("enum.Enum", module, kind.__qualname__, x.name, plain)


def _encode_named_tuple(x: tuple[Any, ...], kind: type) -> Parts | None:
    if not _is_named_tuple(kind):
        return None
    module = _module_of(kind)
    if _loaded_class(module, kind.__qualname__) is not kind:
        raise TypeError("its class should be importable by name; or save tuple(x) instead")
    return ("collections.namedtuple", module, kind.__qualname__, tuple(x))


def _is_named_tuple(kind: type) -> bool:
    return kind.__bases__ == (tuple,) and isinstance(kind.__dict__.get("_fields"), tuple)


def _module_of(kind: type) -> str:
    # multiprocessing names the main module __mp_main__ in the processes that it starts.
    return "__main__" if kind.__module__ == "__mp_main__" else kind.__module__


def _loaded_class(module: Any, qualname: Any) -> type | None:
    """Looks up a class by name in the modules that are already imported. Imports and calls nothing."""
    found: Any = sys.modules.get(module)
    for name in str(qualname).split("."):
        found = found.__dict__.get(name) if isinstance(found, types.ModuleType | type) else None
    return found if isinstance(found, type) else None


def _encode_array(numpy: Any, x: Any) -> Parts:
    if type(x) is not numpy.ndarray:
        raise TypeError("save numpy.asarray(x) instead, or the arrays that it consists of")
    if x.dtype.char == "O":
        return ("numpy.ndarray of objects", x.shape, x.reshape(-1).tolist())
    name = _name_of_dtype(numpy, x.dtype)
    # Memory that torch may not write to, or in which elements overlap, is copied.
    is_fortran = x.flags.f_contiguous and not x.flags.c_contiguous
    if x.dtype.isnative and x.dtype.char in _SHARED:
        is_shared = x.flags.writeable and (x.flags.c_contiguous or is_fortran)
        return ("numpy.ndarray", name, torch.from_numpy(x if is_shared else x.copy(order="C")))
    if x.dtype.itemsize == 0:
        raise TypeError(f"its dtype should have items of at least one byte, but is {x.dtype!r}")
    order = "F" if is_fortran else "C"
    memory = bytearray(x.tobytes(order))
    content = torch.frombuffer(memory, dtype=torch.uint8) if memory else torch.empty(0).byte()
    return ("numpy.ndarray", name, content, x.shape, order)


def _encode_number(numpy: Any, x: Any) -> Parts | None:
    if type(x) is not x.dtype.type:
        return None  # a user-defined subclass
    name, char = _name_of_dtype(numpy, x.dtype), x.dtype.char
    if char == "U":
        return ("numpy.generic", "U", str.__str__(x))
    if char == "S":
        return ("numpy.generic", "S", bytes(memoryview(x)))
    if char in _NUMBERS and x == x:
        return ("numpy.generic", name, x.item())
    return ("numpy.generic", name, x.tobytes().hex())  # preserves the bits of a NaN


def _name_of_dtype(numpy: Any, dtype: Any) -> str:
    """Returns the shortest name that identifies a dtype, also among equal ones such as longlong."""
    if dtype.names is not None or dtype.subdtype is not None:
        raise TypeError(
            "save the fields of the structured array instead, {name: x[name] for name in x.dtype.names}"
        )
    name: str = dtype.str
    if _DTYPE.fullmatch(name) and numpy.dtype(name).char != dtype.char:
        name = (">" if name.startswith(">") else "") + dtype.char  # such as longlong
    if not _DTYPE.fullmatch(name) or numpy.dtype(name) != dtype:
        raise TypeError(
            f"its dtype should be one of numpy's own of fixed size, but is {dtype!r}: save x.tolist() instead"
        )
    return name


_ENCODERS: dict[type, Callable[[Any], Parts | None]] = {
    collections.deque: lambda x: ("collections.deque", x.maxlen, list(x)),
    collections.defaultdict: _encode_defaultdict,
    datetime.date: lambda x: ("datetime.date", x.isoformat()),
    datetime.datetime: _encode_datetime,
    datetime.time: _encode_time,
    datetime.timedelta: lambda x: ("datetime.timedelta", x.days, x.seconds, x.microseconds),
    datetime.timezone: _encode_timezone,
    decimal.Decimal: lambda x: ("decimal.Decimal", str(x)),
    fractions.Fraction: lambda x: ("fractions.Fraction", x.numerator, x.denominator),
    range: lambda x: ("range", x.start, x.stop, x.step),
    slice: lambda x: ("slice", x.start, x.stop, x.step),
    uuid.UUID: lambda x: ("uuid.UUID", x.int),
    zoneinfo.ZoneInfo: _encode_zone,
    **dict.fromkeys(_NAMESPACES.values(), _encode_namespace),
}


def decode_objects(state: Any) -> Any:
    """Replaces the tagged tuples in a state with the objects that they represent.

    ``load`` and ``Checkpoint.load_objects`` call it; call it on the result of ``torch.load``. A
    state without tagged tuples is returned unchanged; otherwise, only the containers of objects
    are copied. Imports nothing. Of user-defined classes, it creates only enum members and named
    tuples, and only if their module has already been imported.

    Raises:
        CheckpointError: a tuple is damaged or of a newer version, or a class is not imported.

    Example:
        >>> from ignite.storage import plain
        >>> written = plain({"since": datetime.date(2024, 2, 29), "epoch": 3})
        >>> written
        {'since': ('ignite:object', 'datetime.date', '2024-02-29'), 'epoch': 3}
        >>> decode_objects(written)
        {'since': datetime.date(2024, 2, 29), 'epoch': 3}
    """
    if not _has_tag(state):
        return state
    try:
        return _Decoder().decode(state)
    except (RecursionError, TypeError) as error:  # nested too deeply, or keys are not hashable
        raise CheckpointError(f"its objects are damaged: {error}") from error


def _is_tagged(x: Any) -> bool:
    return len(x) > 1 and type(x[0]) is str and x[0] == TAG


def _has_tag(state: Any) -> bool:
    """Searches without recursion, because a state may be deeply nested or contain itself."""
    pending, seen = [state], set()
    while pending:
        x = pending.pop()
        kind = type(x)
        if kind not in _CONTAINERS or id(x) in seen:
            continue
        seen.add(id(x))
        if kind is tuple and _is_tagged(x):
            return True
        for values in (
            (x, x.values(), (getattr(x, "__dict__", None),)) if kind in _MAPPINGS else (x,)
        ):
            if not _CONTAINERS.isdisjoint(map(type, values)):  # long lists of numbers are skipped
                pending.extend(values)
    return False


_MAPPINGS = frozenset({dict, collections.OrderedDict, collections.Counter})
_CONTAINERS = _MAPPINGS | {list, tuple, set}


class _Decoder:
    """Decodes a state. An object that occurs twice is decoded once, so its identity is preserved."""

    def __init__(self) -> None:
        self._decoded: dict[int, Any] = {}

    def decode(self, x: Any) -> Any:
        kind = type(x)
        if kind not in _CONTAINERS:
            return x
        if id(x) in self._decoded:
            return self._decoded[id(x)]
        self._decoded[id(x)] = x  # if a container contains itself, the inner one is not replaced
        if kind in _MAPPINGS:
            result = self._decode_mapping(x, kind)
        elif kind is tuple and _is_tagged(x):
            result = self._decode_object(x[1], [self.decode(part) for part in x[2:]])
        else:
            items = [self.decode(item) for item in x]
            result = kind(items) if any(a is not b for a, b in zip(items, x, strict=True)) else x
        self._decoded[id(x)] = result
        return result

    def _decode_mapping(self, x: Any, kind: type) -> Any:
        pairs = [(self.decode(key), self.decode(value)) for key, value in x.items()]
        attributes = getattr(x, "__dict__", {})
        decoded = {name: self.decode(value) for name, value in attributes.items()}
        same = all(a is c and b is d for (a, b), (c, d) in zip(pairs, x.items(), strict=True))
        if same and all(decoded[name] is attributes[name] for name in decoded):
            return x
        result: Any = kind()
        for key, value in pairs:
            result[key] = value
        if decoded:
            vars(result).update(decoded)
        return result

    def _decode_object(self, name: Any, parts: list[Any]) -> Any:
        decoder = _DECODERS.get(name) if isinstance(name, str) else None
        if decoder is None:
            raise CheckpointError(
                f"it should hold objects of known kinds, but holds a {name!r:.80}: the file is "
                "damaged, or of a newer version"
            )
        try:
            return decoder(*parts)
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"it holds a {name} that cannot be made: {type(error).__name__}: {error}"
            ) from error


def _decode_defaultdict(factory: str | None, items: dict[Any, Any]) -> Any:
    return collections.defaultdict(None if factory is None else _FACTORIES[factory], items)


def _decode_datetime(text: str, fold: int, zone: Any) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _decode_time(text: str, fold: int, zone: Any) -> datetime.time:
    return datetime.time.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _decode_zone(key: str) -> zoneinfo.ZoneInfo:
    if not _ZONE.fullmatch(key):
        raise ValueError(
            f"a time zone should have a name such as Europe/Paris, but has {key!r:.80}"
        )
    return zoneinfo.ZoneInfo(key)


def _decode_path(is_windows: bool, text: str) -> pathlib.PurePath:
    # A concrete path of another operating system cannot be created, only a pure one.
    is_own = issubclass(type(pathlib.Path()), _PURE[bool(is_windows)])
    return pathlib.Path(text) if is_own else _PURE[bool(is_windows)](text)


def _decode_member(module: str, qualname: str, name: str, plain: Any) -> Any:
    kind = _loaded_class(module, qualname)
    member = kind.__members__.get(name) if isinstance(kind, enum.EnumMeta) else None
    if member is not None:
        return member
    if plain is None:
        raise _missing_class(module, qualname, f"with a member {name}")
    logger.warning(
        "%s.%s.%s in a checkpoint is loaded as %r, because the class is not imported. Import it "
        "before loading", module, qualname, name, plain
    )  # fmt: skip
    return plain


def _decode_named_tuple(module: str, qualname: str, items: tuple[Any, ...]) -> Any:
    kind = _loaded_class(module, qualname)
    if kind is None or not _is_named_tuple(kind) or len(kind._fields) != len(items):  # type: ignore[attr-defined]
        raise _missing_class(module, qualname, f"with {len(items)} fields")
    return tuple.__new__(kind, items)


def _missing_class(module: Any, qualname: Any, what: str) -> CheckpointError:
    return CheckpointError(
        f"it holds an object of {module}.{qualname}, but no such class {what} is imported: import "
        "it before loading the file. torch.load(path) reads the file without creating objects"
    )


def _numpy() -> Any:
    return numpy_or_none() or import_optional("numpy", extra="numpy")


def _decode_array(name: str, content: Tensor, shape: Any = None, order: str = "C") -> Any:
    numpy = _numpy()
    dtype = _decode_dtype(name)
    memory = content.detach().cpu().numpy()
    if shape is None:
        memory = memory.view(dtype) if memory.dtype == dtype else memory.astype(dtype, casting="no")
        return memory.copy(order="K")  # so that the array owns its memory
    if memory.dtype != numpy.uint8 or math.prod(shape) * dtype.itemsize != memory.size:
        raise ValueError(
            f"an array of shape {shape} and {dtype} should have {math.prod(shape) * dtype.itemsize} "
            f"bytes, but has {memory.size} items of {memory.dtype}"
        )
    return numpy.ndarray(shape, dtype, memory.tobytes(), order=order).copy(order="K")


def _decode_array_of_objects(shape: Any, items: list[Any]) -> Any:
    numpy = _numpy()
    if math.prod(shape) != len(items):
        raise ValueError(
            f"an array of shape {shape} should have {math.prod(shape)} items, but has {len(items)}"
        )
    array = numpy.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array.reshape(shape)


def _decode_number(name: str, value: Any) -> Any:
    numpy = _numpy()
    if name in ("U", "S"):
        return numpy.str_(value) if name == "U" else numpy.bytes_(value)
    dtype = _decode_dtype(name)
    if not isinstance(value, str):
        return dtype.type(value)
    return numpy.frombuffer(bytes.fromhex(value), dtype)[0]


def _decode_dtype(name: str) -> Any:
    if not _DTYPE.fullmatch(name):
        raise ValueError(f"a dtype should be one of numpy's own, but is {name!r:.80}")
    return _numpy().dtype(name)


def _decode_namespace(kind: type) -> Callable[[Mapping[str, Any]], Any]:
    def decode(attributes: Mapping[str, Any]) -> Any:
        namespace = kind()
        vars(namespace).update(attributes)
        return namespace

    return decode


_DECODERS: dict[str, Callable[..., Any]] = {
    "tuple": lambda *items: (TAG, *items),
    "frozenset": lambda *items: frozenset(items),
    "collections.defaultdict": _decode_defaultdict,
    "collections.deque": lambda maxlen, items: collections.deque(items, maxlen),
    "collections.namedtuple": _decode_named_tuple,
    "datetime.date": datetime.date.fromisoformat,
    "datetime.datetime": _decode_datetime,
    "datetime.time": _decode_time,
    "datetime.timedelta": datetime.timedelta,
    "datetime.timezone": datetime.timezone,
    "decimal.Decimal": decimal.Decimal,
    "enum.Enum": _decode_member,
    "fractions.Fraction": fractions.Fraction,
    "numpy.dtype": _decode_dtype,
    "numpy.generic": _decode_number,
    "numpy.ndarray": _decode_array,
    "numpy.ndarray of objects": _decode_array_of_objects,
    "pathlib.Path": _decode_path,
    "pathlib.PurePath": lambda is_windows, text: _PURE[bool(is_windows)](text),
    "range": builtins.range,
    "slice": builtins.slice,
    "uuid.UUID": lambda number: uuid.UUID(int=number),
    "zoneinfo.ZoneInfo": _decode_zone,
    **{name: _decode_namespace(kind) for name, kind in _NAMESPACES.items()},
}
