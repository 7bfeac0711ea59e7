"""Exceptions that handlers handle; more of them in test_engine_exceptions."""

import logging

import pytest

from ignite.engine import Engine, Events
from ignite.engine._loop import is_handled


def test_an_exception_without_handlers_is_not_handled(caplog):
    engine, error = Engine(lambda engine, batch: None), ValueError("here")
    with caplog.at_level(logging.ERROR):
        assert not is_handled(engine, error)
    assert "terminating due to exception: ValueError: here" in caplog.text
    assert error.__notes__ == ["in epoch 0, iteration 0 of Engine"]


def test_a_handler_takes_it_over_unless_it_raises_it_again():
    engine, error = Engine(lambda engine, batch: None), ValueError("here")
    seen = []
    engine.add_event_handler(
        Events.EXCEPTION_RAISED, lambda engine, exception: seen.append(exception)
    )
    assert is_handled(engine, error)
    assert seen == [error]

    def raise_again(engine, exception):
        raise exception

    engine.add_event_handler(Events.EXCEPTION_RAISED, raise_again)
    assert not is_handled(engine, error)


def test_another_exception_of_a_handler_propagates():
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, exception: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        is_handled(engine, ValueError("here"))
    assert engine._cursor.is_failed
