"""Renders runs as one HTML page that works without a network."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ignite import storage
from ignite._core.markup import Html, join, tag
from ignite._core.optional import import_optional
from ignite._core.systems import on_disk
from ignite.report.comparison import code_of, data_of, environment_of, flat, shown
from ignite.report.figures import Seen, charts, parts_of, results_of, sessions
from ignite.report.folder import Checkpoint, Run
from ignite.report.timeline import Timeline

__all__ = ["content", "render", "write_page"]

_SELF, _NONE = "'self'", "'none'"
_STATES = {
    "finished": "finished",
    "running": "running",
    "stopped": "stopped",
    "failed": "failed",
    "killed": "killed",
    "unknown": "end not recorded",
}
_CHECKPOINT_STATES = {
    "verified": "verified",
    "foreign": "readable, not written by this library",
    "damaged": "damaged",
}


def write_page(path: str | os.PathLike[str], runs: Sequence[Run]) -> Path:
    """Writes a page with everything that the folders of some runs tell.

    Args:
        path: the file; missing folders are created. The file appears complete or not at all.
        runs: the runs, see :func:`~ignite.report.read_run`.

    Returns:
        The path of the file.

    Raises:
        ModuleNotFoundError: plotly is not installed.
        OSError: the file cannot be written.
    """
    path = on_disk(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = render(runs).encode(errors="backslashreplace")
    storage.commit(path.parent, path.name, lambda file: file.write(text))
    return path


def render(runs: Sequence[Run], *, is_live: bool = False) -> str:
    """Returns the page. With ``is_live``, it asks the server for news, see :mod:`ignite.report.server`.

    The page may load nothing and run no script but its own: its content security policy says so.
    """
    plotly = import_optional("plotly.offline", extra="report").get_plotlyjs()
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {_SELF if is_live else _NONE}"
    )
    found = content(runs)
    # As data, a closing tag in a name must not end the script.
    figures = json.dumps(found["figures"], allow_nan=False).replace("<", "\\u003c")
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(_asset("page.css"))),
    )
    scripts = [
        tag("script", Html(figures), type="application/json", id="figures"),
        *(tag("script", Html(text), nonce=nonce) for text in (plotly, _asset("page.js"))),
    ]
    body = tag("body", *_body(title, found, is_live), *scripts, data_live=is_live or None)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _asset(name: str) -> str:
    return resources.files("ignite.report").joinpath(name).read_text(encoding="utf-8")


def content(runs: Sequence[Run], now: float | None = None) -> dict[str, Any]:
    """Returns what changes when a run goes on: the tables as HTML, and the data of the figures.

    Args:
        runs: the runs.
        now: the time, in seconds since 1970.
    """
    now = time.time() if now is None else now
    seen = [Seen(run, Timeline(run, now)) for run in runs]
    figures = {
        "runs": [{"name": run.name, "state": timeline.state} for run, timeline in seen],
        "charts": charts(seen),
        "sessions": sessions(seen),
        "checkpoints": [
            [[one.created, one.file] for one in run.checkpoints if one.created] for run, _ in seen
        ],
    }
    return {
        "written": _moment(now),
        "overview": _overview(seen),
        "details": join(_details(seen)),
        "figures": figures,
    }


def _body(title: str, found: Mapping[str, Any], is_live: bool) -> list[Html]:
    axes = (
        ("step", "Steps"),
        ("epoch", "Epochs"),
        ("elapsed", "Training time"),
        ("clock", "Clock"),
    )
    buttons = [
        tag("button", text, type="button", data_axis=axis, aria_pressed=str(axis == "step").lower())
        for axis, text in axes
    ]
    log = tag("label", tag("input", type="checkbox", id="log"), " logarithmic")
    status = tag("span", "following" if is_live else "", id="status")
    return [
        tag(
            "header",
            tag("h1", title),
            tag("p", "Written ", tag("span", found["written"], id="written"), " ", status),
        ),
        tag(
            "main",
            tag("section", tag("h2", "Runs"), tag("div", found["overview"], id="overview")),
            tag(
                "section",
                tag("h2", "Curves"),
                tag("div", tag("div", *buttons, role="group"), log, class_="controls"),
                tag("p", "", class_="note", id="key"),
                tag("div", "", id="charts"),
            ),
            tag(
                "section",
                tag("h2", "Sessions"),
                tag("div", "", id="sessions", class_="plot"),
            ),
            tag("div", found["details"], id="details"),
        ),
        tag("noscript", tag("p", "The curves need JavaScript; the tables do not.")),
    ]


def _overview(seen: Sequence[Seen]) -> Html:
    results = [results_of(run) for run, _ in seen]
    names = list(dict.fromkeys(name for one in results for name in one))
    ideal = {name: _best([one[name] for one in results if name in one]) for name in names}
    head = ["Run", "State", "Epochs", "Steps", "Time", *names]
    rows = []
    for i, ((run, timeline), result) in enumerate(zip(seen, results, strict=True)):
        chip = tag("i", "", class_="chip", style=f"--i:{i}", data_run=i)
        box = tag("input", type="checkbox", checked=True, data_run=i, aria_label=f"Show {run.name}")
        last = timeline.spans[-1].last_step if timeline.spans else None
        steps = max([curve.steps[-1] for curve in run.curves.values() if curve.steps], default=last)
        name = tag("label", box, chip, " ", tag("span", run.name))
        epochs = len(run.epochs) if run.events else None
        cells = [
            name,
            _badge(timeline.state, _STATES[timeline.state]),
            shown(epochs),
            shown(steps),
            _duration(timeline.duration) if timeline.spans else "-",
        ]
        rows.append([*cells, *(_result(result.get(one), ideal[one], len(seen)) for one in names)])
    note = tag(
        "p",
        "The best value of each metric with its epoch or step; the last value where it is not known "
        "whether higher is better.",
        class_="note",
    )
    return join([_scrolling(head, rows, "overview"), note])


def _best(results: Sequence[Mapping[str, Any]]) -> float | None:
    known = [one for one in results if "best" in one]
    if not known:
        return None
    return float((max if known[0]["is_higher"] else min)(one["best"] for one in known))


def _result(result: Mapping[str, Any] | None, ideal: float | None, num_runs: int) -> Any:
    if result is None:
        return "-"
    if "best" not in result:
        return f"{result['last']:.5g}"
    text = [f"{result['best']:.5g}", " ", tag("small", result["at"])]
    is_ideal = num_runs > 1 and result["best"] == ideal
    return tag("strong", "★ ", *text) if is_ideal else join(text)


def _badge(state: str, text: str) -> Html:
    return tag("span", text, class_=f"badge {state}")


def _details(seen: Sequence[Seen]) -> list[Html]:
    runs = [run for run, _ in seen]
    return [
        _section("Starts and ends", _ends(seen)),
        _section("Time by part", _parts(runs)),
        _section("Configuration", _compared(runs, lambda run: flat(run.config))),
        _section("Code", _compared(runs, code_of)),
        _section("Environment", _compared(runs, environment_of)),
        _section("Data", _compared(runs, data_of)),
        _section("Checkpoints", join(_checkpoints(run) for run in runs)),
    ]


def _section(title: str, *children: Any) -> Html:
    return tag("section", tag("h2", title), *children)


def _scrolling(head: Sequence[Any], rows: Sequence[Sequence[Any]], kind: str) -> Html:
    """A table that is scrolled on its own where it is wider than the page."""
    head_row = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [
        cells
        if isinstance(cells, Html)
        else tag("tr", tag("th", cells[0], scope="row"), *(tag("td", cell) for cell in cells[1:]))
        for cells in rows
    ]
    inner = tag("table", tag("thead", head_row), tag("tbody", *body), class_=kind)
    return tag("div", inner, class_="scroll", tabindex="0")


def _ends(seen: Sequence[Seen]) -> Html:
    rows = [
        [
            run.name,
            "resumed" if i and span.step else "started",
            span.step,
            _moment(span.start),
            _duration(span.end - span.start),
            join([_badge(span.outcome, _STATES[span.outcome]), " ", span.text]),
        ]
        for run, timeline in seen
        for i, span in enumerate(timeline.spans)
    ]
    if not rows:
        return tag("p", "Nothing is recorded.", class_="note")
    return _scrolling(["Run", "", "At step", "At (UTC)", "Duration", "End"], rows, "ends")


def _parts(runs: Sequence[Run]) -> Html:
    parts = [parts_of(run) for run in runs]
    names = list(dict.fromkeys(name for one in parts for name in one))
    if not names:
        advice = "No time is recorded. Attach a profiler before the run: RunProfiler().attach(learner.trainer)"
        return tag("p", advice, class_="note")
    names.sort(key=lambda name: name == "others")
    rows = []
    for name in names:
        cells = []
        for one in parts:
            share = one.get(name, 0.0) / (sum(one.values()) or 1.0)
            text = f"{_duration(one[name])} · {share:.0%}" if name in one else "-"
            cells.append(tag("span", text, class_="bar", style=f"--share:{share:.4f}"))
        rows.append([name, *cells])
    return _scrolling(["Part", *(run.name for run in runs)], rows, "parts")


def _compared(runs: Sequence[Run], facts: Callable[[Run], Mapping[str, Any]]) -> Html:
    """A table of facts by run: first those that differ, which are marked, then the others."""
    found = [facts(run) for run in runs]
    names = list(dict.fromkeys(name for one in found for name in one))
    if not names:
        return tag("p", "Nothing is recorded.", class_="note")
    texts = {name: [shown(one.get(name)) for one in found] for name in names}
    differing = [name for name in names if len(set(texts[name])) > 1]
    rows: list[Any] = [
        tag(
            "tr",
            tag("th", tag("b", "≠ ", title="differs"), name, scope="row"),
            *(tag("td", text) for text in texts[name]),
            class_="differs",
        )
        for name in differing
    ]
    same = [[name, *texts[name]] for name in names if name not in differing]
    if len(runs) == 1:
        return _scrolling(["", runs[0].name], same, "facts")
    head = ["", *(run.name for run in runs)]
    parts = (
        [_scrolling(head, rows, "facts")] if rows else [tag("p", "All the same.", class_="note")]
    )
    if same:
        once = [[name, texts[name][0]] for name in names if name not in differing]
        summary = tag("summary", f"{len(same)} that are the same in all runs")
        parts.append(tag("details", summary, _scrolling(["", "all runs"], once, "facts")))
    return join(parts)


def _checkpoints(run: Run) -> Html:
    title = tag("h3", run.name)
    if not run.checkpoints:
        return join([title, tag("p", "There are none.", class_="note")])
    rows = [_checkpoint(one) for one in run.checkpoints]
    head = ["File", "Step", "Epoch", "Score", "Saved (UTC)", "Size", "State"]
    return join([title, _scrolling(head, rows, "checkpoints")])


def _checkpoint(one: Checkpoint) -> list[Any]:
    state = (
        "finished" if one.state == "verified" else "failed" if one.state == "damaged" else "unknown"
    )
    score = "-" if one.score is None else f"{one.score:.5g}"
    return [
        one.file,
        shown(one.step),
        shown(one.epoch),
        f"{one.score_name} {score}" if one.score_name and one.score is not None else score,
        "-" if one.created is None else _moment(one.created),
        "-" if one.size_bytes is None else _size(one.size_bytes),
        join([_badge(state, _CHECKPOINT_STATES[one.state]), " ", one.problem]),
    ]


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"


def _moment(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):  # of a damaged line
        return "?"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
