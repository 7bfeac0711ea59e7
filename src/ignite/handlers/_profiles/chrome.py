"""The last parts of a run in the Trace Event Format, which Perfetto and chrome://tracing show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.handlers._profiles.parts import Part

__all__ = ["trace_events", "write_trace"]


def trace_events(slices: Sequence[tuple[Part, int, int]], rank: int) -> list[dict[str, Any]]:
    """A complete event ("X") for each slice, and the names of the process and of the engines.

    Args:
        slices: each with its begin and end in nanoseconds; times in the events are in microseconds from the first.
        rank: the number of the process.

    References:
        Trace Event Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": rank, "tid": 0, "args": {"name": f"rank {rank}"}}
    ]
    runs = {part.track: part.name for part, *_ in slices if part.kind == "run"}
    for track in sorted({part.track for part, *_ in slices}):
        name = {"name": f"engine {track}: {runs[track]}" if track in runs else f"engine {track}"}
        events.append({"name": "thread_name", "ph": "M", "pid": rank, "tid": track, "args": name})
    origin = min((begin for _, begin, _ in slices), default=0)
    for part, begin, end in sorted(slices, key=lambda one: (one[1], -one[2])):  # those around others first
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
    """Writes ``events`` as JSON; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")
