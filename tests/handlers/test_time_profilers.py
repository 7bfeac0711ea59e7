"""Profilers with a clock advanced by hand, compared with results recorded from pytorch-ignite 0.5.5."""

import csv
import weakref

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers._profilers import timings
from ignite.handlers.time_profilers import BasicTimeProfiler, HandlersTimeProfiler
from support.fake_clock import FakeClock
from support.garbage import no_garbage_collection

PROFILERS = pytest.mark.parametrize("profiler_type", [BasicTimeProfiler, HandlersTimeProfiler])


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock()
    monkeypatch.setattr(timings, "perf_counter", fake)
    return fake


class Loader:
    def __init__(self, clock, length=None, seconds=4.0):
        self.clock, self.num_batches, self.seconds = clock, length, seconds
        if length is None:
            self.num_batches = 4

    def __iter__(self):
        for i in range(self.num_batches):
            self.clock.spend(self.seconds)
            yield i


class SizedLoader(Loader):
    def __len__(self):
        return self.num_batches


def make(clock):
    """Handlers on several events; one is filtered, two have the same name, one event is the program's own."""
    engine = Engine(lambda engine, batch: clock.spend(1.0 + batch))
    engine.register_events("custom")

    def slow(engine):
        clock.spend(2.0)

    def report(engine):
        clock.spend(0.5)
        engine.fire_event("custom")

    engine.add_event_handler(Events.ITERATION_COMPLETED, slow)
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), slow)
    engine.add_event_handler(Events.EPOCH_COMPLETED, report)
    engine.add_event_handler(Events.STARTED, lambda: clock.spend(0.25))
    engine.add_event_handler("custom", slow)
    engine.add_event_handler(Events.EXCEPTION_RAISED, raise_again)
    return engine


def raise_again(engine, error):
    raise error


def test_basic_results_of_two_epochs(clock):
    engine, profiler = make(clock), BasicTimeProfiler()
    profiler.attach(engine)
    engine.run(SizedLoader(clock), max_epochs=2)
    assert profiler.processing_times.tolist() == [1.0, 2.0, 3.0, 4.0] * 2
    assert profiler.dataflow_times.tolist() == [4.0] * 8
    times = {event.name: values.tolist() for event, values in profiler.event_handlers_times.items()}
    assert times == {
        "STARTED": [0.25],
        "EPOCH_STARTED": [0.0] * 2,
        "GET_BATCH_STARTED": [0.0] * 8,
        "GET_BATCH_COMPLETED": [0.0] * 8,
        "ITERATION_STARTED": [0.0] * 8,
        "ITERATION_COMPLETED": [2.0, 4.0] * 4,
        "EPOCH_COMPLETED": [2.5] * 2,
        "COMPLETED": [0.0],
    }
    assert (profiler.max_epochs, profiler.total_num_iters) == (2, 8)
    results = profiler.get_results()
    assert list(results) == [
        "processing_stats",
        "dataflow_stats",
        "event_handlers_stats",
        "event_handlers_names",
    ]
    assert dict(results["processing_stats"]) == {
        "total": 20.0, "min/index": (1.0, 0), "max/index": (4.0, 3), "mean": 2.5,
        "std": pytest.approx(torch.tensor([1.0, 2, 3, 4] * 2).std().item()),
    }  # fmt: skip
    assert results["event_handlers_stats"]["EPOCH_COMPLETED"]["total"] == 5.0
    assert dict(results["event_handlers_stats"]["STARTED"]) == {"total": 0.25}
    assert results["event_handlers_stats"]["total_time"] == torch.tensor(0.25 + 24 + 5)
    names = results["event_handlers_names"]
    assert [name.split(".")[-1] for name in names["ITERATION_COMPLETED_names"]] == ["slow", "slow"]
    assert names["GET_BATCH_STARTED_names"] == []


def test_basic_results_as_csv(clock, tmp_path):
    engine, profiler = make(clock), BasicTimeProfiler()
    profiler.attach(engine)
    engine.run(SizedLoader(clock, 2), max_epochs=2)
    profiler.write_results(str(tmp_path / "out.csv"))
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == (  # recorded
        "epoch,iteration,processing_stats,dataflow_stats,Event_STARTED,Event_COMPLETED,Event_EPOCH_STARTED,"
        "Event_EPOCH_COMPLETED,Event_ITERATION_STARTED,Event_ITERATION_COMPLETED,Event_GET_BATCH_STARTED,"
        "Event_GET_BATCH_COMPLETED"
    )
    assert lines[1:] == [
        "1.0,1.0,1.0,4.0,0.25,0.0,0.0,2.5,0.0,2.0,0.0,0.0",
        "1.0,2.0,2.0,4.0,0.25,0.0,0.0,2.5,0.0,4.0,0.0,0.0",
        "2.0,3.0,1.0,4.0,0.25,0.0,0.0,2.5,0.0,2.0,0.0,0.0",
        "2.0,4.0,2.0,4.0,0.25,0.0,0.0,2.5,0.0,4.0,0.0,0.0",
    ]


@pytest.mark.parametrize(
    ("limit", "total"), [({"max_iters": 6}, 6), ({"max_epochs": 2}, 8), ({}, 4)]
)
@pytest.mark.parametrize("loader", [Loader, SizedLoader])
def test_basic_works_with_any_limit_and_data_of_unknown_length(clock, loader, limit, total):
    engine, profiler = make(clock), BasicTimeProfiler()
    profiler.attach(engine)
    engine.run(loader(clock), **limit)
    assert profiler.processing_times.tolist() == ([1.0, 2.0, 3.0, 4.0] * 2)[:total]
    assert profiler.total_num_iters == total
    assert profiler.get_results()["dataflow_stats"]["total"] == 4.0 * total


def test_basic_before_and_in_the_midst_of_a_run(clock, capsys):
    engine, profiler, seen = make(clock), BasicTimeProfiler(), []
    assert profiler.get_results()["processing_stats"]["total"] == "not yet triggered"
    assert profiler.processing_times.tolist() == []
    profiler.attach(engine)

    @engine.on(Events.ITERATION_COMPLETED(once=3))
    def look():
        seen.append(profiler.get_results())

    engine.run(SizedLoader(clock))
    assert seen[0]["processing_stats"]["total"] == 6.0
    assert seen[0]["event_handlers_stats"]["EPOCH_COMPLETED"]["total"] == "not yet triggered"
    text = BasicTimeProfiler.print_results(seen[0])
    assert capsys.readouterr().out == text + "\n"
    assert "6.00000 | 1.00000/0 | 3.00000/2 | 2.00000 | 1.00000" in text


def test_handlers_results(clock, capsys):
    engine, profiler = make(clock), HandlersTimeProfiler()
    profiler.attach(engine)
    engine.run(SizedLoader(clock), max_epochs=2)
    rows = [[row[0].split(".")[-1], *row[1:]] for row in profiler.get_results()]
    assert sorted(rows[:-3]) == [
        ["<lambda>", "STARTED", 0.25, (0.25, 0), (0.25, 0), 0.25, "None"],
        [
            "raise_again",
            "EXCEPTION_RAISED",
            "not triggered",
            ("None", "None"),
            ("None", "None"),
            "None",
            "None",
        ],
        ["report", "EPOCH_COMPLETED", 5.0, (2.5, 0), (2.5, 0), 2.5, 0.0],
        ["slow", "ITERATION_COMPLETED", 24.0, (2.0, 0), (2.0, 0), 2.0, 0.0],
        ["slow", "custom", 4.0, (2.0, 0), (2.0, 0), 2.0, 0.0],
    ]
    assert rows[-3:] == [
        ["Total", "", 33.25, "", "", "", ""],
        ["Processing", "None", 20.0, (1.0, 0), (4.0, 3), 2.5, 1.19523],
        ["Dataflow", "None", 32.0, (4.0, 0), (4.0, 0), 4.0, 0.0],
    ]
    assert profiler.processing_times == [1.0, 2.0, 3.0, 4.0] * 2
    assert profiler.dataflow_times == [4.0] * 8
    assert HandlersTimeProfiler.print_results(profiler.get_results()) is None
    assert "Processing took total 20.0s" in capsys.readouterr().out


def test_handlers_results_before_a_run_are_as_recorded():
    none = ["not triggered", ("None", "None"), ("None", "None"), "None", "None"]
    assert HandlersTimeProfiler().get_results() == [
        ["Total", "", 0, "", "", "", ""], ["Processing", "None", *none], ["Dataflow", "None", *none]
    ]  # fmt: skip


def test_handlers_results_as_csv_are_filled_up_with_zeros(clock, tmp_path):
    engine, profiler = make(clock), HandlersTimeProfiler()
    profiler.attach(engine)
    engine.run(SizedLoader(clock, 2))
    profiler.write_results(str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["#", "processing_stats", "dataflow_stats"]
    columns = {name: [float(row[i]) for row in rows] for i, name in enumerate(header)}
    found = {name.rpartition(".")[2]: values for name, values in columns.items()}
    assert found == {
        "#": [1.0, 2.0, 3.0],
        "processing_stats": [1.0, 2.0, 0.0],
        "dataflow_stats": [4.0, 4.0, 0.0],
        "slow (ITERATION_COMPLETED)": [2.0, 2.0, 2.0],
        "report (EPOCH_COMPLETED)": [2.5, 0.0, 0.0],
        "<lambda> (STARTED)": [0.25, 0.0, 0.0],
        "slow (custom)": [2.0, 0.0, 0.0],
        "raise_again (EXCEPTION_RAISED)": [0.0, 0.0, 0.0],
    }


def traces_of(engine):
    return {
        name: [(call[0], call[1:-1]) for call in table.calls]
        for name, table in engine._tables.items()
        if table.calls
    }


@PROFILERS
@pytest.mark.parametrize("end", ["by itself", "exception", "terminate", "interrupt"])
def test_nothing_is_left_on_the_engine_and_nothing_swallowed(clock, profiler_type, end):
    def step(engine, batch):
        clock.spend(1.0)
        if batch == 2 and end == "exception":
            raise KeyError("told")

    engine, profiler = Engine(step), profiler_type()
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda: None)
    if end in ("terminate", "interrupt"):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: getattr(engine, end)())
    before = traces_of(engine)
    profiler.attach(engine)
    profiler.attach(engine)
    assert len(engine._frames) == 1
    if end == "exception":
        with pytest.raises(KeyError, match="told"):
            engine.run(range(4))
    else:
        engine.run(range(4))
    assert traces_of(engine) == before
    assert engine._meters == ()
    assert list(profiler.processing_times) == [1.0] * (4 if end == "by itself" else 2)
    if end == "interrupt":
        clock.spend(1000)
        engine.run(range(4))
        assert list(profiler.processing_times) == [1.0] * 4


@PROFILERS
def test_a_new_run_starts_again_and_a_continued_one_adds(clock, profiler_type):
    engine, profiler = Engine(lambda engine, batch: clock.spend(1.0)), profiler_type()
    profiler.attach(engine)
    engine.run(range(2))
    engine.run(range(2))
    assert len(profiler.processing_times) == 2
    engine.run(range(2), max_epochs=3)
    assert list(profiler.processing_times) == [1.0] * 6


@PROFILERS
def test_a_handler_that_raises_has_its_handler_of_exceptions_called_once(clock, profiler_type):
    engine, profiler, seen = Engine(lambda engine, batch: None), profiler_type(), []
    profiler.attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: 1 / 0)
    engine.add_event_handler(
        Events.EXCEPTION_RAISED, lambda engine, error: seen.append(type(error))
    )
    engine.run([0])
    assert seen == [ZeroDivisionError]


@PROFILERS
def test_handlers_added_in_the_run_are_timed(clock, profiler_type):
    engine, profiler = Engine(lambda engine, batch: None), profiler_type()
    profiler.attach(engine)

    @engine.on(Events.ITERATION_COMPLETED(once=1))
    def add():
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: clock.spend(3.0))

    engine.run([0])
    if profiler_type is BasicTimeProfiler:
        assert profiler.event_handlers_times[Events.EPOCH_COMPLETED].tolist() == [3.0]
    else:
        (times,) = profiler.event_handlers_times[Events.EPOCH_COMPLETED].values()
        assert times == [3.0]
    assert engine.has_event_handler(add)


def test_both_may_be_attached_together_and_do_not_time_each_other(clock):
    engine, basic, handlers = make(clock), BasicTimeProfiler(), HandlersTimeProfiler()
    handlers.attach(engine)
    basic.attach(engine)
    engine.run(SizedLoader(clock))
    assert basic.processing_times.tolist() == handlers.processing_times == [1.0, 2.0, 3.0, 4.0]
    assert not [row for row in handlers.get_results() if "Profiler" in row[0]]
    assert not [
        name
        for names in basic.event_handlers_names.values()
        for name in names
        if "Profiler" in name
    ]


def test_a_loaded_state_continues_at_its_iteration(clock):
    engine, profiler = make(clock), BasicTimeProfiler()
    profiler.attach(engine)
    engine.load_state_dict({"epoch": 1, "max_epochs": 2, "epoch_length": 4})
    engine.run(SizedLoader(clock))
    assert profiler.processing_times.tolist() == [0.0] * 4 + [1.0, 2.0, 3.0, 4.0]
    assert profiler.get_results()["processing_stats"]["min/index"] == (1.0, 4)


@PROFILERS
def test_it_is_attached_to_engines_only(profiler_type):
    with pytest.raises(
        TypeError, match=r"Argument engine should be ignite.engine.Engine, but given <class 'int'>"
    ):
        profiler_type().attach(3)


@PROFILERS
def test_an_engine_is_freed_without_the_collector(profiler_type):
    engine, profiler = Engine(lambda engine, batch: None), profiler_type()
    profiler.attach(engine)
    engine.run([0])
    ref = weakref.ref(engine)
    with no_garbage_collection():
        del engine
        assert ref() is None


def test_constants_of_ignite_are_there():
    assert HandlersTimeProfiler.EVENT_FILTER_THESHOLD_TIME == 0.0001
    assert [event.name for event in BasicTimeProfiler.events_to_ignore] == [
        "EXCEPTION_RAISED", "TERMINATE", "TERMINATE_SINGLE_EPOCH", "DATALOADER_STOP_ITERATION", "INTERRUPT"
    ]  # fmt: skip
