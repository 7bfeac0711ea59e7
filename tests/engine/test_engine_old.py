"""Programs for Ignite 0.1 to 0.3."""

import random
import warnings
from enum import Enum, IntEnum

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ignite.engine import DeterministicEngine, Engine, Events, State
from ignite.engine.engine import CallableEvents


class Plain(Enum):
    HALFWAY = "halfway"
    STARTED = "mine"  # a name that an event of the engine has, too


class Numbered(IntEnum):
    HALFWAY = 1


class Strings(str, Enum):  # noqa: UP042 - as programs write it
    HALFWAY = "halfway"


class Callable(CallableEvents, Enum):
    HALFWAY = "halfway"


OLD = [Plain.HALFWAY, Plain.STARTED, Numbered.HALFWAY, 7, 2.5, np.int64(3)]
ALWAYS = [Strings.HALFWAY, Callable.HALFWAY, "halfway"]


def register(engine, *events, **kwargs):
    with pytest.warns(
        DeprecationWarning, match="should be strings or members of an EventEnum"
    ) as warned:
        engine.register_events(*events, **kwargs)
    assert len(warned) == 1


@pytest.mark.parametrize("event", OLD + ALWAYS)
def test_such_events_are_fired_handled_and_taken_off_like_others(event):
    calls = []
    engine = Engine(lambda engine, batch: engine.fire_event(event) if batch == 2 else None)
    if event in ALWAYS:
        engine.register_events(event)
    else:
        register(engine, event)
    assert engine.has_registered_events(event)
    handler = lambda engine, *args, **kwargs: calls.append((engine.state.iteration, args, kwargs))  # noqa: E731
    handle = engine.add_event_handler(event, handler, "a", unit="b")
    engine.on(event)(lambda: calls.append("nothing"))
    assert engine.has_event_handler(handler, event)
    engine.run([1, 2], max_epochs=2)
    assert calls == [(2, ("a",), {"unit": "b"}), "nothing", (4, ("a",), {"unit": "b"}), "nothing"]
    assert engine.state.get_event_attrib_value(event) == 2
    engine.remove_event_handler(handler, event)
    handle.remove()
    assert not engine.has_event_handler(handler, event)
    engine.fire_event(event)
    assert engine.last_event_name == event
    assert calls[4:] == ["nothing"]


@pytest.mark.parametrize("event", OLD + ALWAYS)
def test_such_events_may_be_counted_by_an_attribute(event):
    engine = Engine(lambda engine, batch: None)
    if event in ALWAYS:
        engine.register_events(event, event_to_attr={event: "num_halves"})
    else:
        register(engine, event, event_to_attr={event: "num_halves"})
    assert engine.state.num_halves == 0
    engine.state.num_halves = 5
    assert engine.state.get_event_attrib_value(event) == 5
    engine.state_dict()


def test_the_events_of_an_enum_are_not_those_of_another_that_have_their_names():
    engine, calls = Engine(lambda engine, batch: None), []
    register(engine, *Plain, *Numbered, 1, 2)
    for event in (*Plain, Numbered.HALFWAY, 1, 2, Events.STARTED):
        engine.add_event_handler(event, lambda engine, event: calls.append(event), event)
    engine.run([0])
    assert calls == [Events.STARTED]
    for event in (*Plain, Numbered.HALFWAY, 1, 2):
        engine.fire_event(event)
    assert calls[1:] == [*Plain, Numbered.HALFWAY, 1, 2]


@pytest.mark.parametrize("event", [Plain.HALFWAY, 1, 2.5, None, True, object()])
def test_what_is_not_registered_or_no_event_is_refused(event):
    engine = Engine(lambda engine, batch: None)
    assert not engine.has_registered_events(event)
    for call in (engine.fire_event, lambda event: engine.add_event_handler(event, print)):
        with pytest.raises(ValueError, match="is not a valid event for this Engine"):
            call(event)
    if event is None or event is True or type(event) is object:
        with pytest.raises(
            TypeError, match="Value at 0 of event_names should be a str or EventEnum"
        ):
            engine.register_events(event)


def test_an_exception_in_such_an_event_names_the_event():
    engine = Engine(lambda engine, batch: engine.fire_event(Plain.HALFWAY))
    register(engine, *Plain)
    engine.add_event_handler(Plain.HALFWAY, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError) as info:
        engine.run([0])
    assert any("HALFWAY" in note for note in info.value.__notes__)


def test_events_of_the_base_that_ignite_03_had_take_filters():
    engine, calls = Engine(lambda engine, batch: engine.fire_event(Callable.HALFWAY)), []
    engine.register_events(*Callable, event_to_attr={Callable.HALFWAY: "iteration"})
    engine.add_event_handler(
        Callable.HALFWAY(every=2), lambda engine: calls.append(engine.state.iteration)
    )
    engine.run(range(5))
    assert calls == [2, 4]


@pytest.mark.parametrize("kind", [Engine, DeterministicEngine])
def test_a_seed_that_is_given_to_run_makes_it_the_same_again(kind):
    def drawn():
        seen = []
        engine = kind(
            lambda engine, batch: seen.append(
                (batch.tolist(), random.random(), float(torch.rand(1)))
            )
        )
        with pytest.warns(
            DeprecationWarning, match="seed should be given to ignite.utils.manual_seed"
        ) as warned:
            engine.run(
                DataLoader(torch.arange(8), batch_size=2, shuffle=True), max_epochs=2, seed=12
            )
        assert len(warned) == 1
        return seen

    assert drawn() == drawn()


def test_the_seed_is_in_the_state():
    engine = Engine(lambda engine, batch: None)
    with pytest.warns(DeprecationWarning, match="seed should be given"):
        assert engine.run([0], seed=12).seed == 12


def test_the_logger_has_its_old_name():
    engine = Engine(lambda engine, batch: None)
    with pytest.warns(DeprecationWarning, match=r"engine\._logger is engine\.logger now"):
        assert engine._logger is engine.logger
    with pytest.warns(DeprecationWarning, match="is engine.logger now"):
        engine._logger = other = engine.logger.getChild("other")
    assert engine.logger is other


def test_the_rest_needs_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Events.EPOCH_STARTED.value == "epoch_started"
        state = State(epoch=3, metrics={"a": 1}, mine="b")
        assert (state.epoch, state.metrics, state.mine, state.iteration) == (3, {"a": 1}, "b", 0)
        engine = Engine(lambda engine, batch: batch)
        assert engine.run([1, 2, 3], 2).iteration == 6
        with pytest.raises(ValueError, match="max_epochs and max_iters .* mutually exclusive"):
            engine.run([1, 2, 3], max_epochs=3, max_iters=100)


@pytest.mark.parametrize("listens", [False, True])
def test_an_event_of_the_program_that_fails_before_the_iteration_leaves_it_to_come(listens):
    """The iteration is counted if the batch is given up, whatever event was fired on the way."""
    engine, seen = Engine(lambda engine, batch: seen.append((engine.state.iteration, batch))), []
    engine.register_events("checked")
    engine.add_event_handler(Events.GET_BATCH_COMPLETED, lambda: engine.fire_event("checked"))
    engine.add_event_handler("checked", lambda: 1 / (engine.state.batch != "b"))
    engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: engine.skip_iteration())
    engine.run(["a", "b", "c"])
    assert seen == [(1, "a"), (3, "c")]
