"""The results of Ignite's profilers as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ignite.engine import Events

__all__ = ["basic_text", "handlers_text"]


def basic_text(results: Mapping[str, Any], events: Iterable[Events]) -> str:
    """What ``BasicTimeProfiler.get_results`` returns, a paragraph for each of ``events``."""
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
        lines += ["", f"- Events.{event.name}: {names.get(f'{event.name}_names', [])}", _line(stats[event.name])]
    return "\n".join([*lines, ""])


def _line(stats: Mapping[str, Any]) -> str:
    total = stats["total"]
    fields = [total if isinstance(total, str) else f"{total:.5f}"]
    fields += [f"{stats[key][0]:.5f}/{stats[key][1]}" for key in ("min/index", "max/index") if key in stats]
    fields += [f"{stats[key]:.5f}" for key in ("mean", "std") if key in stats]
    return " | ".join(fields)


def handlers_text(results: Sequence[Sequence[Any]]) -> str:
    """A table of rows as ``HandlersTimeProfiler.get_results`` returns them."""
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
            f"{name} took total {row[2]}s [min/index: {least}s/{at_least}, max/index: {most}s/{at_most}, "
            f"mean: {row[5]}s, std: {row[6]}s]"
        )
    return "\n".join([*lines, ""])
