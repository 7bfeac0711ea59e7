from contextlib import contextmanager

import pytest

from ignite.engine import Engine, Events
from ignite.engine.extension import Meter


def make_engine():
    engine = Engine(lambda engine, batch: None)

    def save(engine): ...

    engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), save)
    return engine


def test_a_trace_has_each_event_and_only_the_handlers_that_were_called():
    engine = make_engine()
    with engine.trace() as trace:
        engine.run([0], max_epochs=2)
    assert trace.events[:3] == [
        ("STARTED", 0, 0),
        ("EPOCH_STARTED", 1, 0),
        ("GET_BATCH_STARTED", 1, 0),
    ]
    called = [
        (moment.event, moment.epoch, moment.handler.split(".")[-1])
        for moment in trace
        if moment.handler
    ]
    assert called == [("EPOCH_COMPLETED", 2, "save")]
    assert len(trace) == len(trace.events) + 1
    assert "EPOCH_COMPLETED" in str(trace)
    engine.run([0], max_epochs=4)
    assert trace.events[-1] == ("COMPLETED", 2, 2)  # nothing was recorded after the block


def test_watching_changes_nothing_of_what_happens():
    plain, watched, seen = make_engine(), make_engine(), {"plain": [], "watched": []}
    for name, engine in (("plain", plain), ("watched", watched)):

        @engine.on(Events.EPOCH_STARTED(once=1))
        def add(engine, name=name):
            seen[name].append("add")
            engine.add_event_handler(Events.EPOCH_STARTED, lambda: seen[name].append("added"))

        @engine.on(Events.EXCEPTION_RAISED)
        def raise_again(engine, error, name=name):
            seen[name].append("first")
            raise error

        engine.add_event_handler(
            Events.EXCEPTION_RAISED, lambda engine, error, name=name: seen[name].append("second")
        )
        engine.add_event_handler(Events.COMPLETED, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plain.run([0], max_epochs=2)
    with watched.trace(), pytest.raises(ZeroDivisionError):
        watched.run([0], max_epochs=2)
    assert seen["plain"] == seen["watched"] == ["add", "added", "added", "first", "second"]


def test_debug_logs_events_and_handlers_until_it_is_switched_off(caplog):
    engine = make_engine()
    with caplog.at_level("INFO", logger=engine.logger.name):
        engine.debug()
        engine.run([0], max_epochs=2)
        assert "EPOCH_COMPLETED" in caplog.text
        assert "save" in caplog.text
        caplog.clear()
        engine.debug(False)
        engine.run([0], max_epochs=4)
    assert "EPOCH_COMPLETED" not in caplog.text


def test_debugging_can_be_switched_on_by_a_handler(caplog):
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EPOCH_STARTED(once=2), lambda engine: engine.debug())
    with caplog.at_level("INFO", logger=engine.logger.name):
        engine.run([0], max_epochs=2)
    seen = [record.message for record in caplog.records if "ITERATION_COMPLETED" in record.message]
    assert [message.split()[0] for message in seen] == ["2"]


class Recorder(Meter):
    """Notes when what it was asked about is called."""

    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    def around(self, what, function):
        def called(*args, **kwargs):
            self.seen.append((self.name, what))
            return function(*args, **kwargs)

        return called

    def handler(self, event, entry, handler):
        return self.around(f"{getattr(event, 'name', event)} {entry.handler.__name__}", handler)

    def step(self, step):
        return self.around("step", step)

    def data(self, begin):
        iterator = self.around("iter", begin)()
        return map(self.around("fetched", lambda batch: batch), iterator)

    @contextmanager
    def nested(self, engine):
        self.seen.append((self.name, "nested"))
        with engine.measured(self):
            yield


def test_meters_see_data_step_handlers_and_nested_runs_the_outer_ones_first():
    seen = []
    outer, inner = Engine(lambda engine, batch: batch), Engine(lambda engine, batch: batch)

    @outer.on(Events.ITERATION_COMPLETED)
    def nest():
        inner.run([5])

    with outer.measured(Recorder("a", seen)), outer.measured(Recorder("b", seen)):
        outer.run([3])
    of_inner = [("a", "nested"), ("b", "nested")]
    assert seen[:8] == [("b", "iter"), ("a", "iter"), ("a", "fetched"), ("b", "fetched"), ("b", "step"), ("a", "step"),
                        ("b", "ITERATION_COMPLETED nest"), ("a", "ITERATION_COMPLETED nest")]  # fmt: skip
    assert seen[8:10] == of_inner
    assert seen[10:] == seen[:6]
    assert (outer.state.output, inner.state.output) == (3, 5)


def test_without_meters_everything_is_unchanged():
    seen = []
    engine = make_engine()
    before = {name: list(table.calls) for name, table in engine._tables.items()}
    with engine.measured(Recorder("a", seen)):
        engine.run([0])
        engine.register_events("own")
        engine.add_event_handler("own", print)
        assert engine._tables["own"].calls[0][0] is not print
    assert {name: table.calls for name, table in engine._tables.items() if name != "own"} == before
    assert engine._tables["own"].calls[0][0] is print
    seen.clear()
    engine.run([0])
    assert seen == []


def test_one_of_two_meters_may_leave():
    seen = []
    engine = Engine(lambda engine, batch: None)
    with engine.measured(Recorder("a", seen)):
        with engine.measured(Recorder("b", seen)):
            pass
        engine.run([0])
    assert {name for name, _ in seen} == {"a"}


def test_a_measured_handler_is_found_removed_and_named_in_notes():
    engine = Engine(lambda engine, batch: None)

    def broken(engine):
        raise KeyError

    def add(engine):
        engine.add_event_handler(Events.ITERATION_STARTED, add)  # called from the next firing on

    with engine.measured(Recorder("a", [])):
        engine.add_event_handler(Events.ITERATION_COMPLETED, broken)
        engine.add_event_handler(Events.ITERATION_STARTED, add)
        assert engine.has_event_handler(broken, Events.ITERATION_COMPLETED)
        with pytest.raises(KeyError) as caught:
            engine.run([0])
        engine.remove_event_handler(broken, Events.ITERATION_COMPLETED)
        engine.run([0])
    assert any("broken" in note for note in caught.value.__notes__)


def test_a_meter_alone_changes_nothing():
    engine, inner = Engine(lambda engine, batch: batch), Engine(lambda engine, batch: batch)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: inner.run([1]))
    with engine.measured(Meter()):
        engine.run([7])
    assert (engine.state.output, inner.state.output) == (7, 1)


def test_set_data_is_measured_too():
    seen = []
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: engine.set_data([8, 9]))
    with engine.measured(Recorder("a", seen)):
        engine.run([0, 0], epoch_length=2)
    assert [what for _, what in seen if what in ("iter", "fetched")] == [
        "iter",
        "fetched",
        "iter",
        "fetched",
    ]
