import pickle

import pytest

from ignite.engine import Events, State


def test_a_fresh_state_has_ignites_attributes():
    state = State(alpha=1)
    public = {name: value for name, value in vars(state).items() if not name.startswith("_")}
    assert public == {
        "iteration": 0, "epoch": 0, "epoch_length": None, "max_epochs": None, "max_iters": None, "output": None,
        "batch": None, "metrics": {}, "dataloader": None, "seed": None,
        "times": {"EPOCH_COMPLETED": None, "COMPLETED": None}, "alpha": 1,
    }  # fmt: skip


def test_the_counts_of_events():
    state = State(iteration=7, epoch=2)
    assert state.get_event_attrib_value(Events.ITERATION_COMPLETED(every=3)) == 7
    assert state.get_event_attrib_value("GET_BATCH_STARTED") == 7
    assert state.get_event_attrib_value(Events.COMPLETED) == 2
    with pytest.raises(RuntimeError, match="Unknown event name 'nope'"):
        state.get_event_attrib_value("nope")
    with pytest.raises(RuntimeError, match="Unknown event name 'Events.TERMINATE'"):
        state.get_event_attrib_value(Events.TERMINATE)


def test_attributes_that_count_events_by_class_are_made(monkeypatch):
    monkeypatch.setitem(State.event_to_attr, "MINE", "num_mine")
    assert State().num_mine == 0
    assert State(num_mine=4).get_event_attrib_value("MINE") == 4


def test_repr_has_a_line_for_each_attribute_and_no_private_ones():
    lines = repr(State(alpha=0.5, data=[1])).splitlines()
    assert lines[0] == "State:"
    assert "\titeration: 0" in lines
    assert "\talpha: 0.5" in lines
    assert "\tdata: <class 'list'>" in lines
    assert not any("_event" in line for line in lines)


def test_a_state_survives_pickling():
    assert pickle.loads(pickle.dumps(State(iteration=3))).iteration == 3
