"""Retention policies: which checkpoints to keep, decided on plain numbers."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ignite.storage.commit import Written
from ignite.storage.note import Note

__all__ = ["Decision", "Item", "Row", "best", "kept", "place_in", "ranked"]


class Row(NamedTuple):
    """A checkpoint of a run."""

    file: str
    note: Note
    written: Written | None = None
    """Size and checksum of the file, if known."""


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows whose score is not None or NaN, best first; ties newest first.

    Example:
        >>> rows = [Row(str(step), Note(step=step, score=score)) for step, score in enumerate([0.5, 0.9, math.nan])]
        >>> [row.file for row in ranked(rows)]
        ['1', '0']
    """
    rated = [(row.note.rating, row.note.order, row) for row in rows if row.note.rating is not None]
    return [row for _, _, row in sorted(rated, key=lambda item: item[:2], reverse=True)]


def best(rows: Sequence[Row]) -> Row | None:
    """Returns the row with the best score, and of ties the newest; None if no row has a score.

    NaN does not count as a score.
    """
    in_order = ranked(rows)
    return in_order[0] if in_order else None


def kept(rows: Sequence[Row], num_best: int, num_last: int) -> list[Row]:
    """Returns the rows with the best scores and the newest rows, newest last.

    Example:
        >>> rows = [Row(str(step), Note(step=step, score=score)) for step, score in enumerate([0.5, 0.9, 0.1, 0.2])]
        >>> [row.file for row in kept(rows, num_best=1, num_last=1)]
        ['1', '3']
    """
    in_order = sorted(rows, key=lambda row: row.note.order)
    last = in_order[-num_last:] if num_last else []
    names = {row.file for row in (*ranked(rows)[:num_best], *last)}
    return [row for row in in_order if row.file in names]


class Item(NamedTuple):
    """A checkpoint and its priority: a score, or the step if there is none."""

    priority: float
    filename: str


class Decision(NamedTuple):
    """Items to keep, including the new one, worst first; and files to remove."""

    kept: list[Item]
    dropped: list[str]


def place_in(
    saved: Sequence[Item],
    priority: float,
    filename: str,
    n_saved: int | None,
    greater_or_equal: bool,
) -> Decision | None:
    """Decides, like Ignite, whether to keep a new checkpoint and which files to remove for it.

    The checkpoint is kept if there are fewer than ``n_saved`` items, or if it is better than the
    worst one. An item with the same name is replaced, because its file is overwritten. NaN is the
    lowest priority. If there are more than ``n_saved`` items, for example because the run was
    restarted with a smaller number, the worst ones are removed, too.

    Args:
        saved: the items kept so far.
        priority: priority of the new checkpoint; higher is better.
        filename: file name of the new checkpoint.
        n_saved: number of items to keep, at least 1; None for all.
        greater_or_equal: whether a priority equal to the worst one is sufficient.

    Returns:
        The decision; None if the checkpoint should not be kept.

    Example:
        >>> place_in([Item(0.5, "a")], 0.7, "b", n_saved=1, greater_or_equal=False)
        Decision(kept=[Item(priority=0.7, filename='b')], dropped=['a'])
        >>> place_in([Item(0.5, "a")], 0.5, "b", n_saved=1, greater_or_equal=False) is None
        True
    """
    new = Item(priority, filename)
    in_order = sorted(saved, key=_sort_key)
    if n_saved is not None and len(in_order) >= n_saved:
        worst, own = _sort_key(in_order[-n_saved]), _sort_key(new)
        if not (own >= worst if greater_or_equal else own > worst):
            return None
    others = [item for item in in_order if item.filename != filename]
    num_dropped = 0 if n_saved is None else max(len(others) + 1 - n_saved, 0)
    items = sorted([*others[num_dropped:], new], key=_sort_key)
    return Decision(items, [item.filename for item in others[:num_dropped]])


def _sort_key(item: Item) -> tuple[bool, float]:
    return (False, 0.0) if math.isnan(item.priority) else (True, item.priority)
