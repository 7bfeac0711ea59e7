import json
import weakref
from contextlib import contextmanager
from functools import partial

import pytest

from ignite.engine import Engine, Events
from ignite.handlers._profilers import timings
from ignite.handlers.run_profiler import RunProfiler, Spread
from support import harness, profiler_processes
from support.fake_clock import FakeClock
from support.garbage import no_garbage_collection


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock(now=0, per_unit=1e9)
    monkeypatch.setattr(timings, "perf_counter_ns", fake)
    return fake


def make(clock, **options):
    """A trainer that validates at the end of each epoch, and its profiler."""

    def train(engine, batch):
        clock.spend(1)

    def evaluate(engine, batch):
        clock.spend(0.5)

    trainer, evaluator = Engine(train), Engine(evaluate)
    profiler = RunProfiler(**options)
    profiler.attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        clock.spend(0.25)
        evaluator.run([0, 0])

    return trainer, profiler


def test_scalars_of_a_run_add_up_to_the_whole(clock):
    trainer, profiler = make(clock)
    trainer.run([0, 0, 0])
    scalars = profiler.scalars()
    assert scalars == {
        "time/data": 0.0,
        "time/step": 3.0,
        "time/handlers/validate": 1.25,
        "time/handlers/validate/run/evaluate": 1.0,
        "time/handlers/validate/run/evaluate/data": 0.0,
        "time/handlers/validate/run/evaluate/step": 1.0,
        "time/engine": 0.0,
        "time/whole": 4.25,
    }


def test_scalars_are_of_the_epoch_and_fit_a_logger(clock):
    trainer, profiler = make(clock)
    seen = []

    @trainer.on(Events.EPOCH_COMPLETED)
    def log(engine):
        scalars = profiler.scalars(engine.state.output)
        seen.append({name: scalars[f"time/{name}"] for name in ("step", "whole", "engine")})
        clock.spend(8)  # is of the epoch, but nobody has asked after it

    trainer.run([0, 0, 0], max_epochs=3)
    assert seen == [{"step": 3.0, "whole": 4.25, "engine": 0.0}] * 3
    assert trainer.run([0], max_epochs=4).epoch == 4
    assert "time/handlers/log" in profiler.scalars()


def test_scalars_in_the_midst_of_a_nested_run_add_up(clock):
    trainer, profiler = make(clock)
    evaluator, seen = Engine(lambda engine, batch: clock.spend(2)), []

    @evaluator.on(Events.COMPLETED)
    def look():
        seen.append(profiler.scalars())

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    trainer.run([0], max_epochs=2)
    for scalars in seen:
        parts = {
            name: value
            for name, value in scalars.items()
            if "/run/" not in name and name != "time/whole"
        }
        assert sum(parts.values()) == pytest.approx(scalars["time/whole"])
        assert min(scalars.values()) >= 0


def test_an_epoch_begins_before_all_handlers_of_its_begin(clock):
    trainer, profiler = make(clock)
    seen = []
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: clock.spend(2), priority=1)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append(profiler.scalars()["time/whole"])
    )
    trainer.run([0], max_epochs=2)
    assert seen == [4.25, 4.25]


def test_before_the_first_epoch_of_a_new_run_the_one_before_is_forgotten(clock):
    trainer, profiler = make(clock)
    seen = []
    trainer.add_event_handler(
        Events.STARTED, lambda: (clock.spend(2), seen.append(profiler.scalars()["time/whole"]))
    )
    trainer.run([0], max_epochs=2)
    trainer.run([0], max_epochs=2)
    assert seen == [2.0, 2.0]


def test_what_others_do_around_the_run_is_the_engines(clock):
    trainer = Engine(lambda engine, batch: clock.spend(1))

    @contextmanager
    def wait(engine, is_beginning):
        yield
        clock.spend(5)

    trainer._frames.append(wait)
    profiler = RunProfiler()
    profiler.attach(trainer)
    trainer.run([0])
    assert profiler.scalars() == {
        "time/step": 1.0,
        "time/data": 0.0,
        "time/engine": 5.0,
        "time/whole": 6.0,
    }


def test_a_new_run_starts_again_and_a_continued_one_adds(clock):
    trainer, profiler = make(clock)
    trainer.run([0, 0])
    trainer.run([0, 0])
    assert profiler._times()["step"] == 2 * 10**9
    trainer.run([0, 0], max_epochs=3)
    assert profiler._times()["step"] == 6 * 10**9


def test_the_table_has_a_line_for_each_part(clock):
    trainer, profiler = make(clock)
    trainer.run([0, 0, 0])
    lines = profiler.table().splitlines()
    assert lines[1].split()[:5] == ["step", "3.000", "70.6", "%", "3"]
    assert lines[2].split()[:5] == ["validate", "(EPOCH_COMPLETED)", "1.250", "29.4", "%"]
    assert lines[-1].split() == ["whole", "4.250", "100.0", "%"]


def check_trace(events):
    """The keys that the format requires, and that slices of a row lie one within or after the other."""
    assert {event["ph"] for event in events} == {"M", "X"}
    open_by_row = {}
    for event in events:
        assert {"name", "ph", "pid", "tid"} <= set(event)
        if event["ph"] == "M":
            assert event["args"]["name"]
            continue
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        stack = open_by_row.setdefault((event["pid"], event["tid"]), [])
        end = event["ts"] + event["dur"]
        while stack and stack[-1] <= event["ts"] + 1e-6:
            stack.pop()
        assert all(end <= outer + 1e-6 for outer in stack)
        if event["dur"]:
            stack.append(end)


def test_a_trace_of_a_real_run_is_nested_as_the_run_was(tmp_path):
    trainer, evaluator = (Engine(lambda engine, batch: sum(range(100))) for _ in range(2))
    profiler = RunProfiler()
    profiler.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(range(4)))
    trainer.run(range(6), max_epochs=3)
    path = profiler.chrome_trace(tmp_path / "new" / "trace.json")
    assert path == tmp_path / "new" / "trace.json"
    events = json.loads(path.read_text())["traceEvents"]
    check_trace(events)
    names = [(event["tid"], event["cat"]) for event in events if event["ph"] == "X"]
    assert names.count((1, "step")) == 18
    assert names.count((2, "step")) == 12
    assert names.count((2, "run")) == 3
    assert names.count((1, "run")) == 1
    assert [event["args"]["name"].split(":")[0] for event in events if event["ph"] == "M"] == [
        "rank 0",
        "engine 1",
        "engine 2",
    ]
    runs = [
        event
        for event in events
        if event["ph"] == "X" and event["tid"] == 2 and event["cat"] == "run"
    ]
    handlers = [event for event in events if event.get("args") == {"event": "EPOCH_COMPLETED"}]
    for handler, run in zip(handlers, runs, strict=True):
        assert handler["ts"] <= run["ts"]
        assert run["ts"] + run["dur"] <= handler["ts"] + handler["dur"] + 1e-6


def test_the_check_of_traces_finds_a_planted_fault():
    event = {"name": "a", "ph": "X", "pid": 0, "tid": 1}
    named = {"name": "process_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": "rank 0"}}
    with pytest.raises(AssertionError):
        check_trace([named, {**event, "ts": 0, "dur": 5}, {**event, "ts": 3, "dur": 5}])


def test_a_trace_keeps_the_requested_number_of_events(tmp_path):
    trainer, profiler = Engine(lambda engine, batch: None), RunProfiler(num_slices=4)
    profiler.attach(trainer)
    trainer.run(range(50))
    events = json.loads(profiler.chrome_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == 4


def test_attached_once_more_it_measures_once_and_its_own_handler_is_not_shown(clock):
    trainer, profiler = make(clock)
    profiler.attach(trainer)
    assert len(trainer._frames) == 1
    trainer.run([0, 0])
    assert profiler._times()["step"] == 2 * 10**9
    assert not [name for name in profiler.scalars() if "begin" in name]


def test_one_profiler_is_of_one_engine_while_that_lives():
    profiler, first = RunProfiler(), Engine(lambda engine, batch: None)
    profiler.attach(first)
    second = Engine(lambda engine, batch: None)
    with pytest.raises(RuntimeError, match="already attached to another engine"):
        profiler.attach(second)
    assert second._frames == []
    del first
    profiler.attach(second)


@pytest.mark.parametrize("engine", [None, 3, "trainer"])
def test_it_is_attached_to_engines_only(engine):
    with pytest.raises(
        TypeError, match=f"Argument engine should be ignite.engine.Engine, but given {type(engine)}"
    ):
        RunProfiler().attach(engine)


@pytest.mark.parametrize("num_slices", [0, -1, 1.5, None])
def test_the_number_of_slices_is_positive(num_slices):
    with pytest.raises(
        ValueError, match=f"num_slices should be a positive integer, but given {num_slices!r}"
    ):
        RunProfiler(num_slices=num_slices)


def test_before_a_run_there_are_no_times(tmp_path):
    profiler = RunProfiler()
    assert profiler.scalars() == {"time/engine": 0.0, "time/whole": 0.0}
    assert "whole" in profiler.table()
    assert profiler.stragglers() == {"engine": Spread(0.0, 0.0, 0), "whole": Spread(0.0, 0.0, 0)}
    check = json.loads(profiler.chrome_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in check] == ["process_name"]


def test_iterations_without_handlers_stay_in_the_quiet_loop(monkeypatch):
    trainer, profiler = Engine(lambda engine, batch: None), RunProfiler()
    profiler.attach(trainer)
    fired = []
    monkeypatch.setattr(trainer, "_count_firing", lambda name: fired.append(name) or 0)
    trainer.run(range(1000))
    assert [name for name in fired if "BATCH" in name or "ITERATION" in name] == []


def test_a_trainer_that_it_is_attached_to_is_freed_without_the_collector():
    trainer, profiler = Engine(lambda engine, batch: None), RunProfiler()
    profiler.attach(trainer)
    trainer.run([0])
    ref = weakref.ref(trainer)
    with no_garbage_collection():
        del trainer
        assert ref() is None
    assert "step" in profiler.table()


def test_processes_exchange_which_rank_is_slow_and_write_their_own_files(tmp_path):
    first, second = harness.run(partial(profiler_processes.profile_uneven_ranks, str(tmp_path)), 2)
    assert (
        first[0]
        == second[0]
        == {
            "step": (2.0, 4.0, 1),
            "data": (0.0, 0.0, 0),
            "handlers/log": (0.0, 0.5, 0),
            "engine": (0.0, 0.0, 0),
            "whole": (2.5, 4.0, 1),
        }
    )
    assert (first[1], second[1]) == ("trace.rank0.json", "trace.rank1.json")
    for rank in range(2):
        events = json.loads((tmp_path / f"trace.rank{rank}.json").read_text())["traceEvents"]
        assert {event["pid"] for event in events} == {rank}
