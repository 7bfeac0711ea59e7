"""Which engines are running."""

import threading

import pytest

from ignite.engine import Engine
from ignite.engine._controls import within
from ignite.engine.extension import outermost_engine


def test_engines_within_handlers_are_known_while_they_run():
    seen = []
    inner = Engine(
        lambda engine, batch: seen.append((outermost_engine(), within(outer), within(engine)))
    )
    outer = Engine(lambda engine, batch: inner.run([0]))
    outer.run([0])
    assert seen == [(outer, [outer, inner], [inner])]
    assert outermost_engine() is None
    assert within(outer) == []


def test_an_engine_that_fails_is_forgotten():
    engine = Engine(lambda engine, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.run([0])
    assert outermost_engine() is None


def test_threads_do_not_see_each_other():
    seen = []

    def step(engine, batch):
        thread = threading.Thread(target=lambda: seen.append(outermost_engine()))
        thread.start()
        thread.join()

    Engine(step).run([0])
    assert seen == [None]
