"""Finds the values that functions use: variables, attributes, items and arguments, without running any code."""

from __future__ import annotations

import functools
import io
import sys
from collections import OrderedDict, UserDict, deque
from collections.abc import Callable, Iterator, Mapping
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ignite._core.attributes import (
    attributes_of,
    is_of_a_library,
    is_of_the_program,
    is_ours,
)
from ignite._core.reads import Read, reads_of
from ignite._core.rng import is_own_generator
from ignite.engine._emitter import Emitter

__all__ = [
    "CLASS",
    "GIVEN",
    "PART",
    "PUBLISHED",
    "VARIABLE",
    "Reach",
    "has_state",
    "is_engine",
    "variables_of",
]

_MAX_ITEMS = 10_000  # larger containers are considered data
_MAX_NUMBERS = 8  # longer lists of numbers are considered data or records
_MAX_DEPTH = 8
_DATA = (DataLoader, Dataset, Sampler)
_LEAVES = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    torch.Tensor,
    torch.dtype,
    torch.device,
)
_TENSORS = (torch.Tensor, torch.nn.Parameter)
_CHANGING = (bool, int, float, torch.Tensor)
_HIDING = ("globals", "eval", "exec", "__import__", "locals")
# Sources of the name of an object, most reliable first: the user, a part of the supervised step, the
# name of a metric's value, a variable, the object's class.
GIVEN, PART, PUBLISHED, VARIABLE, CLASS = range(5)
_OF_STATE = (
    "batch",
    "output",
    "metrics",
    "dataloader",
    "times",
    "_event_counts",
    "_own_event_to_attr",
)
_INERT = (
    "numpy", "logging", "pathlib", "threading", "_thread", "random", "datetime", "time", "tqdm", "re", "enum",
    "collections", "decimal", "fractions", "io", io.BytesIO.__module__, "unittest", "argparse",
)  # fmt: skip
_PLAIN_ITEMS = (dict.items, OrderedDict.items, UserDict.items)
_PLAIN_ITERATION = tuple(kind.__iter__ for kind in (list, tuple, set, frozenset, deque))
_NOT_THERE = object()
_CODE = (FunctionType, property, staticmethod, classmethod)


def is_engine(value: Any) -> bool:
    return isinstance(value, Emitter)


def has_state(value: Any) -> bool:
    """Whether an object that the user has not named has a state that is part of a run."""
    kind = type(value)  # looks at the class, because a metric has any attribute of its value
    if isinstance(value, type | ModuleType | DataLoader) or hasattr(kind, "saves_runs"):
        return False
    if not all(callable(getattr(kind, name, None)) for name in ("state_dict", "load_state_dict")):
        return False
    if isinstance(value, torch.nn.Module):  # a loss, an activation
        return any(True for _ in value.parameters()) or any(True for _ in value.buffers())
    return not hasattr(kind, "set_epoch")  # the position in the data is saved with the data


class Reach:
    """Walks from functions to the values that they use, also through the functions that they call.

    Args:
        report: called for each engine and each object with a state, with the source of its name,
            its name, the value, and its path.

    Attributes:
        seen: all values that were visited.
        hidden: descriptions of values that could not be inspected.
        trained: leaf tensors with ``requires_grad``, by path.
        plain: numbers and tensors that no object with a state holds, by path.
        generators: random number generators that the program has created, by path.
        data: loaders, datasets and samplers, such as those of an evaluation, by path.
    """

    def __init__(self, report: Callable[[int, str, Any, str], None]) -> None:
        self.seen: list[Any] = []
        self.hidden: list[str] = []
        self.trained: dict[str, torch.Tensor] = {}
        self.plain: dict[str, Any] = {}
        self.generators: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self._report = report
        self._followed: dict[tuple[int, ...], Any] = {}
        self._looked_at: dict[int, Any] = {}
        self._owners: dict[int, Any] = {}

    def follow(
        self, function: Any, arguments: tuple[Any, ...] = (), is_own: bool = False, where: str = ""
    ) -> None:
        """Visits the values that a callable uses when called with these arguments, as far as they are known."""
        pending: deque[Any] = deque([(function, arguments, {}, is_own)])
        while pending:
            current, given, by_name, own = pending.popleft()
            if isinstance(current, functools.partial):
                pending.append(
                    (current.func, (*current.args, *given), {**current.keywords, **by_name}, own)
                )
                self._look_at_each(_named_arguments(current), "")
            elif isinstance(current, MethodType):
                if own and not is_ours(type(current.__self__).__module__):
                    self._look_at_owner(current.__self__)
                for method in _same_methods(current):
                    pending.append((method, (current.__self__, *given), by_name, own))
            elif isinstance(current, FunctionType):
                self._follow_function(current, given, by_name, own)
                if (inner := vars(current).get("__wrapped__")) is not None:
                    pending.append((inner, given, by_name, own))
            elif not isinstance(current, type):
                self._follow_object(current, given, pending, own)

    def _follow_object(
        self, current: Any, given: tuple[Any, ...], pending: deque[Any], own: bool
    ) -> None:
        kind = type(current)
        if isinstance(current, BuiltinFunctionType) or kind.__name__ == "method-wrapper":
            owner = current.__self__
            if owner is not None and not isinstance(owner, ModuleType | type):
                self.look("", owner, "", is_saved=True)  # has no name of its own
        elif (inner := getattr(current, "__wrapped__", None)) is not None and not is_ours(
            kind.__module__
        ):
            pending.append((inner, given, {}, own))
        elif is_ours(kind.__module__):
            if callable(getattr(current, "parts", None)):  # a supervised step
                self._look_at_each(vars(current), kind.__name__, is_saved=True)
        else:
            self._look_at_owner(current)
            call = kind.__dict__.get("__call__") or getattr(kind, "__call__", None)  # noqa: B004 - the function itself
            if isinstance(call, FunctionType) and not isinstance(current, nn.Module):
                pending.append((MethodType(call, current), given, {}, own))

    def _look_at_owner(self, owner: Any) -> None:
        """Visits an object whose methods are used, and all its attributes."""
        name = type(owner).__name__
        is_saved = self._report_if_saved(CLASS, name, owner, name)
        if id(owner) not in self._owners:
            self._owners[id(owner)] = owner
            self._look_at_each(attributes_of(owner), "", is_saved=is_saved)

    def _look_at_each(
        self, values: Mapping[Any, Any], path: str, depth: int = 0, is_saved: bool = False
    ) -> None:
        for key, value in list(values.items()):
            name = key if isinstance(key, str) else f"{path.rpartition('.')[2]}.{key}"
            self.look(name, value, f"{path}.{key}" if path else str(key), depth, is_saved=is_saved)

    def _follow_function(
        self, function: FunctionType, given: tuple[Any, ...], by_name: Mapping[str, Any], own: bool
    ) -> None:
        inner = getattr(function, "__wrapped__", function)
        if is_ours(function.__module__) and is_ours(getattr(inner, "__module__", None)):
            return
        is_foreign = is_of_a_library(function.__code__.co_filename)
        if is_foreign and not own:
            return
        key = (id(function), *map(id, given), *map(id, by_name.values()))
        if key in self._followed:
            return
        self._followed[key] = (function, given, by_name)
        known = variables_of(function, given, by_name)
        place = function.__qualname__.replace(".<locals>", "")
        for read in reads_of(function.__code__):
            self._resolve(read, function, known, place)

    def _resolve(
        self, read: Read, function: FunctionType, known: Mapping[str, Any], place: str
    ) -> None:
        value = self._root_of(read, function, known, place)
        tier, name, path = VARIABLE, read.root, f"{place}.{read.root}"
        is_argument = read.kind == "local" and read.root not in function.__code__.co_freevars
        if is_argument and any(
            function is one or (isinstance(one, FunctionType) and function is _inner_of(one))
            for base in type(value).__mro__
            for one in vars(base).values()
        ):  # self
            tier, name, path = CLASS, type(value).__name__, type(value).__name__
        is_caller = is_argument and is_engine(value)  # the engine that calls the function
        if not is_argument:
            self.seen.append(value)
        is_saved = is_caller
        for step, key in read.path:
            if isinstance(value, _DATA):
                self.data.setdefault(path, value)
            if isinstance(value, nn.Module | torch.Tensor) or is_own_generator(value):
                break
            if not is_caller:
                # Objects of torch and ignite save their own content.
                is_saved |= self._report_if_saved(tier, name, value, path) or is_ours(
                    type(value).__module__
                )
            if isinstance(value, dict | list | deque) and hasattr(_base_of(value), str(key)):
                # One of its methods is called.
                self.look(name, value, path, tier=tier, is_saved=is_saved)
            found = _step_into(value, step, key)
            if found is _NOT_THERE:
                break
            value, tier, is_caller, path = found, VARIABLE, False, f"{path}.{key}"
            name = key if isinstance(key, str) else f"{name}.{key}"
        if not is_caller:
            self.look(name, value, path, tier=tier, is_saved=is_saved)

    def _root_of(
        self, read: Read, function: FunctionType, known: Mapping[str, Any], place: str
    ) -> Any:
        if read.kind == "import":
            return sys.modules.get(read.root)
        if read.kind == "local":
            return known.get(read.root)
        if read.root in _HIDING and read.root not in function.__globals__:
            self._hide(f"{read.root}() in {place}")
        return function.__globals__.get(read.root)

    def _report_if_saved(self, tier: int, name: str, value: Any, path: str) -> bool:
        """Reports a value if it is an engine or an object with a state; returns whether it is."""
        is_found = is_engine(value) or has_state(value)
        if is_found:
            self._report(tier, name, value, path)
        return is_found

    def look(
        self,
        name: str,
        value: Any,
        path: str,
        depth: int = 0,
        tier: int = VARIABLE,
        is_saved: bool = False,
    ) -> None:
        """Visits a value, which may belong to an object that is saved, and its content."""
        if not is_saved:
            self._record_plain(value, path)
        if isinstance(value, _DATA):
            self.data.setdefault(path, value)
        if isinstance(value, (*_LEAVES, *_DATA)) or depth > _MAX_DEPTH:
            return
        if depth == 0:
            self.seen.append(value)
        is_found = self._report_if_saved(tier, name, value, path)
        kind = type(value)
        if isinstance(value, ModuleType) or (is_found and not isinstance(value, dict)):
            return
        if isinstance(value, FunctionType | MethodType | functools.partial | BuiltinFunctionType):
            self.follow(value)
        elif id(value) in self._looked_at:
            return
        else:
            self._looked_at[id(value)] = value
            self._look_into(kind, value, path, depth, is_saved)

    def _record_plain(self, value: Any, path: str) -> None:
        if isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf:
            self.trained.setdefault(path, value)
        elif isinstance(value, _CHANGING):
            self.plain[path] = value
        elif is_own_generator(value):
            self.generators.setdefault(path, value)

    def _look_into(self, kind: type, value: Any, path: str, depth: int, is_saved: bool) -> None:
        has_our_class = is_ours(kind.__module__)
        parts = _parts_of(kind, value)
        if parts is not None:
            is_state = kind.__name__ == "State" and has_our_class
            self._look_at_each(parts, path, depth + 1, is_saved or is_state)
        elif is_of_the_program(kind) or kind.__name__ == "SimpleNamespace":
            self._look_at_each(attributes_of(value), path, depth + 1, is_saved)
            if callable(value):
                self.follow(value)
        elif (inner := getattr(value, "__wrapped__", None)) is not None and not has_our_class:
            self.follow(inner)
        elif not has_our_class and not kind.__module__.startswith(_INERT):
            self._hide(f"{path} (a {kind.__module__}.{kind.__qualname__})")

    def _hide(self, what: str) -> None:
        if what not in self.hidden:
            self.hidden.append(what)


def _parts_of(kind: type, value: Any) -> Mapping[Any, Any] | None:
    """Returns the content of a container, a class or a state by name: empty if too large, None for other values."""
    if isinstance(value, MappingProxyType) or getattr(kind, "items", None) in _PLAIN_ITEMS:
        return value if len(value) <= _MAX_ITEMS else {}
    # Iterating over other classes may have side effects.
    if getattr(kind, "__iter__", None) in _PLAIN_ITERATION:
        if len(value) > _MAX_ITEMS or (len(value) > _MAX_NUMBERS and _has_only_leaves(value)):
            return {}
        return dict(zip(getattr(kind, "_fields", range(len(value))), value, strict=True))
    if isinstance(value, type):
        names = vars(value) if is_of_the_program(value) else {}
        return {key: one for key, one in names.items() if not isinstance(one, _CODE)}
    if kind.__name__ == "State" and is_ours(kind.__module__):
        return {key: one for key, one in vars(value).items() if key not in _OF_STATE}
    return None


def _inner_of(function: FunctionType) -> Any:
    """Returns the function that a decorator has wrapped, as torch does with ``Optimizer.step``."""
    return vars(function).get("__wrapped__")


def _base_of(container: Any) -> type:
    return next(kind for kind in (dict, list, deque) if isinstance(container, kind))


def _has_only_leaves(values: Any) -> bool:
    return all(
        issubclass(kind, _LEAVES) and kind not in _TENSORS for kind in set(map(type, values))
    )


def _named_arguments(partial: functools.partial[Any]) -> dict[str, Any]:
    code = getattr(getattr(partial.func, "__func__", partial.func), "__code__", None)
    names = (
        code.co_varnames[isinstance(partial.func, MethodType) : code.co_argcount]
        if code is not None
        else ()
    )
    return {**dict(zip(names, partial.args, strict=False)), **partial.keywords}  # fmt: skip


def _same_methods(method: MethodType) -> Iterator[Any]:
    """Yields a method and the methods that it overrides, which it may call by ``super()``."""
    yield method.__func__
    for base in type(method.__self__).__mro__:
        other = vars(base).get(method.__func__.__name__)
        if (
            isinstance(other, FunctionType)
            and other is not method.__func__
            and not is_ours(base.__module__)
        ):
            yield other


def variables_of(
    function: FunctionType, given: tuple[Any, ...], by_name: Mapping[str, Any]
) -> dict[str, Any]:
    """Variables of a function with known values: arguments, defaults, and variables of enclosing functions."""
    code = function.__code__
    known: dict[str, Any] = {}
    parameters = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    known.update(zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True))
    known.update(function.__kwdefaults__ or {})
    known.update(zip(parameters, given, strict=False))
    known.update(by_name)
    rest = list(code.co_varnames[code.co_argcount + code.co_kwonlyargcount :])
    if code.co_flags & 0x04:
        known[rest.pop(0)] = given[code.co_argcount :]
    if code.co_flags & 0x08:
        known[rest.pop(0)] = {
            name: one for name, one in by_name.items() if name not in code.co_varnames
        }
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            known[name] = cell.cell_contents
        except ValueError:  # an unassigned variable
            continue
    return known


def _step_into(value: Any, step: str, key: Any) -> Any:
    """Gets an attribute or an item without running the user's code."""
    if step == "item" or (isinstance(value, Mapping) and not hasattr(type(value), key)):
        try:
            return (
                value[key]
                if isinstance(value, dict | list | tuple | deque | MappingProxyType)
                else _NOT_THERE
            )
        except (KeyError, IndexError, TypeError):
            return _NOT_THERE
    attributes = vars(value) if isinstance(value, ModuleType) else attributes_of(value)
    if key in attributes and not isinstance(value, type):
        return attributes[key]
    for base in value.__mro__ if isinstance(value, type) else type(value).__mro__:
        if key not in vars(base):
            continue
        found = vars(base)[key]
        if isinstance(found, FunctionType) and not isinstance(value, type):
            return MethodType(found, value)
        if isinstance(found, staticmethod | classmethod):
            return found.__func__
        if isinstance(found, property):
            return None if found.fget is None else MethodType(found.fget, value)
        if isinstance(found, functools.cached_property):
            return MethodType(found.func, value)
        return getattr(value, key) if type(found).__name__ == "method_descriptor" else found
    return _NOT_THERE
