import pytest

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers import Timer


@pytest.fixture
def time(monkeypatch):
    class Time:
        now = 100.0

        def go(self, seconds):
            self.now += seconds

    time = Time()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    return time


def test_it_runs_pauses_and_continues(time):
    timer = Timer()
    time.go(1)
    assert timer.value() == 1
    timer.pause()
    timer.pause()
    time.go(10)
    assert (timer.value(), timer.running) == (1, False)
    timer.resume()
    time.go(2)
    timer.resume()
    time.go(3)
    assert (timer.value(), timer.running) == (6, True)
    assert timer.reset() is timer
    assert timer.value() == 0


def test_seconds_per_step(time):
    timer = Timer(average=True)
    time.go(6)
    assert timer.value() == 6
    timer.step()
    timer.step()
    assert (timer.value(), timer.total, timer.step_count) == (3, 6, 2)


def test_events_work_it(time):
    engine = Engine(lambda engine, batch: time.go(batch))
    timer = Timer(average=True).attach(
        engine,
        start=Events.EPOCH_STARTED,
        pause=Events.ITERATION_COMPLETED,
        resume=Events.ITERATION_STARTED,
        step=Events.ITERATION_COMPLETED,
    )
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: time.go(50))  # is not counted
    engine.run([1, 2, 3], max_epochs=2)
    assert (timer.value(), timer.total) == (2, 6)


def test_by_default_it_measures_the_run(time):
    engine = Engine(lambda engine, batch: time.go(batch))
    timer = Timer().attach(engine)
    time.go(5)
    engine.run([1, 2])
    time.go(5)
    assert timer.value() == 3
