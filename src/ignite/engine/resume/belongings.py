"""Finds the objects that belong to a run, starting from its engine, and names them for a checkpoint."""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ignite._core.calls import name_of
from ignite.base import Stateful
from ignite.engine._emitter import Emitter
from ignite.engine._handlers import objects_behind
from ignite.engine.resume._reachable import (
    CLASS,
    GIVEN,
    PART,
    PUBLISHED,
    VARIABLE,
    Reach,
    has_state,
    is_engine,
    variables_of,
)
from ignite.engine.resume.unsaved import (
    FREE,
    FreeParameters,
    free_parameters,
    unsaved_values_in,
    unsaved_values_of,
)

if TYPE_CHECKING:
    from ignite.engine._handlers import Registration

__all__ = ["RESERVED", "Belongings", "collect", "objects_behind"]

# Keys of a saved run other than the names of objects.
RESERVED = (
    "data",
    "event",
    "is_data_set",
    "is_finished",
    "random",
    "results",
    "trainer",
    "accumulated",
    "by_rank",
)


class Belongings(NamedTuple):
    """The objects that belong to a run."""

    objects: dict[str, Stateful]
    engines: dict[str, Any]
    """The trainer, then engines that run within its handlers."""
    attached: list[Any]
    """Objects whose methods are handlers, and arguments of handlers, with or without a state."""
    seen: list[Any]
    """Other values that the step and the handlers use."""
    others: dict[str, list[str]]
    """Alternative names of each object."""
    alike: list[str]
    """Numbered names of objects that cannot be distinguished."""
    hidden: list[str]
    """Values that the step and the handlers use, but that could not be inspected."""
    plain: dict[str, Any]
    """Numbers and tensors that the step and the handlers use, and that no object with a state holds."""
    generators: dict[str, Any]
    """Random number generators created by the program that the step and the handlers use."""
    data: dict[str, Any]
    """Loaders, datasets and samplers that they use."""

    def check(self, given: Mapping[str, Any]) -> None:
        """Checks that a saved run can be resumed.

        Raises:
            ValueError: objects cannot be distinguished; or no module and no optimizer, or not the
                module with the parameters of an optimizer, was found, and a value that the step
                uses could not be inspected.
        """
        if self.alike:
            raise ValueError(
                "Objects of a run should have different names, but given several objects that "
                f"cannot be distinguished: {', '.join(self.alike)}. If they were attached in another "
                "order, their states would be swapped. Name them: Checkpoint.of(trainer, folder, "
                "first=..., second=...)"
            )
        if not self.hidden or any(given.get(name, 0) is None for name in ("model", "optimizer")):
            return
        free = [
            name
            for name, one in self.objects.items()
            if isinstance(one, FreeParameters) and name != FREE
        ]
        if free:
            # The module of these parameters may have buffers, too.
            raise ValueError(
                "A run should be saved with the module whose parameters it trains, but it was not "
                f"found for {' and '.join(free)}: "
                f"{', '.join(self.hidden[:3])} could not be inspected. Name it: "
                "Checkpoint.of(trainer, folder, model=model). For parameters without a module, pass "
                "a ParameterList"
            )
        if not any(_holds_model(one) for one in self.objects.values()):
            raise ValueError(
                "A run should be saved with its model and optimizer, but neither was found: "
                f"{', '.join(self.hidden[:3])} could not be inspected. Name them: "
                "Checkpoint.of(trainer, folder, model=model, optimizer=optimizer). If the run has "
                "none, pass model=None: Checkpoint.of(..., model=None)"
            )


def _holds_model(one: Any) -> bool:
    kinds = (nn.Module, Optimizer)
    return isinstance(one, kinds) or any(
        isinstance(part, kinds) for part in getattr(one, "__dict__", {}).values()
    )


@dataclass
class _Found:
    """An object with a state, or an engine, and where it was found."""

    value: Any
    names: dict[tuple[int, str], str] = field(default_factory=dict)
    """The path to the object, by its name and the source of the name."""
    entries: list[tuple[Any, Registration]] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, str]:
        return min(self.names, key=lambda name: (name[0], len(self.names[name]), self.names[name]))


def collect(engine: Emitter, given: Mapping[str, Any]) -> Belongings:
    """Finds the objects to save with a run, and gives them names that are the same in each run of the program.

    - Objects in ``given`` keep their names. A name with the value None excludes the object that
      would otherwise have this name.
    - The parts of a supervised step are ``model``, ``optimizer``, ``scaler`` and ``window``.
    - Objects that the step and the handlers use are named after the variable, attribute or key.
      This includes objects in containers and other objects, in arguments of partials, and in
      functions that are called.
    - Attached handlers, and objects whose methods are handlers, are named after their class and, if
      they publish a value under a name, after this name: ``EarlyStopping``, ``RunningAverage.loss``.
    - Tensors with ``requires_grad`` that the step and the handlers use, and that belong to none of
      these, are ``free.parameters``; other parameters of an optimizer are ``<its name>.parameters``.

    If several objects would have the same name, their differences are added to it: the path, the
    arguments, or the event of attachment. Names do not depend on the order in which objects are
    found or attached.

    Engines among these objects are searched, too, so an evaluator's early stopping is part of the
    run.

    Raises:
        TypeError: a given object has no ``state_dict`` and ``load_state_dict``.
        ValueError: the name of a given object is reserved.
    """
    collector = _Collector(engine, {name for name, value in given.items() if value is None})
    for name, value in given.items():
        if name in RESERVED and value is not engine:
            raise ValueError(
                f"name of an object should not be one of {', '.join(RESERVED)}, but given {name}"
            )
        if value is not None and not is_engine(value) and not isinstance(value, Stateful):
            raise TypeError(
                f"{name} should have state_dict and load_state_dict, but given "
                f"{type(value).__name__}. To exclude the object of this name, pass {name}=None"
            )
        if value is not None:
            collector.add(GIVEN, name, value)
    for one in collector.engines():
        collector.look_at(one)
    return collector.result()


class _Collector:
    def __init__(self, engine: Emitter, excluded: set[str]) -> None:
        self._trainer = engine
        self._excluded = excluded
        self._objects: dict[int, _Found] = {}
        self._engines: dict[int, _Found] = {
            id(engine): _Found(engine, {(GIVEN, "trainer"): "trainer"})
        }
        self._reset: dict[int, Any] = {}
        self._left_out: list[Any] = []
        # A reference cycle would keep the model in memory until the garbage collector runs.
        self._reach = Reach(functools.partial(_Collector._record, weakref.proxy(self)))
        self._attached: list[Any] = []

    def engines(self) -> Iterator[Emitter]:
        """Yields the trainer, then the engines found during the iteration."""
        done: set[int] = set()
        while pending := [found.value for key, found in self._engines.items() if key not in done]:
            done.add(id(pending[0]))
            yield pending[0]

    def add(self, tier: int, name: str, value: Any, path: str | None = None) -> None:
        """Adds a value if it is given, is an engine or has a state."""
        if tier == GIVEN or is_engine(value) or has_state(value):
            self._record(tier, name, value, path)

    def _record(self, tier: int, name: str, value: Any, path: str | None = None) -> None:
        if name in self._excluded or path in self._excluded:
            self._left_out.append(value)
            return
        found = (self._engines if isinstance(value, Emitter) else self._objects).setdefault(
            id(value), _Found(value)
        )
        found.names.setdefault((tier, name), path or name)

    def look_at(self, engine: Emitter) -> None:
        parts = getattr(engine._process_function, "parts", None)
        if callable(parts):
            for name, part in parts().items():
                self.add(PART, name, part)
        entries = engine._tables.entries()
        for entry in entries:
            self._add_attached(engine, entry)
        for function, arguments in [
            (engine._process_function, (engine,)),
            *_handlers_of(engine, entries),
        ]:
            self._reach.follow(function, arguments, is_own=True)

    def _add_attached(self, engine: Emitter, entry: Registration) -> None:
        published = next((argument for argument in entry.args if isinstance(argument, str)), None)
        owners = list(objects_behind(entry.handler))
        for i, one in enumerate((*entry.args, *entry.kwargs.values())):
            if isinstance(one, DataLoader):
                self._reach.data.setdefault(f"{name_of(entry.handler)}.{i}", one)
        for owner in (*owners, *entry.args, *entry.kwargs.values()):
            self._attached.append(owner)
            begins_anew = hasattr(type(owner), "begins_anew_with") and owner.begins_anew_with(
                engine
            )
            if engine is not self._trainer and begins_anew:
                self._reset[id(owner)] = owner
                continue
            kind = type(owner).__name__
            self.add(CLASS, kind, owner)
            found = self._objects.get(id(owner)) or self._engines.get(id(owner))
            if found is None:
                continue
            if published is not None and any(owner is one for one in owners):
                self.add(PUBLISHED, f"{kind}.{published}", owner)
            found.entries.append((engine, entry))

    def _is_reset(self, found: _Found) -> bool:
        """Whether runs of nested engines reset the object, and the trainer does not use it."""
        is_given = any(tier == GIVEN for tier, _ in found.names)
        return id(found.value) in self._reset and not is_given and not found.entries

    def result(self) -> Belongings:
        engines, alike_engines, _ = _named(self._engines.values(), {}, ())
        names = {id(one): name for name, one in engines.items()}
        belong = [found for found in self._objects.values() if not self._is_reset(found)]
        objects, alike, others = _named(belong, names, RESERVED)
        free = free_parameters(objects, self._left_out, self._reach.trained)
        objects = {
            name: one for name, one in {**free, **objects}.items() if name not in self._excluded
        }
        others = {**{name: [] for name in free}, **others}
        of_modules = (
            pair
            for name, one in objects.items()
            if isinstance(one, nn.Module)
            for pair in unsaved_values_of(name, one)
        )
        of_optimizers = (
            pair
            for name, one in objects.items()
            if isinstance(one, Optimizer)
            for pair in unsaved_values_in(name, one)
        )
        with_results = [name for name in alike_engines if engines[name].state.metrics]
        return Belongings(
            objects,
            engines,
            self._attached,
            self._reach.seen,
            others,
            [*with_results, *alike],
            self._reach.hidden,
            {**self._reach.plain, **dict(of_modules), **dict(of_optimizers)},
            self._reach.generators,
            self._reach.data,
        )


def _handlers_of(
    engine: Any, entries: Iterable[Registration]
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yields each handler with its arguments, as far as they are known."""
    for entry in entries:
        yield entry.handler, ((engine, *entry.args) if entry.takes_engine else entry.args)


def _named(
    founds: Iterable[_Found], engines: Mapping[int, str], reserved: tuple[str, ...]
) -> tuple[dict[str, Any], list[str], dict[str, list[str]]]:
    """Returns objects by name, names that could not be made unique, and the alternative names of each object."""
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
            unique = _distinguish(base, rest, engines, bases)
            names.update((id(found.value), text) for found, text in zip(rest, unique, strict=True))
    result: dict[str, Any] = {}
    alike, others = [], {}
    for found in founds:
        wanted = names[id(found.value)]
        name = _free(wanted, result, reserved)
        if name != wanted and wanted not in reserved:
            alike.append(name)
        result[name] = found.value
        is_given = found.best[0] == GIVEN  # the user has named it
        others[name] = [] if is_given else [one for _, one in found.names if one != name]
    return result, alike, others


def _free(name: str, *taken: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Returns the name, with a number if it is taken."""
    candidate, number = name, 1
    while any(candidate in names for names in taken):
        number += 1
        candidate = f"{name}#{number}"
    return candidate


def _distinguish(
    base: str, members: list[_Found], engines: Mapping[int, str], bases: Mapping[int, str]
) -> list[str]:
    """Returns a name for each object, built from their differences; equal names if there are none."""
    paths = [found.names[found.best] if found.best[0] == VARIABLE else "" for found in members]
    if len(set(paths)) == len(members) and all(paths):
        return paths
    marks = [
        [_constructor_arguments(found.value, bases, engines) for found in members],
        [_attached_at(found, engines) for found in members],
    ]
    inherited = [
        _constructor_arguments(found.value, bases, engines, type(found.value).__mro__)
        for found in members
    ]
    together = [f"{path}; {a}; {b}" for path, a, b in zip(paths, *marks, strict=True)]
    for texts in (
        *marks,
        together,
        inherited,
        [f"{a}; {b}" for a, b in zip(inherited, together, strict=True)],
    ):
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


def _constructor_arguments(
    value: Any, bases: Mapping[int, str], engines: Mapping[int, str], kinds: Iterable[type] = ()
) -> str:
    """Returns the constructor arguments of an object, as far as it stores them unchanged.

    Args:
        kinds: the classes whose arguments to look for; by default, only that of the object.
    """
    if isinstance(value, nn.Module | Optimizer) or is_engine(value):
        return ""
    codes = [
        getattr(getattr(kind, "__init__"), "__code__", None)  # noqa: B009 - mypy refuses it otherwise
        for kind in kinds or (type(value),)
    ]
    names = dict.fromkeys(
        name
        for code in codes
        if code is not None
        for name in code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    )
    if not names:
        return ""
    state, held = value.state_dict(), getattr(value, "__dict__", {})
    texts = []
    for name in names:
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
        inner = variables_of(value, (), {})
        held = [
            f"{name}={one!r:.40}"
            for name, one in inner.items()
            if isinstance(one, bool | int | float | str)
        ]
        if code.co_name == "<lambda>":
            constants = [
                repr(one) for one in code.co_consts if isinstance(one, bool | int | float | str)
            ]
            return f"lambda {' '.join([*code.co_names, *constants, *held])}"
        return f"{value.__qualname__.replace('.<locals>', '')}{f'({chr(44).join(held)})' if held else ''}"
    return repr(value) if isinstance(value, bool | int | float | str) else None
