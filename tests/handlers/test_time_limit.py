import time

import pytest

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers.time_limit import TimeLimit
from support import guarded_processes, harness


@pytest.fixture
def clocks(monkeypatch):
    """The clock of the library and that on the wall, both put forward by hand."""
    times = {"monotonic": 1000.0, "wall": 5000.0}
    monkeypatch.setattr(clock, "now", lambda: times["monotonic"])
    monkeypatch.setattr(time, "time", lambda: times["wall"])
    return times


def make_engine(clocks, seconds):
    """Each step takes so many seconds."""

    def step(engine, batch):
        clocks["monotonic"] += seconds
        clocks["wall"] += seconds

    return Engine(step)


def test_it_stops_once_more_than_the_limit_has_passed(clocks, caplog):
    engine = make_engine(clocks, 1)
    engine.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(3))
    with caplog.at_level("INFO", "ignite.handlers.time_limit.TimeLimit"):
        assert engine.run(range(9)).iteration == 4
    assert "Reached the time limit: 3 sec. Stop training" in caplog.text


def test_time_counts_from_construction(clocks):
    engine, limit = make_engine(clocks, 1), TimeLimit(10)
    clocks["monotonic"] += 8
    engine.add_event_handler(Events.ITERATION_COMPLETED, limit)
    assert engine.run(range(9)).iteration == 3


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_jump_of_the_wall_clock_does_not_matter(clocks, jump):
    engine = make_engine(clocks, 1)
    engine.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(5))

    @engine.on(Events.ITERATION_COMPLETED(once=2))
    def correct():
        clocks["wall"] += jump

    assert engine.run(range(20)).iteration == 6
    assert clocks["wall"] == 5006 + jump


def test_a_checkpoint_is_saved_once_before_the_end(clocks):
    saved = []
    limit = TimeLimit(
        2, checkpoint=lambda engine: saved.append((engine.state.iteration, engine.should_terminate))
    )
    engine = make_engine(clocks, 1)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED | Events.TERMINATE | Events.COMPLETED, limit
    )
    engine.run(range(9))
    assert saved == [(3, False)]


def test_the_default_is_eight_hours():
    assert TimeLimit().limit_sec == 28800


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((True,), {}, TypeError, "Argument limit_sec should be an integer, but given True"),
        ((1.5,), {}, TypeError, "Argument limit_sec should be an integer, but given 1.5"),
        ((0,), {}, ValueError, "Argument limit_sec should be a positive integer, but given 0"),
        ((1,), {"checkpoint": 3}, TypeError, "Argument checkpoint should be callable, but given 3"),
    ],
)
def test_wrong_arguments_are_refused(args, options, error, message):
    with pytest.raises(error, match=message):
        TimeLimit(*args, **options)


def test_all_processes_stop_when_the_time_of_the_first_is_up():
    assert harness.run(guarded_processes.time_is_up_in_the_second, 2) == [4, 4]
