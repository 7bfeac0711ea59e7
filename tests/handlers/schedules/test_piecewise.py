import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.handlers.param_scheduler import PiecewiseLinear


def make_optimizer():
    return torch.optim.SGD([torch.zeros(1)], lr=0.5)


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(0, 40), st.floats(0, 10)),
        min_size=1,
        max_size=6,
        unique_by=lambda p: p[0],
    ),
    num_before=st.integers(0, 45),
)
def test_any_event_is_on_the_lines_also_after_resuming(points, num_before):
    used = []
    scheduler = PiecewiseLinear(make_optimizer(), "lr", sorted(points))
    for k in range(45):
        if k == num_before:
            state = scheduler.state_dict()
            scheduler = PiecewiseLinear(make_optimizer(), "lr", [(0, 7.0)])
            scheduler.load_state_dict(state)
        scheduler(None)
        used.append(scheduler.optimizer.param_groups[0]["lr"])
    milestones, values = zip(*sorted(points), strict=True)
    assert used == pytest.approx(np.interp(range(45), milestones, values).tolist(), abs=1e-9)


def test_attached():
    optimizer = make_optimizer()
    trainer = Engine(lambda engine, batch: optimizer.param_groups[0]["lr"])
    PiecewiseLinear(optimizer, "lr", [(np.int64(1), 1.0), (3, 2.0)], save_history=True).attach(
        trainer
    )
    trainer.run([0] * 5)
    assert trainer.state.param_history == {"lr": [[1.0], [1.0], [1.5], [2.0], [2.0]]}


def test_a_state_of_ignite_fits():
    scheduler = PiecewiseLinear(make_optimizer(), "lr", [(0, 0.0)])
    scheduler.load_state_dict(  # recorded from pytorch-ignite 0.5.5
        {
            "event_index": 3, "param_name": "lr", "save_history": False, "param_group_index": None,
            "values": [1.0, 3.0], "milestones": [0, 4], "_index": 0,
        }
    )  # fmt: skip
    scheduler(None)
    assert scheduler.optimizer.param_groups[0]["lr"] == 2.5


def test_the_state_is_the_users_to_keep():
    scheduler = PiecewiseLinear(make_optimizer(), "lr", [(0, 0.0), (4, 1.0)])
    state = scheduler.state_dict()
    before = copy.deepcopy(state)
    scheduler.load_state_dict(state)
    scheduler.values[0] = 5.0
    assert state == before
