"""When things happened in a run: its sessions, how each ended, and the time spent in training."""

from __future__ import annotations

import bisect
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ignite._core.systems import is_running
from ignite.report.folder import Run

__all__ = ["Mark", "Span", "Timeline"]

_STARTS = ("started", "resumed")
_ENDS = ("finished", "stopped", "failed")
_SILENT_S = 600.0
"""A run on another machine that has written nothing for so long is taken for killed."""


@dataclass(frozen=True)
class Span:
    """A session of a run.

    Attributes:
        start: time of the start, in seconds since 1970.
        end: time of the end, or of the last sign of life.
        step: the step at which it started.
        last_step: the last step that is known of it.
        outcome: "finished", "stopped", "failed", "killed", "running" or "unknown".
        text: what else is known about the end, such as the error.
    """

    start: float
    end: float
    step: int
    last_step: int
    outcome: str
    text: str = ""


@dataclass(frozen=True)
class Mark:
    """Something to mark on the axis of time: a resume, a failure, a stop, a kill, a command."""

    kind: str
    time: float
    step: int
    text: str


class Timeline:
    """The sessions of a run, and conversions from its times and steps.

    Args:
        run: the run.
        now: the time, in seconds since 1970, to tell a run that goes on from one that was killed.
    """

    def __init__(self, run: Run, now: float | None = None) -> None:
        self.spans = _spans(run, time.time() if now is None else now)
        self.marks = _marks(self.spans, run.events)
        # The epoch that ends with each step.
        ends = [(row["step"], row["epoch"]) for row in run.epochs if row.get("epoch")]
        self._steps: list[int] = [0, *(step for step, _ in ends)]
        self._epochs: list[int] = [0, *(epoch for _, epoch in ends)]
        self._starts = [span.start for span in self.spans]

    @property
    def state(self) -> str:
        """How the run has ended, or "running"; "unknown" if the folder does not tell."""
        return self.spans[-1].outcome if self.spans else "unknown"

    @property
    def duration(self) -> float:
        """Seconds in all sessions, without the time between them."""
        return sum(span.end - span.start for span in self.spans)

    def elapsed(self, moment: float) -> float:
        """Returns the seconds of training until a time, without the time between sessions."""
        i = bisect.bisect_right(self._starts, moment) - 1
        if i < 0:
            return 0.0
        before = sum(span.end - span.start for span in self.spans[:i])
        return before + max(0.0, min(moment, self.spans[i].end) - self.spans[i].start)

    def epoch_at(self, step: int) -> float | None:
        """Returns the epoch in which a step lies, with its fraction; None if lengths are unknown."""
        if len(self._steps) < 2:
            return None
        i = min(bisect.bisect_left(self._steps, step, 1), len(self._steps) - 1)
        low, high = self._steps[i - 1], self._steps[i]
        share = (step - low) / max(high - low, 1)
        return self._epochs[i - 1] + share * (self._epochs[i] - self._epochs[i - 1])


def _spans(run: Run, now: float) -> list[Span]:
    signs = sorted(
        [event["time"] for event in run.events]
        + [moment for curve in run.curves.values() for moment in curve.times]
    )
    if not run.events:
        steps = [curve.steps[0] for curve in run.curves.values() if curve.steps]
        last = max((curve.steps[-1] for curve in run.curves.values() if curve.steps), default=0)
        return [Span(signs[0], signs[-1], min(steps), last, "unknown")] if signs else []
    spans: list[Span] = []
    is_open = False
    opened: Mapping[str, Any] = {}
    for event in run.events:
        kind, moment = event["event"], event["time"]
        if kind in _STARTS:
            if is_open:  # without an end
                last = signs[bisect.bisect_left(signs, moment) - 1]
                spans[-1] = replace(spans[-1], end=max(last, spans[-1].start), outcome="killed")
            spans.append(Span(moment, moment, event["step"], event["step"], "running"))
            is_open, opened = True, event
        elif is_open:
            spans[-1] = replace(spans[-1], last_step=event["step"])
            if kind in _ENDS:
                spans[-1] = replace(spans[-1], end=moment, outcome=kind, text=_text(event))
                is_open = False
    if is_open:
        outcome = "running" if _may_be_running(opened, now - signs[-1]) else "killed"
        spans[-1] = replace(spans[-1], end=max(signs[-1], spans[-1].start), outcome=outcome)
    return spans


def _text(event: Mapping[str, Any]) -> str:
    if event["event"] == "failed":
        return f"{event.get('error')}: {event.get('message')}"
    return str(event.get("reason") or "")


def _may_be_running(start: Mapping[str, Any], silent_s: float) -> bool:
    pid = start.get("process")
    if start.get("host") == socket.gethostname() and isinstance(pid, int) and pid > 0:
        return is_running(pid)
    return silent_s < _SILENT_S


def _marks(spans: Sequence[Span], events: Sequence[Mapping[str, Any]]) -> list[Mark]:
    marks = [
        Mark(
            "control", event["time"], event["step"], f"{event.get('command')}: {event.get('text')}"
        )
        for event in events
        if event["event"] == "control" and event.get("is_done")
    ]
    for i, span in enumerate(spans):
        if i:
            text = f"resumed at step {span.step}" if span.step else "started again at step 0"
            marks.append(Mark("resumed", span.start, span.step, text))
        if span.outcome in ("failed", "killed", "stopped"):
            text = f"{span.outcome}: {span.text}" if span.text else span.outcome
            marks.append(Mark(span.outcome, span.end, span.last_step, text))
    return sorted(marks, key=lambda mark: mark.time)
