import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.handlers._profilers.reports import trace_events, write_trace
from ignite.handlers._profilers.timings import Part


def test_times_are_in_microseconds_from_the_first_and_what_is_around_comes_first():
    run = Part("run", "run", track=1)
    step, save = run.child("step", "step"), run.child("save", "handlers", "EPOCH_COMPLETED")
    events = trace_events(
        [(step, 6_000, 8_500), (save, 9_000, 9_000), (run, 5_000, 10_000)], rank=3
    )
    assert events == [
        {"name": "process_name", "ph": "M", "pid": 3, "tid": 0, "args": {"name": "rank 3"}},
        {"name": "thread_name", "ph": "M", "pid": 3, "tid": 1, "args": {"name": "engine 1: run"}},
        {"name": "run", "cat": "run", "ph": "X", "ts": 0.0, "dur": 5.0, "pid": 3, "tid": 1},
        {"name": "step", "cat": "step", "ph": "X", "ts": 1.0, "dur": 2.5, "pid": 3, "tid": 1},
        {"name": "save", "cat": "handlers", "ph": "X", "ts": 4.0, "dur": 0.0, "pid": 3, "tid": 1,
         "args": {"event": "EPOCH_COMPLETED"}},
    ]  # fmt: skip


def test_without_slices_there_is_only_the_process():
    assert [event["name"] for event in trace_events([], rank=0)] == ["process_name"]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=1))
def test_begins_never_go_back(spans):
    part = Part("step", "step", track=1)
    events = trace_events([(part, begin, begin + length) for begin, length in spans], rank=0)
    complete = [event for event in events if event["ph"] == "X"]
    starts = [event["ts"] for event in complete]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert sum(event["dur"] for event in complete) == pytest.approx(
        sum(length for _, length in spans) / 1e3
    )


def test_the_file_is_json_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "trace.json"
    write_trace(path, [{"name": "a"}])
    assert json.loads(path.read_text()) == {"traceEvents": [{"name": "a"}], "displayTimeUnit": "ms"}
