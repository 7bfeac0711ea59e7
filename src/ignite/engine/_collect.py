"""What belongs to a run: every object with a state that is attached to an engine, used by its functions, or given."""

from __future__ import annotations

import functools
import sysconfig
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from ignite.base import Stateful
from ignite.engine._emitter import Emitter

if TYPE_CHECKING:
    from ignite.engine.engine import Engine


RESERVED = ("data", "event", "is_data_set", "is_finished", "random", "results", "trainer")
"""What a saved run has beside the objects that are found."""
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Belongings(NamedTuple):
    """What a run consists of."""

    objects: dict[str, Stateful]
    engines: dict[str, Engine[Any, Any]]
    """The trainer first, then those that run within its handlers."""
    attached: list[Any]
    """Objects behind the handlers, and what the handlers are given, with a state or without."""
    seen: list[Any]
    """Other values that the step and the handlers use from the script around them."""


def collect(engine: Engine[Any, Any], given: Mapping[str, Any]) -> Belongings:
    """Finds what has to be saved with a run, and names it in the same way in each run of the same program.

    In this order, each object once, under its first name:

    - what is given, under its name; one that is given as None is left out, with what else would have this name;
    - the parts of a supervised step: ``model``, ``optimizer``, ``scaler``, ``window``;
    - what is attached: handlers, and objects whose methods are handlers, under their class and, for those that publish
      under a name, this name: ``EarlyStopping``, ``RunningAverage.loss``;
    - what the step and the handlers use from the script around them, under the name of the variable or attribute.

    Engines among those are looked into as well: an evaluator's early stopping is part of the run.

    Raises:
        TypeError: something given has no ``state_dict`` and ``load_state_dict``.
        ValueError: its name is needed for something else.
    """
    collector = _Collector(engine, {name for name, value in given.items() if value is None})
    seen = []
    for name, value in given.items():
        if name in RESERVED and value is not engine:
            raise ValueError(f"An object should have another name than {', '.join(RESERVED)}, but given {name}")
        if value is not None and not _is_engine(value) and not isinstance(value, Stateful):
            raise TypeError(
                f"{name} should have state_dict and load_state_dict, but given {type(value).__name__}. "
                f"To leave out what is found under this name, give {name}=None"
            )
        if value is not None:
            collector.add(name, value, is_given=True)
    for one in collector.engines():
        collector.add_parts(one)
        collector.add_attached(one)
        for name, value in _used_by(one):
            collector.add(name, value)
            seen.append(value)
    return Belongings(collector.found, collector.found_engines, collector.attached, seen)


class _Collector:
    def __init__(self, engine: Engine[Any, Any], excluded: set[str]) -> None:
        self.found: dict[str, Stateful] = {}
        self.found_engines = {"trainer": engine}
        self.attached: list[Any] = []
        self._trainer = engine
        self._excluded = excluded
        self._seen: dict[int, Any] = {id(engine): engine}  # by id, with the object, so that no id is used twice
        self._queue = [engine]

    def engines(self) -> Iterator[Engine[Any, Any]]:
        """The trainer, then those that are found in the meantime."""
        yield from self._queue  # a list may grow while it is walked through

    def add(self, name: str, value: Any, is_given: bool = False) -> None:
        if id(value) in self._seen or name in self._excluded:
            return
        if _is_engine(value):
            self._seen[id(value)] = value
            self._queue.append(value)
            self.found_engines[_free(name, self.found_engines)] = value
        elif is_given or _has_state(value):
            self._seen[id(value)] = value
            self.found[_free(name, self.found, RESERVED)] = value

    def add_parts(self, engine: Engine[Any, Any]) -> None:
        parts = getattr(engine._process_function, "parts", None)
        if callable(parts):
            for name, part in parts().items():
                self.add(name, part)

    def add_attached(self, engine: Engine[Any, Any]) -> None:
        names: dict[int, str] = {}
        for owner, name in _attached_to(engine):
            if name is not None:
                names.setdefault(id(owner), f"{type(owner).__name__}.{name}")
        for owner, _ in _attached_to(engine):
            self.attached.append(owner)
            begins_anew = hasattr(type(owner), "_begins_anew_with") and owner._begins_anew_with(engine)
            if engine is not self._trainer and begins_anew:
                self._seen[id(owner)] = owner
            else:
                self.add(names.get(id(owner), type(owner).__name__), owner)


def _free(name: str, *taken: Mapping[str, Any] | tuple[str, ...]) -> str:
    """The name, or with a number if it is taken."""
    candidate, number = name, 1
    while any(candidate in names for names in taken):
        number += 1
        candidate = f"{name}#{number}"
    return candidate


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


def _attached_to(engine: Engine[Any, Any]) -> Iterator[tuple[Any, str | None]]:
    """Objects behind the handlers of an engine, in the order of events, and under which name they publish."""
    for table in engine._tables.values():
        for entry in table.entries:
            name = next((argument for argument in entry.args if isinstance(argument, str)), None)
            for owner in objects_behind(entry.handler):
                yield owner, name
            for argument in (*entry.args, *entry.kwargs.values()):
                yield argument, None


def objects_behind(handler: Any) -> Iterator[Any]:
    """The object whose method or instance a handler is, and what a partial binds."""
    while isinstance(handler, functools.partial):
        yield from (*handler.args, *handler.keywords.values())
        handler = handler.func
    if isinstance(handler, MethodType):
        yield handler.__self__
    elif not isinstance(handler, FunctionType):
        yield handler


def _used_by(engine: Engine[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values that the step and the handlers take from the script around them, also through its functions."""
    entries = [entry for table in engine._tables.values() for entry in table.entries]
    pending: list[Any] = [engine._process_function, *(entry.handler for entry in entries)]
    own, seen = set(map(id, pending)), set()
    while pending:
        current = pending.pop(0)
        code = getattr(current, "__code__", None)
        is_foreign = code is not None and is_of_a_library(code.co_filename)
        if id(current) in seen or (id(current) not in own and is_foreign):
            continue
        seen.add(id(current))
        for name, value in _variables_of(current):
            yield name, value
            if isinstance(value, FunctionType | functools.partial):
                pending.append(value)


def is_of_a_library(path: str) -> bool:
    """Whether a source file is of Python or of a package that is installed."""
    return path.startswith(_LIBRARIES)


def _variables_of(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function can see: variables around it, those of its module that it names, attributes of its object."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, MethodType):
        owner, function = function.__self__, function.__func__
        if not type(owner).__module__.startswith(("ignite.", "torch.")):
            yield from getattr(owner, "__dict__", {}).items()
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, FunctionType) or (function.__module__ or "").startswith(("ignite.", "torch.")):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    for name in global_names(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def global_names(code: CodeType) -> Iterator[str]:
    """Names that a function looks up outside of itself, and attributes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from global_names(constant)
