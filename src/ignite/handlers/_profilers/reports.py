"""Reports of timings: text, CSV tables, and traces for Perfetto."""

from __future__ import annotations

import csv
import json
import statistics
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite._core import markup
from ignite._core.systems import on_disk
from ignite.engine import Events
from ignite.handlers._profilers.timings import Part

__all__ = [
    "basic_text",
    "handlers_text",
    "parts_table",
    "stats_row",
    "summarize",
    "trace_events",
    "write_csv",
    "write_trace",
]


def trace_events(slices: Sequence[tuple[Part, int, int]], rank: int) -> list[dict[str, Any]]:
    """Converts slices to the Trace Event Format, which Perfetto and chrome://tracing show.

    Args:
        slices: (part, start, end) in nanoseconds.
        rank: the rank of the process.

    Returns:
        One complete event ("X") per slice, in microseconds since the first, and the names of the
        process and engines.

    References:
        Trace Event Format,
        https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": rank, "tid": 0, "args": {"name": f"rank {rank}"}}
    ]
    runs = {part.track: part.name for part, *_ in slices if part.kind == "run"}
    for track in sorted({part.track for part, *_ in slices}):
        name = {"name": f"engine {track}: {runs[track]}" if track in runs else f"engine {track}"}
        events.append({"name": "thread_name", "ph": "M", "pid": rank, "tid": track, "args": name})
    origin = min((begin for _, begin, _ in slices), default=0)
    # Parents come before their children.
    for part, begin, end in sorted(slices, key=lambda one: (one[1], -one[2])):
        event = {
            "name": part.name,
            "cat": part.kind,
            "ph": "X",
            "ts": (begin - origin) / 1e3,
            "dur": (end - begin) / 1e3,
            "pid": rank,
            "tid": part.track,
        }
        events.append({**event, "args": {"event": part.event}} if part.event else event)
    return events


def write_trace(path: Path, events: list[dict[str, Any]]) -> None:
    """Writes ``events`` as JSON; creates missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")


_WIDEST = 60


def parts_table(run: Part, whole: int) -> str:
    """Formats the parts of ``run`` as a table, largest first.

    ``whole`` is the duration of the run in nanoseconds.

    Example:
        >>> run = Part("run", "run")
        >>> step = run.child("step", "step")
        >>> step.total, step.calls = 800_000_000, 2
        >>> print(parts_table(run, whole=1_000_000_000))
        part      seconds   share  calls         mean
        step        0.800  80.0 %      2   400.000 ms
        engine      0.200  20.0 %
        whole       1.000 100.0 %
    """
    rows = list(_rows(run, whole, ""))
    width = min(_WIDEST, max(len(name) for name, _, _ in rows))
    lines = [f"{'part':<{width}} {'seconds':>10} {'share':>7} {'calls':>6} {'mean':>12}"]
    for name, took, calls in (*rows, ("whole", whole, 0)):
        shown = name if len(name) <= width else name[: width - 3] + "..."
        line = f"{shown:<{width}} {took / 1e9:>10.3f} {100 * took / max(whole, 1):>5.1f} %"
        lines.append(f"{line} {calls:>6} {_duration(took / calls)}" if calls else line)
    return "\n".join(lines)


def parts_page(run: Part, whole: int) -> str:
    """Returns the same table as HTML, with a bar for the share of each part."""
    rows = []
    for name, took, calls in (*_rows(run, whole, ""), ("whole", whole, 0)):
        share = took / max(whole, 1)
        indent = (len(name) - len(name.lstrip())) / 2
        style = (
            f"background:linear-gradient(to right,rgba(80,140,220,.35) {share:.1%},transparent 0)"
        )
        rows.append(
            [
                markup.tag("span", name.strip(), style=f"padding-left:{indent:g}em"),
                f"{took / 1e9:.3f}",
                markup.tag("div", f"{share:.1%}", style=f"min-width:8em;{style}"),
                calls or "",
                _duration(took / calls).strip() if calls else "",
            ]
        )
    return markup.table(["part", "seconds", "share", "calls", "mean"], rows)


def _rows(part: Part, whole: int, indent: str) -> Iterator[tuple[str, int, int]]:
    """Yields name, nanoseconds and calls of the children of ``part``, then the remaining time."""
    children = [child for child in part.children if child.calls or child.sum]
    rest = whole - sum(child.sum for child in children)
    for child in sorted(children, key=lambda child: -child.sum):
        yield indent + _title(child), child.sum, child.calls
        if child.children:
            yield from _rows(child, child.sum, indent + "  ")
    yield indent + ("engine" if part.kind == "run" else "itself"), rest, 0


def _title(part: Part) -> str:
    return (
        f"{part.name} ({part.event})"
        if part.event
        else f"run of {part.name}"
        if part.kind == "run"
        else part.name
    )


def _duration(nanoseconds: float) -> str:
    for unit, size in ((" s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:>9.3f} {unit}"
    return f"{nanoseconds / 1e3:>9.3f} us"


def summarize(times: Mapping[int, float]) -> OrderedDict[str, Any]:
    """Summarizes durations as Ignite's profilers do.

    Returns the total and, for several times, also the minimum, maximum, mean and standard
    deviation.

    Args:
        times: seconds by index.

    Example:
        >>> dict(summarize({0: 1.0, 4: 3.0}))["max/index"]
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


def stats_row(times: Sequence[float]) -> list[Any]:
    """Returns total, (min, index), (max, index), mean and standard deviation.

    In seconds, rounded to five places.

    Example:
        >>> stats_row([1.0, 3.0])
        [4.0, (1.0, 0), (3.0, 1), 2.0, 1.41421]
        >>> stats_row([])
        ['not triggered', ('None', 'None'), ('None', 'None'), 'None', 'None']
    """
    if not times:
        return ["not triggered", ("None", "None"), ("None", "None"), "None", "None"]
    stats = summarize(dict(enumerate([*times, *times] if len(times) == 1 else times)))
    shortest, longest = stats["min/index"], stats["max/index"]
    return [
        round(sum(times), 5),
        (round(shortest[0], 5), shortest[1]),
        (round(longest[0], 5), longest[1]),
        round(stats["mean"], 5),
        round(stats["std"], 5) if len(times) > 1 else "None",
    ]


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table as CSV."""
    with on_disk(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def basic_text(results: Mapping[str, Any], events: Iterable[Events]) -> str:
    """Formats what ``BasicTimeProfiler.get_results`` returns, one paragraph per event."""
    names, stats = results["event_handlers_names"], results["event_handlers_stats"]
    title = "Time profiling stats (in seconds):"
    lines = [
        "",
        " " + "-" * 52,
        f"| {title:<51}|",
        " " + "-" * 52,
        "total  |  min/index  |  max/index  |  mean  |  std",
    ]
    lines += ["", "Processing function:", _line(results["processing_stats"])]
    lines += ["", "Dataflow:", _line(results["dataflow_stats"])]
    lines += ["", "Event handlers:", f"{float(stats['total_time']):.5f}"]
    for event in events:
        lines += [
            "",
            f"- Events.{event.name}: {names.get(f'{event.name}_names', [])}",
            _line(stats[event.name]),
        ]
    return "\n".join([*lines, ""])


def _line(stats: Mapping[str, Any]) -> str:
    total = stats["total"]
    fields = [total if isinstance(total, str) else f"{total:.5f}"]
    fields += [
        f"{stats[key][0]:.5f}/{stats[key][1]}" for key in ("min/index", "max/index") if key in stats
    ]
    fields += [f"{stats[key]:.5f}" for key in ("mean", "std") if key in stats]
    return " | ".join(fields)


def handlers_text(results: Sequence[Sequence[Any]]) -> str:
    """Formats the rows that ``HandlersTimeProfiler.get_results`` returns as a table."""
    *rows, total, processing, dataflow = results
    width = max([len("Handler"), *(len(row[0]) for row in rows)])
    widths = [width, 23, 14, 14, 14, 14, 14]
    rule = "  ".join("-" * each for each in widths)

    def line(cells: Sequence[Any]) -> str:
        texts = [f"{cell[0]}/{cell[1]}" if isinstance(cell, tuple) else str(cell) for cell in cells]
        ends = [text.rjust(each) for text, each in zip(texts[2:], widths[2:], strict=True)]
        return "  ".join([texts[0].ljust(widths[0]), texts[1].ljust(widths[1]), *ends]).rstrip()

    header = ["Handler", "Event Name", "Total(s)", "Min(s)/IDX", "Max(s)/IDX", "Mean(s)", "Std(s)"]
    lines = ["", rule, line(header), rule, *map(line, rows), rule, line(total), rule]
    for name, row in (("Processing", processing), ("Dataflow", dataflow)):
        (least, at_least), (most, at_most) = row[3], row[4]
        lines.append(
            f"{name} took total {row[2]}s [min/index: {least}s/{at_least}, "
            f"max/index: {most}s/{at_most}, mean: {row[5]}s, std: {row[6]}s]"
        )
    return "\n".join([*lines, ""])
