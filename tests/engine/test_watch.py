import pytest

from ignite.engine import Engine, Events


def make_engine():
    engine = Engine(lambda engine, batch: None)

    def save(engine): ...

    engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), save)
    return engine


def test_a_trace_has_each_event_and_only_the_handlers_that_were_called():
    engine = make_engine()
    with engine.trace() as trace:
        engine.run([0], max_epochs=2)
    assert trace.events[:3] == [("STARTED", 0, 0), ("EPOCH_STARTED", 1, 0), ("GET_BATCH_STARTED", 1, 0)]
    called = [(moment.event, moment.epoch, moment.handler.split(".")[-1]) for moment in trace if moment.handler]
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

        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error, name=name: seen[name].append("second"))
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
