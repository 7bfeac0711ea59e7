import pickle

import pytest

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.metrics import Frequency


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


@pytest.fixture
def time(monkeypatch):
    fake = Clock()
    monkeypatch.setattr(clock, "now", fake)
    return fake


def working(time, seconds):
    """Takes so many seconds for each iteration, one after the other."""
    durations = iter(seconds)

    def step(engine, batch):
        time.time += next(durations)
        return batch

    return Engine(step)


def test_items_since_reset_by_the_seconds_since_then(time):
    metric = Frequency()
    assert metric.compute() == 0.0
    time.time += 50
    metric.reset()
    time.time += 2
    metric.update(10)
    assert metric.compute() == 5.0
    time.time += 3
    metric.update(40)
    assert metric.compute() == 10.0
    time.time += 100  # without an update, nothing is known of it
    assert metric.compute() == 10.0


def test_each_epoch_restarts_and_values_are_integers(time):
    engine, seen = working(time, [2.0, 1.0, 5.0, 1.0]), []
    Frequency(lambda output: len(output)).attach(engine, "frequency")
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.metrics["frequency"])
    )

    @engine.on(Events.EPOCH_COMPLETED)
    def pause():
        time.time += 1000

    engine.run([range(5), range(8)], max_epochs=2)
    assert seen == [2, 4, 1, 2]  # 5 / 2, 13 / 3, 5 / 5, 13 / 6
    assert all(type(value) is int for value in seen)


def test_at_any_event_the_value_is_over_the_epoch_so_far(time):
    engine, seen = working(time, [1.0] * 6), []
    Frequency().attach(engine, "every", Events.ITERATION_COMPLETED(every=2))
    Frequency().attach(engine, "epoch", event_name=Events.EPOCH_COMPLETED)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.metrics.get("every"))
    )
    assert engine.run([3, 5, 7, 9, 11, 13]).metrics == {"every": 8, "epoch": 8}
    assert seen == [None, 4, 4, 6, 6, 8]


def test_before_any_time_has_passed_it_is_zero(time):
    engine = working(time, [0.0])
    Frequency().attach(engine, "frequency")
    assert engine.run([10]).metrics == {"frequency": 0}


def test_several_on_one_engine_are_independent(time):
    engine = working(time, [1.0, 1.0])
    Frequency().attach(engine, "items")
    Frequency(lambda output: 100 * output).attach(engine, "bytes")
    assert engine.run([4, 8]).metrics == {"items": 6, "bytes": 600}


@pytest.mark.parametrize(
    "events",
    [
        [Events.ITERATION_COMPLETED],
        [Events.EPOCH_COMPLETED],
        [Events.ITERATION_COMPLETED(every=2)],
        [Events.ITERATION_COMPLETED | Events.EPOCH_COMPLETED],
        [Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED],
    ],
    ids=str,
)
def test_detach_works_for_any_event(time, events):
    engine, metric = working(time, [1.0] * 10), Frequency()
    assert not metric.is_attached(engine)
    for i, event in enumerate(events):
        metric.attach(engine, f"frequency{i}", event)
    assert metric.is_attached(engine)
    metric.detach(engine)
    assert not metric.is_attached(engine)
    assert not any(table.entries for table in engine._tables.values())
    assert engine.run([1, 2]).metrics == {}
    metric.detach(engine)


def test_an_event_that_the_engine_does_not_know_is_refused(time):
    engine = working(time, [])
    with pytest.raises(ValueError, match="no_event"):
        Frequency().attach(engine, "frequency", "no_event")
    assert not any(table.entries for table in engine._tables.values())


def test_a_run_after_an_exception_restarts(time):
    engine, failures = working(time, [1.0, 1.0, 2.0]), [ValueError("once")]

    @engine.on(Events.ITERATION_COMPLETED(once=2))
    def fail():
        raise failures.pop()

    Frequency().attach(engine, "frequency")
    with pytest.raises(ValueError, match="once"):
        engine.run([100, 100])
    time.time += 1000
    engine.state.max_epochs = None
    assert engine.run([10]).metrics == {"frequency": 5}


def test_pickles_keep_the_counts(time):
    metric = Frequency()
    time.time += 2
    metric.update(10)
    assert pickle.loads(pickle.dumps(metric)).compute() == 5.0
