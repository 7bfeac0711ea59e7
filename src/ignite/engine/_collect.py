"""What belongs to a run: objects with a state that are attached to an engine, reached by its functions, or given."""

from __future__ import annotations

import functools
import re
import sys
import sysconfig
from collections import OrderedDict, UserDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Sampler

from ignite._core.calls import name_of
from ignite._core.reads import Read, reads_of
from ignite.base import Stateful
from ignite.engine._emitter import Emitter

if TYPE_CHECKING:
    from ignite.engine._dispatch import Registration
    from ignite.engine.engine import Engine


# What a saved run has beside the objects that are found.
RESERVED = ("data", "event", "is_data_set", "is_finished", "random", "results", "trainer")
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_MAX_ITEMS = 10_000  # containers of more are taken for data
_MAX_DEPTH = 8
_DATA = (DataLoader, Dataset, Sampler)
_LEAVES = (bool, int, float, complex, str, bytes, type(None), torch.Tensor, torch.dtype, torch.device)
_HIDING = ("globals", "eval", "exec", "__import__", "locals")
# How sure a name is, the surest first.
_GIVEN, _PART, _PUBLISHED, _VARIABLE, _CLASS = range(5)


class Belongings(NamedTuple):
    """What a run consists of."""

    objects: dict[str, Stateful]
    engines: dict[str, Engine[Any, Any]]
    """The trainer first, then those that run within its handlers."""
    attached: list[Any]
    """Objects behind the handlers, and what the handlers are given, with a state or without."""
    seen: list[Any]
    """Other values that the step and the handlers reach in the script around them."""
    others: dict[str, list[str]]
    alike: list[str]
    """What cannot be told apart: names of which a number is a part."""
    hidden: list[str]
    """What the step and the handlers use, and which could not be looked into."""

    def check(self, given: Mapping[str, Any]) -> None:
        """Looks whether a run that is saved can be resumed with all that it needs.

        Raises:
            ValueError: objects cannot be told apart, or neither a module nor an optimizer was found, and some of what
                the step uses could not be looked into.
        """
        if self.alike:
            raise ValueError(
                f"Objects of a run should have names that tell them apart, but given several of one kind: "
                f"{', '.join(self.alike)}. They would be exchanged if they were attached in another order. Give them "
                "names: Checkpoint.of(trainer, folder, first=..., second=...)"
            )
        has_model = any(_holds_model(one) for one in self.objects.values())
        if self.hidden and not has_model and not any(given.get(name, 0) is None for name in ("model", "optimizer")):
            raise ValueError(
                "A run should be saved with its model and optimizer, but neither was found: "
                f"{', '.join(self.hidden[:3])} could not be looked into. Name them: Checkpoint.of(trainer, folder, "
                "model=model, optimizer=optimizer). A run that has none says so: Checkpoint.of(..., model=None)"
            )


def _holds_model(one: Any) -> bool:
    kinds = (nn.Module, Optimizer)
    return isinstance(one, kinds) or any(isinstance(part, kinds) for part in getattr(one, "__dict__", {}).values())


@dataclass
class _Found:
    """An object with a state, or an engine, and where it was seen."""

    value: Any
    names: dict[tuple[int, str], str] = field(default_factory=dict)
    """How sure a name is, and the name: the whole way to it."""
    entries: list[tuple[Any, Registration]] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, str]:
        return min(self.names, key=lambda name: (name[0], len(self.names[name]), self.names[name]))


def collect(engine: Engine[Any, Any], given: Mapping[str, Any]) -> Belongings:
    """Finds what has to be saved with a run, and names it in the same way in each run of the same program.

    - what is given, under its name; one that is given as None is left out, with what else would have this name;
    - the parts of a supervised step: ``model``, ``optimizer``, ``scaler``, ``window``;
    - what the step and the handlers reach, under the name of the variable, attribute or key: also in containers and
      objects, arguments of partials, and through functions that they call;
    - what is attached: handlers, and objects whose methods are handlers, under their class and, for those that publish
      under a name, this name: ``EarlyStopping``, ``RunningAverage.loss``.

    Where several would have one name, each gets what it differs in: the way to it, what it was made with, or where it
    is attached. The order in which they are found, or attached, is no part of any name.

    Engines among those are looked into as well: an evaluator's early stopping is part of the run.

    Raises:
        TypeError: something given has no ``state_dict`` and ``load_state_dict``.
        ValueError: its name is needed for something else.
    """
    collector = _Collector(engine, {name for name, value in given.items() if value is None})
    for name, value in given.items():
        if name in RESERVED and value is not engine:
            raise ValueError(f"An object should have another name than {', '.join(RESERVED)}, but given {name}")
        if value is not None and not _is_engine(value) and not isinstance(value, Stateful):
            raise TypeError(
                f"{name} should have state_dict and load_state_dict, but given {type(value).__name__}. "
                f"To leave out what is found under this name, give {name}=None"
            )
        if value is not None:
            collector.add(_GIVEN, name, value)
    for one in collector.engines():
        collector.look_at(one)
    return collector.result()


class _Collector:
    def __init__(self, engine: Engine[Any, Any], excluded: set[str]) -> None:
        self._trainer = engine
        self._excluded = excluded
        self._objects: dict[int, _Found] = {}
        self._engines: dict[int, _Found] = {id(engine): _Found(engine, {(_GIVEN, "trainer"): "trainer"})}
        self._reset: dict[int, Any] = {}
        self._reach = _Reach(self.add)
        self._attached: list[Any] = []

    def engines(self) -> Iterator[Engine[Any, Any]]:
        """The trainer, then those that are found in the meantime."""
        done: set[int] = set()
        while pending := [found.value for key, found in self._engines.items() if key not in done]:
            done.add(id(pending[0]))
            yield pending[0]

    def add(self, tier: int, name: str, value: Any, path: str | None = None) -> None:
        if name in self._excluded or path in self._excluded:
            return
        if _is_engine(value):
            found = self._engines.setdefault(id(value), _Found(value))
        elif tier == _GIVEN or _has_state(value):
            found = self._objects.setdefault(id(value), _Found(value))
        else:
            return
        found.names.setdefault((tier, name), path or name)

    def look_at(self, engine: Engine[Any, Any]) -> None:
        parts = getattr(engine._process_function, "parts", None)
        if callable(parts):
            for name, part in parts().items():
                self.add(_PART, name, part)
        entries = [entry for table in engine._tables.values() for entry in table.entries]
        for entry in entries:
            self._add_attached(engine, entry)
        for function, arguments in [(engine._process_function, (engine,)), *_handlers_of(engine, entries)]:
            self._reach.follow(function, arguments, is_own=True)

    def _add_attached(self, engine: Engine[Any, Any], entry: Registration) -> None:
        published = next((argument for argument in entry.args if isinstance(argument, str)), None)
        owners = list(objects_behind(entry.handler))
        for owner in (*owners, *entry.args, *entry.kwargs.values()):
            self._attached.append(owner)
            begins_anew = hasattr(type(owner), "_begins_anew_with") and owner._begins_anew_with(engine)
            if engine is not self._trainer and begins_anew:
                self._reset[id(owner)] = owner
                continue
            kind = type(owner).__name__
            self.add(_CLASS, kind, owner)
            found = self._objects.get(id(owner)) or self._engines.get(id(owner))
            if found is None:
                continue
            if published is not None and any(owner is one for one in owners):
                self.add(_PUBLISHED, f"{kind}.{published}", owner)
            found.entries.append((engine, entry))

    def _is_reset(self, found: _Found) -> bool:
        """Whether each run of an engine within the trainer's begins anew with it, and the trainer has no use of it."""
        is_given = any(tier == _GIVEN for tier, _ in found.names)
        return id(found.value) in self._reset and not is_given and not found.entries

    def result(self) -> Belongings:
        engines, alike_engines, _ = _named(self._engines.values(), {}, ())
        names = {id(one): name for name, one in engines.items()}
        belong = [found for found in self._objects.values() if not self._is_reset(found)]
        objects, alike, others = _named(belong, names, RESERVED)
        objects = {name: one for name, one in objects.items() if name not in self._excluded}
        with_results = [name for name in alike_engines if engines[name].state.metrics]
        return Belongings(
            objects, engines, self._attached, self._reach.seen, others, [*with_results, *alike], self._reach.hidden
        )


def _is_engine(value: Any) -> bool:
    return isinstance(value, Emitter)


def _has_state(value: Any) -> bool:
    """Whether an object that was found, not given, has a state of its own that belongs to a run."""
    kind = type(value)  # asked in its place, because metrics have every attribute, to compute with
    if isinstance(value, type | ModuleType | DataLoader) or hasattr(kind, "_saves_runs"):
        return False
    if not all(callable(getattr(kind, name, None)) for name in ("state_dict", "load_state_dict")):
        return False
    if isinstance(value, torch.nn.Module):  # a loss, an activation
        return any(True for _ in value.parameters()) or any(True for _ in value.buffers())
    return not hasattr(kind, "set_epoch")  # positions in data are saved with the data of the run


def objects_behind(handler: Any) -> Iterator[Any]:
    """The object whose method or instance a handler is, and what a partial binds."""
    while isinstance(handler, functools.partial):
        yield from (*handler.args, *handler.keywords.values())
        handler = handler.func
    if isinstance(handler, MethodType):
        yield handler.__self__
    elif not isinstance(handler, FunctionType):
        yield handler


def _handlers_of(engine: Any, entries: Iterable[Registration]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Each handler, and what it is called with, as far as that is known."""
    for entry in entries:
        yield entry.handler, ((engine, *entry.args) if entry.takes_engine else entry.args)


def is_of_a_library(path: str) -> bool:
    """Whether a source file is of Python or of a package that is installed."""
    return path.startswith(_LIBRARIES)


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("ignite", "torch")


class _Reach:
    """Goes from functions to what they reach: variables, attributes, keys, arguments, and functions that they call.

    Args:
        tell: told each value: how sure its name is, the name, the value, and the way to it.
    """

    def __init__(self, tell: Callable[[int, str, Any, str], None]) -> None:
        self.seen: list[Any] = []
        self.hidden: list[str] = []
        self._tell = tell
        self._followed: dict[tuple[int, ...], Any] = {}
        self._looked_at: dict[int, Any] = {}
        self._owners: dict[int, Any] = {}

    def follow(self, function: Any, arguments: tuple[Any, ...] = (), is_own: bool = False, where: str = "") -> None:
        """Looks at what a callable reaches if it is called with these arguments, as far as they are known."""
        pending: deque[Any] = deque([(function, arguments, {}, is_own)])
        while pending:
            current, given, by_name, own = pending.popleft()
            if isinstance(current, functools.partial):
                pending.append((current.func, (*current.args, *given), {**current.keywords, **by_name}, own))
                self._look_at_each(_named_arguments(current), "")
            elif isinstance(current, MethodType):
                if own and not _is_ours(type(current.__self__).__module__):
                    self._look_at_owner(current.__self__)
                for method in _same_methods(current):
                    pending.append((method, (current.__self__, *given), by_name, own))
            elif isinstance(current, FunctionType):
                self._follow_function(current, given, by_name, own)
                if (inner := vars(current).get("__wrapped__")) is not None:
                    pending.append((inner, given, by_name, own))
            elif not isinstance(current, type):
                self._follow_object(current, given, pending, own)

    def _follow_object(self, current: Any, given: tuple[Any, ...], pending: deque[Any], own: bool) -> None:
        kind = type(current)
        if isinstance(current, BuiltinFunctionType) or kind.__name__ == "method-wrapper":
            owner = current.__self__
            if owner is not None and not isinstance(owner, ModuleType | type):
                self.look("", owner, "")
        elif (inner := getattr(current, "__wrapped__", None)) is not None and not _is_ours(kind.__module__):
            pending.append((inner, given, {}, own))
        elif _is_ours(kind.__module__):
            if callable(getattr(current, "parts", None)):  # a supervised step
                self._look_at_each(vars(current), kind.__name__)
        else:
            self._look_at_owner(current)
            call = kind.__dict__.get("__call__") or getattr(kind, "__call__", None)  # noqa: B004 - the function itself
            if isinstance(call, FunctionType) and not isinstance(current, nn.Module):
                pending.append((MethodType(call, current), given, {}, own))

    def _look_at_owner(self, owner: Any) -> None:
        """Looks at an object whose methods are used, with all that it holds."""
        self._tell(_CLASS, type(owner).__name__, owner, type(owner).__name__)
        if id(owner) not in self._owners:
            self._owners[id(owner)] = owner
            self._look_at_each(_attributes_of(owner), "")

    def _look_at_each(self, values: Mapping[Any, Any], path: str, depth: int = 0) -> None:
        for key, value in list(values.items()):
            name = key if isinstance(key, str) else f"{path.rpartition('.')[2]}.{key}"
            self.look(name, value, f"{path}.{key}" if path else str(key), depth)

    def _follow_function(
        self, function: FunctionType, given: tuple[Any, ...], by_name: Mapping[str, Any], own: bool
    ) -> None:
        if _is_ours(function.__module__) and not hasattr(function, "__wrapped__"):
            return
        is_foreign = is_of_a_library(function.__code__.co_filename)
        if is_foreign and not own:
            return
        key = (id(function), *map(id, given), *map(id, by_name.values()))
        if key in self._followed:
            return
        self._followed[key] = (function, given, by_name)
        known = _known_in(function, given, by_name)
        place = function.__qualname__.replace(".<locals>", "")
        for read in reads_of(function.__code__):
            self._resolve(read, function, known, place)

    def _resolve(self, read: Read, function: FunctionType, known: Mapping[str, Any], place: str) -> None:
        value = self._root_of(read, function, known, place)
        tier, name, path = _VARIABLE, read.root, f"{place}.{read.root}"
        is_argument = read.kind == "local" and read.root not in function.__code__.co_freevars
        if is_argument and any(function is one for base in type(value).__mro__ for one in vars(base).values()):  # self
            tier, name, path = _CLASS, type(value).__name__, type(value).__name__
        is_engine = is_argument and _is_engine(value)  # the one that calls it
        if not is_argument:
            self.seen.append(value)
        for step, key in read.path:
            if isinstance(value, nn.Module):
                break
            if not is_engine:
                self._tell(tier, name, value, path)
            found = _step_into(value, step, key)
            if found is _NOT_THERE:
                break
            value, tier, is_engine, path = found, _VARIABLE, False, f"{path}.{key}"
            name = key if isinstance(key, str) else f"{name}.{key}"
        if not is_engine:
            self.look(name, value, path, tier=tier)

    def _root_of(self, read: Read, function: FunctionType, known: Mapping[str, Any], place: str) -> Any:
        if read.kind == "import":
            return sys.modules.get(read.root)
        if read.kind == "local":
            return known.get(read.root)
        if read.root in _HIDING and read.root not in function.__globals__:
            self._hide(f"{read.root}() in {place}")
        return function.__globals__.get(read.root)

    def look(self, name: str, value: Any, path: str, depth: int = 0, tier: int = _VARIABLE) -> None:
        """Looks at a value, and at what it holds."""
        if isinstance(value, (*_LEAVES, *_DATA)) or depth > _MAX_DEPTH:
            return
        if depth == 0:
            self.seen.append(value)
        self._tell(tier, name, value, path)
        kind = type(value)
        if isinstance(value, ModuleType) or _is_engine(value) or (_has_state(value) and not isinstance(value, dict)):
            return
        if isinstance(value, FunctionType | MethodType | functools.partial | BuiltinFunctionType):
            self.follow(value)
        elif id(value) in self._looked_at:
            return
        else:
            self._looked_at[id(value)] = value
            self._look_into(kind, name, value, path, depth)

    def _look_into(self, kind: type, name: str, value: Any, path: str, depth: int) -> None:
        if isinstance(value, MappingProxyType) or getattr(kind, "items", None) in _PLAIN_ITEMS:
            if len(value) <= _MAX_ITEMS:
                self._look_at_each(value, path, depth + 1)
        elif getattr(kind, "__iter__", None) in _PLAIN_ITERATION:  # others may do anything when iterated over
            if len(value) <= _MAX_ITEMS and not all(issubclass(one, _LEAVES) for one in set(map(type, value))):
                keys = getattr(kind, "_fields", range(len(value)))
                self._look_at_each(dict(zip(keys, value, strict=True)), path, depth + 1)
        elif isinstance(value, type):
            if _is_of_the_program(value):
                self._look_at_each(
                    {key: one for key, one in vars(value).items() if not isinstance(one, _CODE)}, path, depth + 1
                )
        elif kind.__name__ == "State" and _is_ours(kind.__module__):
            self._look_at_each({key: one for key, one in vars(value).items() if key not in _OF_STATE}, path, depth + 1)
        elif _is_of_the_program(kind) or kind.__name__ == "SimpleNamespace":
            self._look_at_each(_attributes_of(value), path, depth + 1)
            if callable(value):
                self.follow(value)
        elif (inner := getattr(value, "__wrapped__", None)) is not None and not _is_ours(kind.__module__):
            self.follow(inner)
        elif not _is_ours(kind.__module__) and not kind.__module__.startswith(_INERT):
            self._hide(f"{path} (a {kind.__module__}.{kind.__qualname__})")

    def _hide(self, what: str) -> None:
        if what not in self.hidden:
            self.hidden.append(what)


_OF_STATE = ("batch", "output", "metrics", "dataloader", "times", "_event_counts", "_own_event_to_attr")
_INERT = (
    "numpy", "logging", "pathlib", "threading", "_thread", "random", "datetime", "time", "tqdm", "re", "enum",
    "collections", "decimal", "fractions", "io", "_io", "unittest", "argparse",
)  # fmt: skip
_PLAIN_ITEMS = (dict.items, OrderedDict.items, UserDict.items)
_PLAIN_ITERATION = tuple(kind.__iter__ for kind in (list, tuple, set, frozenset, deque))
_NOT_THERE = object()
_CODE = (FunctionType, property, staticmethod, classmethod)


def _named_arguments(partial: functools.partial[Any]) -> dict[str, Any]:
    code = getattr(getattr(partial.func, "__func__", partial.func), "__code__", None)
    names = code.co_varnames[isinstance(partial.func, MethodType) : code.co_argcount] if code is not None else ()
    return {**dict(zip(names, partial.args, strict=False)), **partial.keywords}  # fmt: skip


def _same_methods(method: MethodType) -> Iterator[Any]:
    """A method and those of the classes below, which it may call by ``super()``."""
    yield method.__func__
    for base in type(method.__self__).__mro__:
        other = vars(base).get(method.__func__.__name__)
        if isinstance(other, FunctionType) and other is not method.__func__ and not _is_ours(base.__module__):
            yield other


def _known_in(function: FunctionType, given: tuple[Any, ...], by_name: Mapping[str, Any]) -> dict[str, Any]:
    """Values of variables within a function: arguments, defaults, and variables of functions around it."""
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
        known[rest.pop(0)] = {name: one for name, one in by_name.items() if name not in code.co_varnames}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            known[name] = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    return known


def _step_into(value: Any, step: str, key: Any) -> Any:
    """An attribute, or what stands under a key, without running code of the program."""
    if step == "item" or (isinstance(value, Mapping) and not hasattr(type(value), key)):
        try:
            return value[key] if isinstance(value, dict | list | tuple | deque | MappingProxyType) else _NOT_THERE
        except (KeyError, IndexError, TypeError):
            return _NOT_THERE
    attributes = vars(value) if isinstance(value, ModuleType) else _attributes_of(value)
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


def _attributes_of(value: Any) -> dict[str, Any]:
    found = dict(getattr(value, "__dict__", {}))
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and not name.startswith("__"):
                member = _NOT_THERE if not hasattr(value, name) else getattr(value, name)
                if member is not _NOT_THERE:
                    found.setdefault(name, member)
    return found


def _is_of_the_program(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    path = getattr(module, "__file__", None)
    if kind.__module__ == "__main__" or module is None:
        return True
    return path is not None and not _is_ours(kind.__module__) and not is_of_a_library(path)


def _named(
    founds: Iterable[_Found], engines: Mapping[int, str], reserved: tuple[str, ...]
) -> tuple[dict[str, Any], list[str], dict[str, list[str]]]:
    """Objects by name, names that could not be made to differ, and the further names of each object."""
    groups: dict[str, list[_Found]] = {}
    for found in founds:
        groups.setdefault(found.best[1], []).append(found)
    bases = {id(found.value): found.best[1] for found in founds}
    names: dict[int, str] = {}
    for base, members in groups.items():
        first = min(found.best[0] for found in members)
        top = [found for found in members if found.best[0] == first]
        rest = members
        if len(top) == 1:
            names[id(top[0].value)] = base
            rest = [found for found in members if found is not top[0]]
        if rest:
            told = _told_apart(base, rest, engines, bases)
            names.update((id(found.value), text) for found, text in zip(rest, told, strict=True))
    result: dict[str, Any] = {}
    alike, others = [], {}
    for found in founds:
        wanted = names[id(found.value)]
        name = _free(wanted, result, reserved)
        if name != wanted and wanted not in reserved:
            alike.append(name)
        result[name] = found.value
        is_given = found.best[0] == _GIVEN  # the program says how it is called
        others[name] = [] if is_given else [one for _, one in found.names if one != name]
    return result, alike, others


def _free(name: str, *taken: Mapping[str, Any] | tuple[str, ...]) -> str:
    """The name, or with a number if it is taken."""
    candidate, number = name, 1
    while any(candidate in names for names in taken):
        number += 1
        candidate = f"{name}#{number}"
    return candidate


def _told_apart(base: str, members: list[_Found], engines: Mapping[int, str], bases: Mapping[int, str]) -> list[str]:
    """A name for each, made of what they differ in; equal names where they do not differ."""
    paths = [found.names[found.best] if found.best[0] == _VARIABLE else "" for found in members]
    if len(set(paths)) == len(members) and all(paths):
        return paths
    marks = [
        [_made_with(found.value, bases, engines) for found in members],
        [_attached_at(found, engines) for found in members],
    ]
    for texts in (*marks, [f"{path}; {a}; {b}" for path, a, b in zip(paths, *marks, strict=True)]):
        if len(set(texts)) == len(members) and all(texts):
            return [f"{base}({text})" for text in texts]
    return [f"{base}({text})" for text in texts]


def _attached_at(found: _Found, engines: Mapping[int, str]) -> str:
    texts = set()
    for engine, entry in found.entries:
        where = engines.get(id(engine), "")
        event = re.sub(r"^\w+\.| at 0x[0-9a-f]+", "", repr(entry.event))
        texts.add(f"{where} {event} {name_of(entry.handler).rpartition('.')[2]}")
    return ", ".join(sorted(texts))


def _made_with(value: Any, bases: Mapping[int, str], engines: Mapping[int, str]) -> str:
    """What an object was made with, as far as it keeps it and does not change it."""
    if isinstance(value, nn.Module | Optimizer) or _is_engine(value):
        return ""
    parameters = getattr(type(value).__init__, "__code__", None)
    if parameters is None:
        return ""
    state, held = value.state_dict(), getattr(value, "__dict__", {})
    texts = []
    for name in parameters.co_varnames[1 : parameters.co_argcount + parameters.co_kwonlyargcount]:
        one = held.get(name, held.get(f"_{name}"))
        text = engines.get(id(one)) or bases.get(id(one)) or _text_of(one)
        if text is not None and name not in state:
            texts.append(f"{name}={text}")
    return ", ".join(texts)


def _text_of(value: Any) -> str | None:
    if isinstance(value, functools.partial):
        return f"{_text_of(value.func)}{value.args!r:.100}"
    if isinstance(value, MethodType):
        return f"{type(value.__self__).__name__}.{value.__func__.__name__}"
    if isinstance(value, FunctionType):
        code = value.__code__
        inner = _known_in(value, (), {})
        held = [f"{name}={one!r:.40}" for name, one in inner.items() if isinstance(one, bool | int | float | str)]
        if code.co_name == "<lambda>":
            constants = [repr(one) for one in code.co_consts if isinstance(one, bool | int | float | str)]
            return f"lambda {' '.join([*code.co_names, *constants, *held])}"
        return f"{value.__qualname__.replace('.<locals>', '')}{f'({chr(44).join(held)})' if held else ''}"
    return repr(value) if isinstance(value, bool | int | float | str) else None
