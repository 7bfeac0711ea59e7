"""Which files a checkpoint keeps track of: those that a state names, and those of earlier runs. Plain values."""

from __future__ import annotations

import math
import numbers
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ignite.exceptions import CheckpointError
from ignite.storage import Item, Row, check_name


def merged(saved: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    """Both, in order; those of ``saved`` count where both have a file."""
    known = {item.filename for item in saved}
    return sorted([*saved, *(item for item in others if item.filename not in known)], key=_rank_of)


def items_of(rows: Sequence[Row], has_scores: bool) -> list[Item]:
    """The files of an earlier run, the oldest first, by the score or the step that they say they have.

    Example:
        >>> from ignite.storage import Note
        >>> items_of([Row("a", Note(step=3, score=0.5))], has_scores=True)
        [Item(priority=0.5, filename='a')]
    """
    if has_scores:
        return [Item(math.nan if row.note.score is None else row.note.score, row.file) for row in rows]
    return [Item(max(row.note.order[1], i), row.file) for i, row in enumerate(rows)]


def before(items: Sequence[Item], first: Any) -> list[Item]:
    """Files of an earlier run are older than what this one saves, whatever it begins to count from.

    Example:
        >>> before([Item(10, "a"), Item(12, "b")], first=11)
        [Item(priority=8, filename='a'), Item(priority=10, filename='b')]
    """
    excess = max((item.priority for item in items), default=first - 1) - first + 1
    return [Item(item.priority - max(0, excess), item.filename) for item in items]


def read_items(state: Any, check: Callable[[str], object]) -> list[Item]:
    """What a state says is tracked.

    Raises:
        CheckpointError: it is no list of priorities and names, or ``check`` raises for a name.
    """
    if not isinstance(state, list | tuple):
        raise CheckpointError(f"_saved should be a list of priorities and file names, but given {state!r:.100}")
    items = []
    for pair in state:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], numbers.Number):
            raise CheckpointError(f"_saved should hold pairs of a priority and a file name, but given {pair!r:.100}")
        try:
            check(pair[1])
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"_saved should hold names of files in one folder. {error}") from error
        items.append(Item(pair[0], pair[1]))  # type: ignore[arg-type]
    return merged(items, [])


def read_names(state: Any) -> dict[str, str]:
    """What a state says files are called that were to have another name.

    Raises:
        CheckpointError: it holds no plain names.
    """
    if not isinstance(state, Mapping | None):
        raise CheckpointError(f"_real should be a dictionary of file names, but given {state!r:.100}")
    try:
        return {str(name): check_name(real) for name, real in (state or {}).items()}
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"_real should hold names of files in one folder. {error}") from error


def state_of_items(
    items: Sequence[Item], real_names: Mapping[str, str] = MappingProxyType({})
) -> OrderedDict[str, Any]:
    """What :func:`read_items` and :func:`read_names` read, in the form that Ignite saves."""
    state: OrderedDict[str, Any] = OrderedDict(_saved=[tuple(item) for item in items])
    if real_names:
        state["_real"] = dict(real_names)
    return state


def check_loosely(name: Any) -> None:
    """For handlers of users, who may have names with folders in them.

    Raises:
        ValueError: the name leads somewhere else.
    """
    if not isinstance(name, str) or ".." in name.replace("\\", "/").split("/") or not name.isprintable():
        raise ValueError(f"A file name should be a string that does not lead elsewhere, but given {name!r:.80}")


def _rank_of(item: Item) -> tuple[bool, float]:
    """NaN is the lowest."""
    return (False, 0.0) if math.isnan(item.priority) else (True, item.priority)
