"""Which checkpoints stay: decisions on plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ignite.storage.note import Note

__all__ = ["Decision", "Item", "Row", "best", "kept", "place_in"]


class Row(NamedTuple):
    """A checkpoint of a run."""

    file: str
    note: Note


def best(rows: Sequence[Row]) -> Row | None:
    """The one with the best score, of several the newest; None if none has a score. NaN is none."""
    rated = [row for row in rows if row.note.rating is not None]
    return max(rated, key=lambda row: (row.note.rating, row.note.order), default=None)


def kept(rows: Sequence[Row], num_best: int, num_last: int) -> list[Row]:
    """Those with the best scores and the newest ones, in order.

    Example:
        >>> rows = [Row(str(step), Note(step=step, score=score)) for step, score in enumerate([0.5, 0.9, 0.1, 0.2])]
        >>> [row.file for row in kept(rows, num_best=1, num_last=1)]
        ['1', '3']
    """
    in_order = sorted(rows, key=lambda row: row.note.order)
    rated = [row for row in in_order if row.note.rating is not None]
    by_score = sorted(rated, key=lambda row: (row.note.rating, row.note.order), reverse=True)[:num_best]
    last = in_order[len(in_order) - num_last :] if num_last else []
    names = {row.file for row in (*by_score, *last)}
    return [row for row in in_order if row.file in names]


class Item(NamedTuple):
    """A checkpoint and its priority: a score, or the step if there is none."""

    priority: float
    filename: str


class Decision(NamedTuple):
    """Which items are kept, the new one among them, and which files go."""

    kept: list[Item]
    dropped: list[str]


def place_in(
    saved: Sequence[Item], priority: float, filename: str, n_saved: int | None, greater_or_equal: bool
) -> Decision | None:
    """Whether a checkpoint is worth being kept, and what has to go for it; None if it is not. As Ignite decides.

    NaN is the worst of all priorities.

    Example:
        >>> place_in([Item(0.5, "a")], 0.7, "b", n_saved=1, greater_or_equal=False)
        Decision(kept=[Item(priority=0.7, filename='b')], dropped=['a'])
    """
    others = [item for item in saved if item.filename != filename]
    is_full = n_saved is not None and len(saved) >= n_saved
    if is_full and saved:
        worst = min(map(_rank_of, saved))
        own = _rank_of(Item(priority, filename))
        if not (own > worst or (greater_or_equal and own >= worst)):
            return None
    dropped: list[str] = []
    if len(others) == len(saved) and is_full:
        worst_item = min(others, key=_rank_of)
        others.remove(worst_item)
        dropped.append(worst_item.filename)
    items = sorted([*others, Item(priority, filename)], key=_rank_of)
    return Decision(items, dropped)


def _rank_of(item: Item) -> float:
    return -math.inf if math.isnan(item.priority) else item.priority
