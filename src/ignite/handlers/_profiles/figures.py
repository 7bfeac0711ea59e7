"""Statistics of durations as Ignite's profilers give them, and tables as CSV."""

from __future__ import annotations

import csv
import statistics
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["row_of", "stats_of", "write_csv"]


def stats_of(times: Mapping[int, float]) -> OrderedDict[str, Any]:
    """The sum, and of more than one also the least and the largest with their index, mean and standard deviation.

    Args:
        times: seconds by index.

    Example:
        >>> dict(stats_of({0: 1.0, 4: 3.0}))["max/index"]
        (3.0, 4)
    """
    if not times:
        return OrderedDict(total="not yet triggered")
    stats: OrderedDict[str, Any] = OrderedDict(total=sum(times.values()))
    if len(times) > 1:
        shortest, longest = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
        stats["min/index"] = (times[shortest], shortest)
        stats["max/index"] = (times[longest], longest)
        stats["mean"] = statistics.fmean(times.values())
        stats["std"] = statistics.stdev(times.values())
    return stats


def row_of(times: Sequence[float]) -> list[Any]:
    """Total, (least, index), (largest, index), mean and standard deviation, in seconds to five places.

    Example:
        >>> row_of([1.0, 3.0])
        [4.0, (1.0, 0), (3.0, 1), 2.0, 1.41421]
        >>> row_of([])
        ['not triggered', ('None', 'None'), ('None', 'None'), 'None', 'None']
    """
    if not times:
        return ["not triggered", ("None", "None"), ("None", "None"), "None", "None"]
    stats = stats_of(dict(enumerate([*times, *times] if len(times) == 1 else times)))
    shortest, longest = stats["min/index"], stats["max/index"]
    return [
        round(sum(times), 5),
        (round(shortest[0], 5), shortest[1]),
        (round(longest[0], 5), longest[1]),
        round(stats["mean"], 5),
        round(stats["std"], 5) if len(times) > 1 else "None",
    ]


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table as text with commas."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
