"""Handlers that decide for all processes: together if all processes have them, else each for itself.

A handler sets one of these class attributes:

- ``decides_together = True``: it calls :func:`any_process` or :func:`is_everywhere`, and also works
  if only one process has it;
- ``needs_all_processes = "its name"``: a run raises an error at its start unless all processes have
  it. The error names the process that does not.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ignite._core.optional import LazyModule
from ignite.engine._handlers import objects_behind
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite.distributed import rollcall
    from ignite.engine._controls import Controls
else:
    rollcall = LazyModule("ignite.distributed.rollcall")  # for several processes

__all__ = ["any_process", "is_everywhere"]

_OF_THE_RUN = frozenset(
    event.name
    for event in (
        Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.TERMINATE, Events.COMPLETED,
        Events.TERMINATE_SINGLE_EPOCH, Events.INTERRUPT, Events.EXCEPTION_RAISED,
    )
)  # fmt: skip
"""Events that are fired at most once per epoch, and equally often in all processes."""


@dataclass
class Attendance:
    """The deciding handlers of all processes in a run, and the names of those of this process."""

    roll: rollcall.Roll
    names: dict[tuple[int, str], str]
    """The name of a handler, equal in all processes, by the id of its object and its event."""


def begin(engine: Controls) -> Attendance | None:
    """Exchanges the deciding handlers with other processes when a run begins; None without a store.

    Raises:
        RuntimeError: a handler needs all processes, and one of them does not have it.
    """
    names: dict[tuple[int, str], str] = {}
    needed: dict[int, tuple[str, str]] = {}
    counts: Counter[str] = Counter()
    for owner, event in _attached(engine):
        kind = type(owner)
        if hasattr(kind, "needs_all_processes") and id(owner) not in needed:
            needed[id(owner)] = (_numbered(kind.__qualname__, counts), kind.needs_all_processes)
        elif hasattr(kind, "decides_together") and (id(owner), event) not in names:
            names[id(owner), event] = _numbered(f"{kind.__qualname__}@{event}", counts)
    roll = rollcall.call_roll(
        _describe(engine), [*names.values(), *(name for name, _ in needed.values())]
    )
    if roll is None:
        return None
    for name, what in needed.values():
        roll.require(name, what)
    return Attendance(roll, names)


def end_epoch(engine: Controls) -> None:
    """Ends the epoch, so that other processes do not wait for this one in it."""
    attendance = engine._attendance
    if attendance is not None:
        for (_, event), name in attendance.names.items():
            if event not in _OF_THE_RUN:
                attendance.roll.leave(name, engine.state.epoch)


def end(engine: Controls) -> None:
    """Ends the run, so that other processes do not wait for this one in it."""
    attendance, engine._attendance = engine._attendance, None
    attendance.roll.end(
        {name: _stretch(engine, event) for (_, event), name in attendance.names.items()}
    )


def any_process(engine: Controls, handler: Any, verdict: bool) -> bool:
    """Whether ``verdict`` is True in any process, if all processes have the handler on the current event.

    All processes get the same result, and have to call this equally often, except those whose epoch
    or run is over. If some processes do not have the handler, returns ``verdict``.

    Args:
        engine: the engine that calls the handler.
        handler: the object that was added to the engine.
        verdict: the decision of this process.
    """
    attendance = engine._attendance
    if attendance is None:
        return verdict
    event = _name(engine.last_event_name)
    name = attendance.names.get((id(handler), event))
    return verdict if name is None else attendance.roll.any(name, _stretch(engine, event), verdict)


def is_everywhere(engine: Controls, handler: Any) -> bool:
    """Whether all processes had this handler on this engine when the run began; True in a single process.

    Example:
        >>> from ignite.engine import Engine
        >>> is_everywhere(Engine(lambda engine, batch: None), None)
        True
    """
    attendance = engine._attendance
    if attendance is None:
        return True
    names = [name for (known, _), name in attendance.names.items() if known == id(handler)]
    return bool(names) and all(map(attendance.roll.is_everywhere, names))


def _attached(engine: Controls) -> Iterator[tuple[Any, str]]:
    """Yields the objects behind handlers and run contexts, each with the name of its event."""
    for event, table in engine._tables.items():
        for entry in table.entries:
            for owner in objects_behind(entry.handler):
                yield owner, event
    for frame in engine._frames:
        for owner in objects_behind(frame):
            yield owner, ""


def _numbered(name: str, counts: Counter[str]) -> str:
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}#{counts[name]}"


def _describe(engine: Controls) -> str:
    """Describes the engine, in the same way in all processes."""
    step: Any = engine._process_function
    while isinstance(step, functools.partial):
        step = step.func
    code = getattr(step, "__code__", None)
    name = getattr(step, "__qualname__", type(step).__qualname__)
    return f"{type(engine).__qualname__} of {name}" + (
        "" if code is None else f" in line {code.co_firstlineno}"
    )


def _stretch(engine: Controls, event: str) -> int:
    return 0 if event in _OF_THE_RUN else engine.state.epoch


def _name(event: Any) -> str:
    return event if isinstance(event, str) else str(event._name_)
