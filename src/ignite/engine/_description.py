"""Describes an engine: its events in the order of a run, each with its handlers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ignite._core.calls import name_of, source_location
from ignite._core.optional import LazyModule
from ignite.engine._emitter import Emitter
from ignite.engine._handlers import Registration

__all__ = ["Description"]

html = LazyModule("html")

# Events in order, each with its depth in the loop.
_TIMELINE = (
    ("STARTED", 0),
    ("EPOCH_STARTED", 1),
    ("GET_BATCH_STARTED", 2),
    ("DATALOADER_STOP_ITERATION", 2),
    ("GET_BATCH_COMPLETED", 2),
    ("ITERATION_STARTED", 2),
    (None, 2),  # the step
    ("ITERATION_COMPLETED", 2),
    ("TERMINATE_SINGLE_EPOCH", 1),
    ("EPOCH_COMPLETED", 1),
    ("TERMINATE", 0),
    ("COMPLETED", 0),
)


class _Row(NamedTuple):
    """One line: an event, a handler of it, or the step."""

    depth: int
    text: str
    place: str = ""
    is_handler: bool = False


class Description:
    """The events of an engine in order, each with its handlers, their filters and where they are defined.

    ``print`` it, or let a notebook show it.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> engine = Engine(lambda engine, batch: None)
        >>> def save(engine): ...
        >>> _ = engine.add_event_handler(Events.EPOCH_COMPLETED(every=5, last=True), save)
        >>> print(engine.describe())  # doctest: +ELLIPSIS
        Engine
          each epoch
            each iteration
              step: <lambda> ...
            EPOCH_COMPLETED
              - save  [every=5, last=True] ...
    """

    def __init__(self, engine: Emitter) -> None:
        self._title = type(engine).__name__
        self.rows = list(_rows(engine))

    def __str__(self) -> str:
        lines = [self._title]
        for row in self.rows:
            mark = "- " if row.is_handler else ""
            place = f"  ({row.place})" if row.place else ""
            lines.append(f"{'  ' * (row.depth + 1)}{mark}{row.text}{place}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = []
        for row in self.rows:
            text = html.escape(row.text)
            body = f"{text} <small>{html.escape(row.place)}</small>" if row.place else text
            tag = "span" if row.is_handler else "b"
            items.append(
                f'<div style="margin-left:{row.depth * 1.5}em"><{tag}>{body}</{tag}></div>'
            )
        return f"<div><b>{html.escape(self._title)}</b>{''.join(items)}</div>"


def _rows(engine: Emitter) -> Iterator[_Row]:
    timeline = [
        (name, depth) for name, depth in _TIMELINE if name is None or engine._tables[name].calls
    ]
    depth_shown = 0
    for name, depth in timeline:
        for level in range(depth_shown + 1, depth + 1):
            yield _Row(level - 1, "each epoch" if level == 1 else "each iteration")
        depth_shown = max(depth_shown, depth)
        if name is None:
            step: Any = getattr(engine, "_process_function", None)
            yield _Row(depth, f"step: {name_of(step)}", source_location(step))
        else:
            yield from _event_rows(engine, name, depth)
    in_order = {name for name, _ in _TIMELINE}
    others = [
        name for name, table in engine._tables.items() if table.calls and name not in in_order
    ]
    if others:
        yield _Row(0, "when fired")
        for name in others:
            yield from _event_rows(engine, name, 1)


def _event_rows(engine: Emitter, name: str, depth: int) -> Iterator[_Row]:
    yield _Row(depth, name)
    for entry in engine._tables[name].entries:
        yield _Row(
            depth + 1,
            _in_words(entry) + _note_of(entry, engine),
            source_location(entry.handler),
            is_handler=True,
        )


def _note_of(entry: Registration, engine: Emitter) -> str:
    """The description of a handler by its own object, if there is one."""
    owner = getattr(entry.handler, "__self__", entry.handler)
    note = getattr(type(owner), "describe_handler", None)
    if note is None:
        return ""
    words = note(owner, engine, getattr(entry.handler, "__name__", "__call__"))
    return f"  {words}" if words else ""


def _in_words(entry: Registration) -> str:
    condition = getattr(entry.event, "filter", None)
    words = name_of(entry.handler)
    if condition is not None:
        words += f"  [{repr(entry.event).partition('(')[2][:-1]}]"
    if entry.priority:
        words += f"  priority {entry.priority:g}"
    return words
