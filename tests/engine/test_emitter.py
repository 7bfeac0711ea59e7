import functools
import gc
import logging
import re
from unittest.mock import MagicMock

import pytest

from ignite.engine import Engine, EventEnum, Events, State


class Custom(EventEnum):
    HALF = "half"


def make_engine(step=lambda engine, batch: None):
    return Engine(step)


def test_handlers_get_engine_and_arguments_as_their_signature_has_room():
    engine, calls = make_engine(), []
    engine.add_event_handler(Events.STARTED, lambda: calls.append("bare"))
    engine.add_event_handler(Events.STARTED, lambda engine: calls.append(type(engine).__name__))
    engine.add_event_handler(Events.STARTED, lambda *args: calls.append(len(args)), 1, 2)
    engine.add_event_handler(Events.STARTED, lambda a, b: calls.append((a, b)), 1, b=2)
    engine.add_event_handler(
        Events.STARTED, functools.partial(lambda engine, x: calls.append(x), x=7)
    )
    mock = MagicMock()
    engine.add_event_handler(Events.STARTED, mock, "x", y=1)
    engine.run([0])
    assert calls == ["bare", "Engine", 3, (1, 2), 7]
    mock.assert_called_once_with(engine, "x", y=1)


def test_a_handler_that_fits_no_call_is_refused_by_name_and_place():
    engine = make_engine()

    def handler(engine, a, b): ...

    with pytest.raises(
        ValueError, match=r"handler to Events.STARTED: handler should accept \(engine, 1\) or \(1\)"
    ) as info:
        engine.add_event_handler(Events.STARTED, handler, 1)
    assert re.search(r"but takes \(engine, a, b\) \(.*test_emitter.py:\d+\)", str(info.value))
    with pytest.raises(
        ValueError, match=r"should accept \(engine, exception\) or \(exception\), but takes \(\)"
    ):
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda: None)
    with pytest.raises(TypeError, match="handler should be callable, but given 3"):
        engine.add_event_handler(Events.STARTED, 3)
    assert not engine._event_handlers


def test_an_error_in_a_list_of_events_adds_nothing():
    engine = make_engine()
    with pytest.raises(ValueError, match="EXCEPTION_RAISED"):
        engine.add_event_handler(Events.STARTED | Events.EXCEPTION_RAISED, lambda: None)
    assert not engine._event_handlers


def test_unknown_events_are_refused_and_logged(caplog):
    engine = make_engine()
    for call in (
        lambda: engine.add_event_handler("nope", print),
        lambda: engine.fire_event(Custom.HALF),
    ):
        with pytest.raises(
            ValueError, match=r"(nope|HALF) is not a valid event for this Engine. Register it"
        ):
            call()
    assert "unknown event: nope" in caplog.text
    assert not engine.has_registered_events("nope")
    assert not engine.has_registered_events(3)
    assert engine.has_registered_events(Events.STARTED(every=2))


def test_the_order_is_that_of_adding_unless_there_is_a_priority():
    engine, order = make_engine(), []
    for name, priority in (("a", 0), ("save", -10), ("b", 0), ("metric", 10), ("c", 0)):
        engine.add_event_handler(
            Events.STARTED, lambda name: order.append(name), name, priority=priority
        )
    engine.run([0])
    assert order == ["metric", "a", "b", "c", "save"]
    with pytest.raises(TypeError, match="priority should be a number, but given 'high'"):
        engine.add_event_handler(Events.STARTED, lambda: None, priority="high")


def test_a_handler_with_a_parameter_called_priority_is_given_it():
    engine, found = make_engine(), []
    engine.add_event_handler(
        Events.STARTED, lambda priority: found.append(priority), priority="mine"
    )
    engine.add_event_handler(
        Events.STARTED, lambda *, priority=None: found.append(priority), priority="by name"
    )
    engine.run([0])
    assert found == ["mine", "by name"]


@pytest.mark.parametrize("handler", [lambda *args, **kwargs: kwargs, print, max])
def test_a_handler_without_a_parameter_called_priority_is_not_given_it(handler):
    engine = make_engine()
    engine.add_event_handler(Events.COMPLETED, handler, priority=2)
    (entry,) = engine.handlers_of(Events.COMPLETED)
    assert (entry.priority, entry.kwargs) == (2, {})


def test_on_returns_the_function_unchanged_and_can_be_stacked():
    engine, calls = make_engine(), []

    @engine.on(Events.STARTED)
    @engine.on(Events.COMPLETED, 5)
    def handler(*args):
        calls.append(len(args))

    assert handler.__name__ == "handler"
    engine.run([0])
    assert calls == [1, 2]


def test_handlers_are_found_and_removed_whatever_their_filters():
    engine = make_engine()

    def handler(engine): ...

    engine.add_event_handler(Events.STARTED(every=3), handler)
    engine.add_event_handler(Events.STARTED, handler)
    assert engine.has_event_handler(handler)
    assert engine.has_event_handler(handler, Events.STARTED)
    assert engine.has_event_handler(handler, Events.COMPLETED | Events.STARTED)
    assert not engine.has_event_handler(handler, Events.COMPLETED)
    engine.remove_event_handler(handler, Events.STARTED(every=7))
    assert not engine.has_event_handler(handler)
    assert not engine._tables["STARTED"].active  # and costs no more than before
    with pytest.raises(
        ValueError, match=r"Input handler .*handler.* is not found among registered event handlers"
    ):
        engine.remove_event_handler(handler, Events.STARTED)
    with pytest.raises(ValueError, match="Input event name 'nope' does not exist"):
        engine.remove_event_handler(handler, "nope")


def test_bound_methods_of_one_object_are_the_same_handler():
    class Counter:
        num = 0

        def count(self):
            self.num += 1

    engine, counter = make_engine(), Counter()
    engine.add_event_handler(Events.STARTED, counter.count)
    assert engine.has_event_handler(counter.count, Events.STARTED)
    engine.remove_event_handler(counter.count, Events.STARTED)
    engine.run([0])
    assert counter.num == 0


def test_handlers_may_add_and_remove_handlers_while_they_are_called():
    engine, calls = make_engine(), []

    def late():
        calls.append("late")

    def removed():
        calls.append("removed")

    @engine.on(Events.EPOCH_STARTED(once=1))
    def change(engine):
        engine.add_event_handler(Events.EPOCH_STARTED, late)
        engine.remove_event_handler(removed, Events.EPOCH_STARTED)

    engine.add_event_handler(Events.EPOCH_STARTED, removed)
    engine.run([0], max_epochs=2)
    # `late` is called in the firing that adds it, `removed` until the firing that takes it off is over.
    assert calls == ["removed", "late", "late"]


def test_a_handler_added_with_a_higher_priority_during_a_firing_calls_no_handler_twice():
    engine, calls = make_engine(), []

    @engine.on(Events.EPOCH_STARTED(once=1))
    def change(engine):
        calls.append("change")
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: calls.append("first"), priority=1)

    engine.add_event_handler(Events.EPOCH_STARTED, lambda: calls.append("second"))
    engine.run([0], max_epochs=2)
    assert calls == ["change", "second", "first", "second"]


def test_custom_events_are_counted_by_default():
    def step(engine, batch):
        for _ in range(3):
            engine.fire_event(Custom.HALF)

    engine, counts = make_engine(step), []
    engine.register_events(Custom.HALF, "named")
    engine.add_event_handler(
        Custom.HALF(every=4),
        lambda engine: counts.append(engine.state.get_event_attrib_value(Custom.HALF)),
    )
    engine.run(range(3))
    assert counts == [4, 8]
    engine.run(range(3))
    assert counts == [4, 8, 4, 8]  # a new run counts anew


def test_builtin_events_that_no_attribute_counts_take_filters_too():
    engine, calls = make_engine(), []
    engine.add_event_handler(
        Events.DATALOADER_STOP_ITERATION(every=2), lambda engine: calls.append(engine.state.epoch)
    )
    engine.run(range(2), max_epochs=6)
    assert calls == [3, 5]


def test_event_to_attr_names_the_counter_and_belongs_to_its_engine():
    def step(engine, batch):
        engine.state.halves += 2
        engine.fire_event(Custom.HALF)

    engine, counts = make_engine(step), []
    engine.register_events(Custom.HALF, event_to_attr={Custom.HALF: "halves"})
    assert engine.state.halves == 0
    engine.add_event_handler(
        Custom.HALF(every=4), lambda engine: counts.append(engine.state.halves)
    )
    engine.run(range(4))
    assert counts == [4, 8]
    assert Custom.HALF not in State.event_to_attr
    with pytest.raises(RuntimeError, match="Unknown event name"):
        make_engine().state.get_event_attrib_value(Custom.HALF)


def test_register_events_refuses_what_is_no_event():
    engine = make_engine()
    with pytest.raises(
        TypeError, match="Value at 1 of event_names should be a str or EventEnum, but given None"
    ):
        engine.register_events("fine", None)
    assert not engine.has_registered_events("fine")
    with pytest.raises(ValueError, match="Expected event_to_attr to be dictionary, but given 3"):
        engine.register_events("fine", event_to_attr=3)
    engine.register_events("twice")
    engine.register_events("twice")


def test_two_enums_with_a_name_in_common_are_warned_about():
    class Other(EventEnum):
        STARTED = "my_started"

    with pytest.warns(
        UserWarning, match=r"Other.STARTED should have a unique name.*Events.STARTED"
    ):
        make_engine().register_events(Other.STARTED)


def test_last_event_name_is_what_was_fired_last():
    seen = []
    engine = make_engine(lambda engine, batch: seen.append(engine.last_event_name))
    assert engine.last_event_name is None
    engine.run([0, 1])
    assert seen == [Events.ITERATION_STARTED] * 2
    assert engine.last_event_name == Events.COMPLETED


def test_a_step_that_fires_an_event_is_seen_to_in_the_next_iteration_again():
    seen = []

    def step(engine, batch):
        seen.append(engine.last_event_name)
        engine.fire_event(Custom.HALF)

    engine = make_engine(step)
    engine.register_events(*Custom)
    engine.run([0, 1])
    assert seen == [Events.ITERATION_STARTED] * 2


def test_subclasses_that_override_fire_event_see_all_events():
    class Recorder(Engine):
        def __init__(self, step):
            super().__init__(step)
            self.seen = []

        def _fire_event(self, event_name, *args, **kwargs):
            self.seen.append(event_name.name)
            super()._fire_event(event_name, *args, **kwargs)

    engine = Recorder(lambda engine, batch: None)
    engine.run([0])
    assert engine.seen == [
        "STARTED", "EPOCH_STARTED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED", "ITERATION_STARTED",
        "ITERATION_COMPLETED", "EPOCH_COMPLETED", "COMPLETED",
    ]  # fmt: skip


def test_at_level_debug_each_event_is_logged(caplog):
    engine = make_engine()
    with caplog.at_level(logging.DEBUG, logger=engine.logger.name):
        engine.run([0])
    assert "1 | 1, Firing handlers for event Events.ITERATION_COMPLETED" in caplog.text
    caplog.clear()
    engine.run([0])
    assert "Firing handlers" not in caplog.text


def test_the_view_in_ignites_form_shows_handlers_with_a_weak_engine():
    engine = make_engine()

    def handler(engine, x): ...

    engine.add_event_handler(Events.STARTED, handler, 3)
    ((found, args, kwargs),) = engine._event_handlers[Events.STARTED]
    assert found is handler
    assert (args[0](), args[1:], kwargs) == (engine, (3,), {})


def test_an_engine_in_reach_of_its_own_handlers_is_collected():
    engine = make_engine()
    engine.add_event_handler(Events.STARTED, engine.terminate)
    del engine
    gc.collect()
    assert gc.garbage == []
