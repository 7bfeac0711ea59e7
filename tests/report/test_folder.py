"""Reading the folder of a run, with missing or incomplete files."""

import json
import math
import os
import socket

import pytest

from ignite.report import Curve, Timeline, find_runs, read_run, read_runs
from ignite.report.folder import Verifier
from ignite.storage import append_line, read_lines


def write_events(folder, *events):
    """Writes events as (time, event, step, epoch) and further values."""
    folder.mkdir(exist_ok=True)
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        for time, event, step, epoch, *more in events:
            values = {"time": time, "event": event, "step": step, "epoch": epoch}
            file.write(json.dumps(values | (more[0] if more else {})) + "\n")


def test_lines_are_appended_whole_and_torn_ones_are_ended_and_skipped(tmp_path):
    path = tmp_path / "new" / "events.jsonl"
    append_line(
        path, {"event": "started", "loss": math.nan, "more": [math.inf, {"low": -math.inf}]}
    )
    with path.open("ab") as file:
        file.write(b'{"event": "ep')
    append_line(path, {"event": "failed", "what": ValueError("x")})
    lines = list(read_lines(path))
    assert [line["event"] for line in lines] == ["started", "failed"]
    assert (lines[0]["loss"], lines[0]["more"]) == ("NaN", ["Infinity", {"low": "-Infinity"}])
    assert lines[1]["what"] == "x"
    assert all(isinstance(line["time"], float) for line in lines)


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"a"', "\xff", "", "[" * 100_000, '{"step": "1"}', "null"]
)
def test_damaged_lines_do_not_hide_the_others(tmp_path, text):
    head, line = (
        '{"format": 1, "id": "a"}',
        '{"time": 1.5, "step": 2, "scalars": {"training/loss": 0.5}}',
    )
    (tmp_path / "scalars.jsonl").write_bytes(f"{head}\n{text}\n{line}\n{text}".encode("latin-1"))
    write_events(tmp_path, (1.0, "started", 0, 0))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(text.encode("latin-1"))
    run = read_run(tmp_path)
    assert run.curves == {"training/loss": Curve([2], [0.5], [1.5])}
    assert [event["event"] for event in run.events] == ["started"]


def test_values_that_are_not_finite_are_read_and_texts_are_not(tmp_path):
    lines = [
        {"format": 1, "id": "a"},
        {"time": 1, "step": 1, "scalars": {"a": "NaN", "b": "text", "c": True}},
        {"time": 2, "step": 2, "scalars": {"a": "-Infinity"}},
        {"time": 3, "params": {"a": 1}},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    curves = read_run(tmp_path).curves
    assert math.isnan(curves["a"].values[0])
    assert curves["a"].values[1] == -math.inf
    assert list(curves) == ["a", "c"]


def test_steps_that_were_trained_again_replace_lost_ones():
    curve = Curve()
    for step, value in [(10, 1.0), (20, 2.0), (30, 3.0), (20, 4.0), (30, 5.0)]:
        curve.add(step, value, time=float(value))
    assert curve == Curve([10, 20, 30], [1.0, 4.0, 5.0], [1.0, 4.0, 5.0])


def test_epochs_that_were_lost_with_a_kill_are_left_out(tmp_path):
    write_events(
        tmp_path,
        (0.0, "started", 0, 0),
        (1.0, "epoch", 10, 1, {"row": {"loss": 1.0}}),
        (2.0, "epoch", 20, 2, {"row": {"loss": 0.5}}),
        (9.0, "resumed", 10, 1),
        (10.0, "epoch", 20, 2, {"row": {"loss": 0.25}}),
    )
    run = read_run(tmp_path)
    assert [(row["time"], row["row"]["loss"]) for row in run.epochs] == [(1.0, 1.0), (10.0, 0.25)]


def test_sessions_and_their_ends():
    folder_events = [
        (0.0, "started", 0, 0),
        (4.0, "epoch", 10, 1),
        (5.0, "failed", 12, 2, {"error": "ValueError", "message": "<b>"}),
        (100.0, "resumed", 10, 1),
        (103.0, "epoch", 20, 2),
        (200.0, "resumed", 20, 2),
        (201.0, "stopped", 25, 3, {"reason": "SIGTERM"}),
        (300.0, "resumed", 25, 3),
        (302.0, "finished", 30, 3),
    ]
    run = make_run(folder_events)
    timeline = Timeline(run)
    assert [(span.start, span.end, span.outcome, span.text) for span in timeline.spans] == [
        (0.0, 5.0, "failed", "ValueError: <b>"),
        (100.0, 103.0, "killed", ""),  # the last sign of life
        (200.0, 201.0, "stopped", "SIGTERM"),
        (300.0, 302.0, "finished", ""),
    ]
    assert [(mark.kind, mark.time, mark.step) for mark in timeline.marks] == [
        ("failed", 5.0, 12), ("resumed", 100.0, 10), ("killed", 103.0, 20), ("resumed", 200.0, 20),
        ("stopped", 201.0, 25), ("resumed", 300.0, 25),
    ]  # fmt: skip
    assert (timeline.state, timeline.duration) == ("finished", 11.0)
    # Without the time between sessions: 5 + 3 + 1 seconds before the last.
    assert [timeline.elapsed(moment) for moment in (-1.0, 4.0, 50.0, 101.0, 301.0)] == [
        0.0, 4.0, 5.0, 6.0, 10.0,
    ]  # fmt: skip
    assert [timeline.epoch_at(step) for step in (0, 5, 10, 15, 20, 25)] == [0, 0.5, 1, 1.5, 2, 2.5]


def test_commands_that_were_obeyed_are_marked():
    done = {"command": "set", "is_done": True, "text": "lr=0.01"}
    run = make_run(
        [
            (0.0, "started", 0, 0),
            (2.0, "control", 7, 1, done),
            (3.0, "control", 8, 1, {**done, "is_done": False}),
            (4.0, "failed", 9, 1),
        ]
    )
    assert [(mark.kind, mark.step, mark.text) for mark in Timeline(run).marks] == [
        ("control", 7, "set: lr=0.01"),
        ("failed", 9, "failed: None: None"),
    ]


def make_run(events):
    """A run from events alone."""
    from pathlib import Path

    from ignite.report import Run

    names = ("time", "event", "step", "epoch")
    found = [
        dict(zip(names, event, strict=False)) | (event[4] if len(event) > 4 else {})
        for event in events
    ]
    return Run("run", Path("run"), events=found)


@pytest.mark.parametrize(
    ("start", "silent_s", "expected"),
    [
        ({"host": socket.gethostname(), "process": os.getpid()}, 10_000, "running"),
        ({"host": socket.gethostname(), "process": 2**22 + 1}, 1, "killed"),  # above any process
        ({"host": "elsewhere", "process": os.getpid()}, 1, "running"),
        ({"host": "elsewhere", "process": os.getpid()}, 10_000, "killed"),
        ({}, 1, "running"),
    ],
)
def test_a_run_without_an_end_continues_or_was_killed(start, silent_s, expected):
    run = make_run([(100.0, "started", 0, 0, start), (101.0, "epoch", 5, 1)])
    assert Timeline(run, now=101.0 + silent_s).state == expected


def test_a_folder_without_events_has_one_session_of_unknown_end(tmp_path):
    lines = ['{"format": 1, "id": "a"}', '{"time": 5, "step": 1, "scalars": {"loss": 1}}',
             '{"time": 9, "step": 7, "scalars": {"loss": 2}}']  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    (span,) = Timeline(read_run(tmp_path)).spans
    assert (span.start, span.end, span.last_step, span.outcome) == (5, 9, 7, "unknown")
    assert Timeline(read_run(tmp_path)).epoch_at(3) is None


def test_runs_are_found_below_folders_and_get_short_names(tmp_path):
    for name in ("x/seed0", "x/seed1", "y/seed0"):
        (tmp_path / name).mkdir(parents=True)
        write_events(tmp_path / name, (1.0, "started", 0, 0))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    found, others = find_runs(
        [tmp_path, tmp_path / "notes.txt", tmp_path / "empty", tmp_path / "no"]
    )
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "x/seed0",
        "x/seed1",
        "y/seed0",
    ]
    assert [path.name for path in others] == ["notes.txt", "empty", "no"]
    assert [run.name for run in read_runs([tmp_path])] == ["x/seed0", "x/seed1", "y/seed0"]
    assert [run.name for run in read_runs([tmp_path / "x" / "seed1"])] == ["seed1"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "{"])
def test_another_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="run.json should be the record of a run in format 1"):
        read_run(tmp_path)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="path should be the folder of a run, but given"):
        read_run(tmp_path / "nowhere")


def test_a_checkpoint_is_verified_again_only_if_it_changes(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("ignite.storage.verify", lambda path: calls.append(path.name))
    path, verifier = tmp_path / "a.pt", Verifier()
    path.write_bytes(b"one")
    assert [verifier.problem_of(path) for _ in range(3)] == ["", "", ""]
    assert calls == ["a.pt"]
    path.write_bytes(b"another")
    verifier.problem_of(path)
    assert len(calls) == 2
