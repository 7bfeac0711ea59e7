"""Variables that loading data may read and change: attributes of samplers, datasets and functions."""

from __future__ import annotations

import array
import functools
import io
import weakref
import zlib
from collections import deque
from collections.abc import Container, Iterator, Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from ignite._core.attributes import attributes_of, is_of_a_library, is_of_the_program, is_ours
from ignite._core.optional import numpy_or_none
from ignite._core.reads import reads_of
from ignite._core.rng import is_own_generator

__all__ = ["SCALARS", "Variable", "Variables", "is_plain", "variables_of"]

SCALARS = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_MAX_VISITED = 2_000
_MAX_PARTS = 200  # parts of a container that are looked at; a longer one is considered data
_MAX_LEAVES = 100_000
_MAX_NESTED = 1_000
_MAX_DEPTH = 12
_INERT = (
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "PIL",
    "cv2",
    "logging",
    "threading",
    "_thread",
    "io",
    "h5py",
)
_OF_LOADER = ("sampler", "batch_sampler", "dataset", "collate_fn", "generator")


class Variable(NamedTuple):
    """An attribute, an item of a list or dictionary, or a variable of an enclosing function."""

    owner: Any
    key: Any
    is_item: bool = False

    @property
    def value(self) -> Any:
        """The value; raises if the variable is gone."""
        return self.owner[self.key] if self.is_item else getattr(self.owner, self.key)

    def set(self, value: Any) -> None:
        """Assigns a value."""
        if self.is_item:
            self.owner[self.key] = value
        elif isinstance(self.owner, type | CellType):
            setattr(self.owner, self.key, value)
        else:
            object.__setattr__(self.owner, self.key, value)  # wrappers forward attributes


class Variables:
    """What was found, each by the path to it.

    Attributes:
        plain: numbers, strings, tensors, arrays and containers of numbers and strings.
        generators: random generators that the program has made.
        objects: objects of the program with ``state_dict`` and ``load_state_dict``.
        other: a mark of each variable that cannot be saved and may change, such as the position of
            an iterator or the name of a function.
        owners: the objects and containers whose variables were looked at.
        is_complete: False if there was too much to look at.
    """

    def __init__(self) -> None:
        self.plain: dict[str, Variable] = {}
        self.generators: dict[str, Variable] = {}
        self.objects: dict[str, Any] = {}
        self.other: dict[str, object] = {}
        self.owners: dict[str, Any] = {}
        self.is_complete = True


def variables_of(roots: Mapping[str, Any]) -> Variables:
    """Finds the variables that data reach, without running any of their code.

    Objects of the program are looked at with all their attributes, those of libraries only for
    random generators; functions with variables of enclosing functions and globals that they read.

    Args:
        roots: samplers, datasets, functions or iterables, by name.

    Example:
        >>> class Counted:
        ...     __module__ = "__main__"  # a class of the program
        ...     def __init__(self):
        ...         self.num = 3
        >>> {path: found.value for path, found in variables_of({"sampler": Counted()}).plain.items()}
        {'sampler.num': 3}
    """
    walk = _Walk()
    for name, root in roots.items():
        walk.pending.append((name, None, root, 0))
    walk.run()
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found = Variables()
        self.pending: deque[tuple[str, Variable | None, Any, int]] = deque()
        self._seen: dict[int, Any] = {}  # holds the objects, so that no id is reused
        self._classes: set[int] = set()

    def run(self) -> None:
        num_visited = 0
        while self.pending:
            path, variable, value, depth = self.pending.popleft()
            if self._note(path, variable, value):
                continue
            if id(value) in self._seen or depth > _MAX_DEPTH:
                continue
            num_visited += 1
            if num_visited > _MAX_VISITED:
                self.found.is_complete = False
                return
            self._seen[id(value)] = value
            self._look_into(path, variable, value, depth)

    def _note(self, path: str, variable: Variable | None, value: Any) -> bool:
        """Notes a value that has no parts; returns whether it is one."""
        found = self.found
        if is_own_generator(value):
            if id(value) not in self._seen:
                self._seen[id(value)] = value
                # A generator of a tuple or an argument cannot be replaced, but its state can be set.
                place = variable or Variable({path: value}, path, is_item=True)
                found.generators[_free(path, found.generators)] = place
            return True
        if variable is None:
            return isinstance(value, SCALARS) or _is_array(value)
        if _can_be_saved(value):
            if isinstance(value, _CONTAINERS) or _is_array(value):
                if id(value) in self._seen:
                    return True
                self._seen[id(value)] = value
            found.plain[_free(path, found.plain)] = variable
            return True
        mark = _mark_of(value)
        if mark is not None:
            found.other[path] = mark
        return _is_array(value)

    def _look_into(self, path: str, variable: Variable | None, value: Any, depth: int) -> None:
        kind = type(value)
        if isinstance(value, FunctionType):
            self._look_at_function(path, value, depth)
        elif isinstance(value, MethodType):
            self._add(path, value.__self__, depth)
        elif isinstance(value, functools.partial):
            self._add(f"{path}.func", value.func, depth)
            for key, one in (*enumerate(value.args), *value.keywords.items()):
                self._add(f"{path}.{key}", one, depth)
        elif isinstance(value, _CONTAINERS):
            self._look_at_parts(path, variable, value, depth)
        elif isinstance(value, DataLoader):
            for name in _OF_LOADER:
                self._add(f"{path}.{name}", getattr(value, name, None), depth)
            if is_of_the_program(kind):
                self._look_at_object(path, value, depth, _names_in_loaders())
        elif isinstance(value, type):
            self._look_at_class(path, value, depth)
        elif not isinstance(value, (ModuleType, io.IOBase, *SCALARS)):
            self._look_at_object(path, value, depth)

    def _look_at_object(
        self, path: str, value: Any, depth: int, left_out: Container[str] = ()
    ) -> None:
        kind = type(value)
        is_of_program = is_of_the_program(kind)
        if any(map(_is_left_out, kind.__mro__)):
            return
        if is_of_program and _has_state(kind) and not isinstance(value, nn.Module):
            self.found.objects[path] = value
            return
        if is_of_program:
            self._look_at_class(path, kind, depth)
        # Of an object of another library, only random generators change.
        has_variables = is_of_program or kind.__module__.startswith("torch.utils.data")
        if has_variables:
            self.found.owners[path] = value
        left_out = vars(_MODULE) if isinstance(value, nn.Module) else left_out
        for name, one in attributes_of(value).items():
            if name in left_out:
                continue
            is_variable = has_variables or is_own_generator(one)
            variable = Variable(value, name) if is_variable else None
            self.pending.append((f"{path}.{name}", variable, one, depth + 1))

    def _look_at_parts(self, path: str, variable: Variable | None, value: Any, depth: int) -> None:
        if len(value) > _MAX_PARTS:
            kinds = set(map(type, value.values() if isinstance(value, dict) else value))
            if all(issubclass(kind, SCALARS) or kind is Tensor for kind in kinds):
                if isinstance(value, list | deque) and variable is not None:
                    self.found.other[path] = _sample_of(value)
                return
            kinds_of_data = (Dataset, Sampler, DataLoader)
            self.found.is_complete &= not any(issubclass(one, kinds_of_data) for one in kinds)
            return
        is_list = isinstance(value, list | dict | deque)
        if isinstance(value, list | deque) and variable is not None:
            self.found.other[path] = f"{type(value).__name__} of {len(value)}"
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in list(items):
            held = Variable(value, key, is_item=True) if is_list and variable is not None else None
            self.pending.append((f"{path}[{key!r}]", held, one, depth + 1))

    def _look_at_class(self, path: str, kind: type, depth: int) -> None:
        """Looks at attributes of a class of the program, and at what its methods read."""
        for base in kind.__mro__:
            if id(base) in self._classes:
                continue
            self._classes.add(id(base))
            self._seen[id(base)] = base
            if not is_of_the_program(base):
                continue
            for name, one in vars(base).items():
                function = getattr(one, "__func__", getattr(one, "fget", one))
                if isinstance(function, FunctionType):
                    self._look_at_function(f"{base.__qualname__}.{name}", function, depth)
                elif not name.startswith("__") and _can_be_saved(one):
                    variable = Variable(base, name)
                    self.pending.append((f"{base.__qualname__}.{name}", variable, one, depth + 1))

    def _look_at_function(self, path: str, function: FunctionType, depth: int) -> None:
        if is_ours(function.__module__) or is_of_a_library(function.__code__.co_filename):
            inner = vars(function).get("__wrapped__")
            if isinstance(inner, FunctionType):
                self._add(path, inner, depth)
            return
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                value = cell.cell_contents
            except ValueError:  # an unassigned variable
                continue
            if name != "__class__" and id(cell) not in self._seen:
                self._seen[id(cell)] = cell
                variable = Variable(cell, "cell_contents")
                self.pending.append((f"{path}.{name}", variable, value, depth + 1))
        for value in function.__defaults__ or ():
            self._add(f"{path}.default", value, depth)
        for read in reads_of(function.__code__):
            if read.kind == "global" and read.root in function.__globals__:
                self._look_at_global(read.root, read.path, function.__globals__, depth)

    def _look_at_global(
        self, name: str, steps: tuple[tuple[str, object], ...], names: dict[str, Any], depth: int
    ) -> None:
        owner, value, path = names, names[name], f"{names.get('__name__')}.{name}"
        if isinstance(value, ModuleType) and steps and steps[0][0] == "attribute":
            file = getattr(value, "__file__", None) or ""
            if is_ours(value.__name__) or not file or is_of_a_library(file):
                return
            owner, key = vars(value), steps[0][1]
            if not isinstance(key, str) or key not in owner:
                return
            value, name, path = owner[key], key, f"{path}.{key}"
        if isinstance(value, FunctionType | type) and id(value) in self._seen:
            return
        self.pending.append((path, Variable(owner, name, is_item=True), value, depth + 1))

    def _add(self, path: str, value: Any, depth: int) -> None:
        self.pending.append((path, None, value, depth + 1))


_MODULE = nn.Module()


@functools.cache
def _names_in_loaders() -> frozenset[str]:
    """The attributes that every loader has."""
    return frozenset(vars(DataLoader(TensorDataset(torch.zeros(1)))))


def _is_left_out(kind: type) -> bool:
    """Whether objects of a class, and of those derived from it, belong to the run and not to its data."""
    module = kind.__module__
    if is_ours(module):
        return not module.startswith(("torch.utils.data", "ignite.data", "torch.nn.modules"))
    return module.partition(".")[0] in _INERT


def _has_state(kind: type) -> bool:
    return all(callable(getattr(kind, name, None)) for name in ("state_dict", "load_state_dict"))


def _free(path: str, taken: Mapping[str, Any]) -> str:
    """The path, with a number if another variable has it."""
    free, number = path, 1
    while free in taken:
        number += 1
        free = f"{path}#{number}"
    return free


def _is_array(value: Any) -> bool:
    numpy = numpy_or_none()
    return isinstance(value, Tensor) or (numpy is not None and isinstance(value, numpy.ndarray))


def _can_be_saved(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.layout == torch.strided and not (value.is_quantized or value.is_meta)
    if _is_array(value):  # of numbers or strings
        return not value.dtype.hasobject and value.dtype.fields is None
    return isinstance(value, SCALARS) or _is_number_of_numpy(value) or is_plain(value)


def _is_number_of_numpy(value: Any) -> bool:
    numpy = numpy_or_none()
    return numpy is not None and isinstance(value, numpy.bool_ | numpy.number)


def is_plain(value: Any, num_left: list[int] | None = None) -> bool:
    """Whether a container holds only numbers, strings, and containers of them, and not too many.

    Example:
        >>> is_plain([1, {"a": (2.5, None)}]), is_plain([object()]), is_plain(3)
        (True, False, False)
    """
    kind = type(value)
    if not issubclass(kind, _CONTAINERS) or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        return False
    num_left = [_MAX_NESTED] if num_left is None else num_left
    num_left[0] -= 1
    if num_left[0] < 0 or len(value) > _MAX_LEAVES:
        return False
    parts = value.values() if isinstance(value, dict) else value
    kinds = set(map(type, parts))
    if isinstance(value, dict) and not set(map(type, value)) <= set(SCALARS):
        return False
    if kinds <= set(SCALARS):
        return True
    if len(value) > _MAX_NESTED or not all(
        issubclass(one, (*_CONTAINERS, *SCALARS)) for one in kinds
    ):
        return False
    return all(isinstance(part, SCALARS) or is_plain(part, num_left) for part in parts)


def _mark_of(value: Any) -> object:
    """Returns what differs for another value that cannot be saved; None if it need not be known."""
    if isinstance(value, FunctionType | MethodType):
        return f"the function {value.__qualname__}"
    if isinstance(value, bytearray | array.array):
        return f"{len(value)} values, sample {zlib.crc32(bytes(value[:4096])):08x}"
    if isinstance(value, Iterator) and not isinstance(value, io.IOBase):
        return _Kept(value)
    kind = type(value)
    if kind.__module__ in ("datetime", "decimal", "fractions", "pathlib") or hasattr(
        kind, "_value2member_map_"
    ):
        return repr(value)
    if kind.__name__ == "SeedSequence":
        return f"SeedSequence with {value.n_children_spawned} children"
    if is_of_the_program(kind) and not isinstance(value, type):
        return f"a {kind.__qualname__}"
    return None


def _sample_of(values: Any) -> str:
    """Returns a text that differs, most likely, if a long list has changed."""
    every = max(1, len(values) // 256)
    sample = repr([values[i] for i in range(0, len(values), every)])
    return f"{len(values)} values, sample {zlib.crc32(sample.encode()):08x}"


class _Kept:
    """The mark of an iterator: that it has been kept is a change, because it may have moved."""

    def __init__(self, iterator: Any) -> None:
        self._name = type(iterator).__name__
        # Weak where it can be: an iterator of a loader has workers.
        is_weak = bool(type(iterator).__weakrefoffset__)
        self._get = weakref.ref(iterator) if is_weak else lambda: iterator

    def __eq__(self, other: object) -> bool:
        return not (isinstance(other, _Kept) and other._get() is self._get())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"the {self._name} that it was"
