from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, EventEnum, Events


def make_engine():
    return Engine(lambda engine, batch: None)


def test_a_fresh_engine_has_the_keys_of_ignite():
    assert make_engine().state_dict() == OrderedDict(
        epoch_length=None, iteration=0, max_epochs=None
    )


def test_the_limit_that_is_saved_is_the_one_that_holds():
    engine = make_engine()
    engine.run(range(3), max_epochs=2)
    assert engine.state_dict() == {"epoch_length": 3, "iteration": 6, "max_epochs": 2}
    engine.state.max_epochs = None
    engine.run(range(3), max_iters=4)
    assert engine.state_dict() == {"epoch_length": 3, "iteration": 4, "max_iters": 4}


def test_user_keys_are_saved_and_restored():
    engine = make_engine()
    engine.state_dict_user_keys.append("alpha")
    with pytest.raises(AttributeError, match="alpha"):
        engine.state_dict()
    engine.state.alpha = 0.5
    saved = engine.state_dict()
    other = make_engine()
    other.state_dict_user_keys.append("alpha")
    other.load_state_dict(saved)
    assert other.state.alpha == 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"epoch": 1},
            "only one of 'iteration' or 'epoch' keys, but given iteration=6 and epoch=1",
        ),
        ({"iteration": ...}, "exactly one of.*iteration"),
        ({"epoch_length": ...}, "should have the key 'epoch_length', but given one with the keys"),
        ({"max_epochs": ...}, "exactly one of.*max_epochs"),
        ({"max_iters": 9}, "exactly one of.*max_epochs"),
        (
            {"max_epochs": 1},
            "greater than or equal to the start epoch, but given max_epochs=1 and epoch=2",
        ),
        (
            {"max_epochs": ..., "max_iters": 5},
            "greater than or equal to the start iteration, but given max_iters=5",
        ),
        (
            {"iteration": -1},
            "iteration in state_dict should be an integer that is not negative, but given -1",
        ),
        ({"iteration": "6"}, "but given '6'"),
        ({"iteration": None}, "iteration in state_dict should be .* but given None"),
        (
            {"epoch_length": None},
            "epoch_length must be a positive integer.*but given None with iteration=6",
        ),
        ({"epoch_length": 2.5}, "epoch_length in state_dict should be an integer.*2.5"),
        ({"alpha": 1}, r"should hold only what this engine can restore, but given \['alpha'\]"),
    ],
)
def test_impossible_states_are_refused_and_change_nothing(changes, words):
    engine = make_engine()
    engine.run(range(4))
    before = engine.state_dict()
    saved = {"iteration": 6, "epoch_length": 3, "max_epochs": 5} | changes
    with pytest.raises(ValueError, match=words):
        engine.load_state_dict({key: value for key, value in saved.items() if value is not ...})
    assert engine.state_dict() == before


def test_a_missing_user_key_and_a_state_that_is_no_dictionary_are_refused():
    engine = make_engine()
    with pytest.raises(TypeError, match="state_dict should be a dictionary"):
        engine.load_state_dict(3)
    engine.state_dict_user_keys.append("alpha")
    with pytest.raises(ValueError, match="Required user state attribute 'alpha' is absent"):
        engine.load_state_dict({"iteration": 6, "epoch_length": 3, "max_epochs": 5})


def test_the_keys_of_other_engines_are_passed_over():
    engine = make_engine()
    engine.load_state_dict(
        {"iteration": 6, "epoch_length": 3, "max_epochs": 5, "seed": 1, "rng_states": None}
    )
    assert engine.state.iteration == 6


def test_an_epoch_is_as_good_as_an_iteration():
    engine = make_engine()
    engine.load_state_dict({"epoch": 2, "epoch_length": 3, "max_epochs": 5})
    assert (engine.state.epoch, engine.state.iteration) == (2, 6)
    engine.load_state_dict({"epoch": 0, "epoch_length": None, "max_epochs": None})
    assert engine.run(range(2)).iteration == 2


def test_a_run_that_begins_has_nothing_of_the_loaded_position():
    engine, epochs = make_engine(), []
    engine.load_state_dict({"iteration": 4, "epoch_length": 3, "max_epochs": 5})
    engine.state.max_epochs = None
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: epochs.append(engine.state.iteration)
    )
    engine.run(range(3), max_epochs=2)
    assert epochs == [3, 6]


def test_loading_one_kind_of_limit_clears_the_other():
    engine = make_engine()
    engine.run(range(2), max_iters=2)
    engine.load_state_dict({"iteration": 0, "epoch_length": 3, "max_epochs": 5})
    assert (engine.state.max_iters, engine.state.max_epochs) == (None, 5)


@given(
    length=st.integers(1, 6),
    max_epochs=st.integers(1, 4),
    at=st.integers(1, 24),
    ends=st.sets(st.integers(1, 24)),
)
def test_a_state_saved_at_any_iteration_continues_the_same_trace(length, max_epochs, at, ends):
    """Also after epochs that ended early, which the iteration alone does not tell."""

    def traced(engine, trace):
        @engine.on(
            Events.EPOCH_STARTED
            | Events.ITERATION_COMPLETED
            | Events.EPOCH_COMPLETED
            | Events.COMPLETED
        )
        def see(engine):
            trace.append((engine.last_event_name, engine.state.epoch, engine.state.iteration))

        @engine.on(Events.ITERATION_COMPLETED(lambda engine, iteration: iteration in ends))
        def end(engine):
            engine.terminate_epoch()

        return engine

    full, saved, engine = [], {}, make_engine()
    traced(engine, full)

    @engine.on(Events.ITERATION_COMPLETED(once=at))
    def save(engine):
        saved.update(state=engine.state_dict(), seen=len(full))

    engine.run(range(length), max_epochs=max_epochs)
    if not saved or at in ends:
        return
    rest, resumed = [], make_engine()
    resumed.load_state_dict(saved["state"])
    traced(resumed, rest).run(range(length))
    tail = full[saved["seen"] :]
    again = next(
        (epoch, iteration) for _, epoch, iteration in rest
    )  # of an epoch that is gone on with
    assert [row for row in rest if row[0] != Events.EPOCH_STARTED or row[1:] != again] == [
        row for row in tail if row[0] != Events.EPOCH_STARTED or row[1:] != again
    ]


def test_event_counts_are_saved_when_a_filter_depends_on_them():
    class Custom(EventEnum):
        HALF = "half"

    def make():
        engine = Engine(lambda engine, batch: engine.fire_event(Custom.HALF))
        engine.register_events(*Custom)
        return engine

    plain = make()
    plain.run(range(3))
    assert set(plain.state_dict()) == {"epoch_length", "iteration", "max_epochs"}
    engine, other, calls = make(), make(), []
    for made in (engine, other):
        made.add_event_handler(
            Custom.HALF(every=4), lambda engine: calls.append(engine.state.iteration)
        )
    engine.run(range(3))
    assert engine.state_dict()["event_counts"] == {"HALF": 3}
    other.load_state_dict(engine.state_dict())
    other.run(range(3), max_epochs=2)
    assert calls == [4]
