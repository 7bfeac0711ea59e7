import copy
import sys

import pytest
import torch

from ignite.handlers.param_scheduler import (
    BaseParamScheduler,
    LRScheduler,
    ParamScheduler,
    PiecewiseLinear,
)


def make_optimizer(num_groups=1):
    return torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(num_groups)], lr=1.0)


class Fussy:
    """A part with a state, that does not take every state."""

    def __init__(self, value=0):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]
        if self.value < 0:
            raise ValueError("I want no negative value")


class WithParts(ParamScheduler):
    def __init__(self, part=None):
        super().__init__(make_optimizer(), "lr")
        self.part, self.factor = part or Fussy(), 3
        self._state_attrs += ["factor", "part"]

    def get_param(self):
        return self.factor * self.part.value


def test_classes_of_users_name_what_they_save():
    scheduler = WithParts(Fussy(2))
    scheduler.factor = 4
    state = scheduler.state_dict()
    assert state == {
        "event_index": 0, "param_name": "lr", "save_history": False, "param_group_index": None, "factor": 4,
        "part": {"value": 2},
    }  # fmt: skip
    other = WithParts()
    other.load_state_dict(state)
    assert other.get_param() == 8


def test_a_part_that_refuses_its_state_changes_nothing():
    scheduler = WithParts(Fussy(2))
    state = scheduler.state_dict() | {"factor": 9, "event_index": 7, "part": {"value": -1}}
    before = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(ValueError, match="I want no negative value"):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


def test_a_part_that_hands_out_its_own_state_and_refuses_half_way_is_restored():
    class Careless(Fussy):
        def __init__(self):
            self.state = {"value": 2}

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state.update(state)
            if self.state["value"] < 0:
                raise ValueError("I want no negative value")

    scheduler = WithParts(Careless())
    with pytest.raises(ValueError, match="I want no negative value"):
        scheduler.load_state_dict({**scheduler.state_dict(), "part": {"value": -1}})
    assert scheduler.part.state == {"value": 2}


@pytest.mark.parametrize("key", ["event_index", "param_name", "save_history", "factor", "part"])
def test_every_key_is_needed(key):
    scheduler = WithParts()
    state = scheduler.state_dict() | {"event_index": 3}
    del state[key]
    with pytest.raises(
        ValueError, match=f"Required state attribute '{key}' is absent in provided state_dict"
    ):
        scheduler.load_state_dict(state)
    assert scheduler.event_index == 0


def test_a_list_in_a_state_is_a_copy():
    scheduler = PiecewiseLinear(make_optimizer(), "lr", [(0, 1.0), (2, 3.0)])
    scheduler.state_dict()["values"][0] = 7.0
    assert scheduler.values == [1.0, 3.0]
    state = scheduler.state_dict() | {"values": [5.0, 6.0]}
    scheduler.load_state_dict(state)
    state["values"][0] = 7.0
    assert scheduler.values == [5.0, 6.0]


def test_what_has_to_be_implemented():
    with pytest.raises(TypeError, match="abstract"):
        BaseParamScheduler("lr")
    with pytest.raises(TypeError, match="abstract"):
        ParamScheduler(make_optimizer(), "lr")


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.close("all")  # other tests may have left some
    yield pyplot
    pyplot.close("all")


def test_a_plot_has_the_values(pyplot):
    axes = PiecewiseLinear.plot_values(
        3, param_name="momentum", milestones_values=[(0, 0.0), (2, 1.0)]
    )
    assert pyplot.get_fignums() == [1]
    assert axes is pyplot.gca()
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[0, 0.0], [1, 0.5], [2, 1.0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["momentum"]


def test_a_plot_goes_where_there_is_one(pyplot):
    _, axes = pyplot.subplots()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(make_optimizer(2), 0.5)
    assert LRScheduler.plot_values(3, lr_scheduler=scheduler) is axes
    assert pyplot.get_fignums() == [1]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1.0, 0.5, 0.25]] * 2
    assert axes.get_legend().get_texts()[0].get_text() == "learning rate"


def test_a_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "reignition\[plot\]"'):
        PiecewiseLinear.plot_values(3, param_name="lr", milestones_values=[(0, 0.0)])
