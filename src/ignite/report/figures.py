"""What the page draws: curves by chart, sessions on the axis of time, and time by part, as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ignite.report.folder import Curve, Run
from ignite.report.timeline import Timeline

__all__ = ["Seen", "charts", "parts_of", "results_of", "sessions", "thinned"]

_NUM_BUCKETS = 400
_TIME = re.compile(r"(?:^|.*/)time/(.+)")
_RATE = re.compile(r"(?:^|.*/)lr(?:/.+)?$")
_TITLE_OF_RATES = "learning rate"


class Seen(NamedTuple):
    """A run with its timeline."""

    run: Run
    timeline: Timeline


def charts(runs: Sequence[Seen]) -> list[dict[str, Any]]:
    """Returns the curves of all runs, grouped by chart: one per metric, and one of learning rates.

    Each trace has its values with their steps, epochs, seconds of training and times. Curves of more
    than 800 points are thinned.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for i, seen in enumerate(runs):
        for name, curve, is_mean in _curves(seen.run):
            title, phase = _chart_of(name)
            trace = {"run": i, "name": name, "phase": phase, "is_mean": is_mean}
            found.setdefault(title, []).append({**trace, **_points(curve, seen.timeline)})
    for traces in found.values():
        has_mean = {(one["run"], one["phase"]) for one in traces if one["is_mean"]}
        for one in traces:
            one["is_faint"] = not one["is_mean"] and (one["run"], one["phase"]) in has_mean
    in_order = sorted(found, key=lambda title: (title == _TITLE_OF_RATES, title != "loss"))
    return [{"title": title, "traces": found[title]} for title in in_order]


def _curves(run: Run) -> Iterator[tuple[str, Curve, bool]]:
    """Yields name, curve, and whether it is the mean of each epoch beside the curve of steps."""
    for name, curve in run.curves.items():
        if not _TIME.match(name):
            yield name, curve, False
    means: dict[str, Curve] = {}
    for event in run.epochs:
        for name, value in _numbers(event.get("row")):
            full = f"validation/{name[6:]}" if name.startswith("valid_") else f"training/{name}"
            if name not in ("epoch", "seconds") and (
                full not in run.curves or full == "training/loss"
            ):
                means.setdefault(full, Curve()).add(event["step"], value, event["time"])
    for name, curve in means.items():
        yield name, curve, name in run.curves


def _numbers(row: Any) -> Iterator[tuple[str, float]]:
    for name, value in (row if isinstance(row, dict) else {}).items():
        if value in ("NaN", "Infinity", "-Infinity") or (
            isinstance(value, int | float) and not isinstance(value, bool)
        ):
            yield name, float(value)


def _chart_of(name: str) -> tuple[str, str]:
    """Returns the title of the chart and the phase: ("accuracy", "validation")."""
    if _RATE.match(name):
        return _TITLE_OF_RATES, "training"
    phase, _, rest = name.partition("/")
    return (rest, phase) if rest else (name, "")


def _points(curve: Curve, timeline: Timeline) -> dict[str, list[Any]]:
    kept = thinned(curve.values, _NUM_BUCKETS)
    steps = [curve.steps[i] for i in kept]
    epochs = [timeline.epoch_at(step) for step in steps]
    return {
        "value": [_number(curve.values[i]) for i in kept],
        "step": steps,
        "epoch": [None if epoch is None else round(epoch, 4) for epoch in epochs],
        "elapsed": [round(timeline.elapsed(curve.times[i]), 3) for i in kept],
        "clock": [round(curve.times[i], 3) for i in kept],
    }


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity: a gap."""
    return value if math.isfinite(value) else None


def thinned(values: Sequence[float], num_buckets: int) -> list[int]:
    """Returns indices of values to draw: the first, the last, and lowest and highest of each bucket.

    So spikes are kept, and so is each value that is not finite, which is a gap.

    Example:
        >>> thinned([0.0, 1.0, 9.0, 2.0, 1.0, 0.0, 1.0, 2.0], num_buckets=2)
        [0, 2, 5, 7]
    """
    if len(values) <= 2 * num_buckets:
        return list(range(len(values)))
    kept = {0, len(values) - 1}
    for i in range(num_buckets):
        low, high = (j * len(values) // num_buckets for j in (i, i + 1))
        finite = [j for j in range(low, high) if math.isfinite(values[j])]
        if finite:
            kept |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
        if len(finite) < high - low:
            kept.add(next(j for j in range(low, high) if not math.isfinite(values[j])))
    return sorted(kept)


def sessions(runs: Sequence[Seen]) -> list[dict[str, Any]]:
    """Returns the sessions and marks of each run, on all axes."""
    found = []
    for _, timeline in runs:
        marks = []
        for mark in timeline.marks:
            where: dict[str, float | None] = {"step": mark.step, "clock": mark.time}
            where["epoch"] = timeline.epoch_at(mark.step)
            where["elapsed"] = round(timeline.elapsed(mark.time), 3)
            marks.append({"kind": mark.kind, "text": mark.text, **where})
        spans = [
            {"start": span.start, "end": span.end, "outcome": span.outcome, "text": span.text}
            for span in timeline.spans
        ]
        found.append({"spans": spans, "marks": marks})
    return found


def parts_of(run: Run) -> dict[str, float]:
    """Returns the seconds of each part of a run, largest first, if a profiler was attached.

    Parts of less than 1 % are summed as "others".
    """
    seconds: dict[str, float] = {}
    for name, curve in run.curves.items():
        found = _TIME.match(name)
        if found is not None and "/run/" not in found[1] and found[1] != "whole":
            total = math.fsum(value for value in curve.values if math.isfinite(value))
            seconds[found[1]] = seconds.get(found[1], 0.0) + total
    whole = math.fsum(seconds.values())
    large = {name: value for name, value in seconds.items() if value >= 0.01 * whole and value > 0}
    others = whole - math.fsum(large.values())
    in_order = dict(sorted(large.items(), key=lambda item: -item[1]))
    return in_order | ({"others": others} if others > 1e-9 * whole else {})


def results_of(run: Run) -> dict[str, dict[str, Any]]:
    """Returns the best and the last value of each metric, with the epoch or step of the best.

    The best is left out if it is not known whether higher is better.
    """
    rows = [dict(_numbers(event.get("row"))) | {"epoch": event["epoch"]} for event in run.epochs]
    found: dict[str, dict[str, Any]] = {}
    if rows:
        for name in dict.fromkeys(name for row in rows for name in row):
            if name not in ("epoch", "seconds"):
                pairs = [(row[name], row["epoch"]) for row in rows if name in row]
                found[name] = _result(run, name, pairs, "epoch")
        return found
    for name, curve in run.curves.items():
        if not (_TIME.match(name) or _RATE.match(name)):
            found[name] = _result(
                run, name, list(zip(curve.values, curve.steps, strict=True)), "step"
            )
    return found


def _result(run: Run, name: str, pairs: Sequence[tuple[float, int]], unit: str) -> dict[str, Any]:
    is_higher = run.directions.get(name)
    if is_higher is None and name.rpartition("/")[2].endswith("loss"):
        is_higher = False
    result: dict[str, Any] = {"last": pairs[-1][0], "is_higher": is_higher}
    finite = [pair for pair in pairs if math.isfinite(pair[0])]
    if finite and is_higher is not None:
        best = (max if is_higher else min)(finite, key=lambda pair: pair[0])
        result |= {"best": best[0], "at": f"{unit} {best[1]}"}
    return result
