import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ignite.learner._callbacks import BestWeights
from ignite.learner._schedules import factor_of


@given(
    name=st.sampled_from(["constant", "linear", "cosine"]),
    num_warm=st.integers(0, 5),
    num_steps=st.integers(6, 40),
    data=st.data(),
)
def test_a_factor_is_a_line_and_then_the_curve(name, num_warm, num_steps, data):
    step = data.draw(st.integers(0, num_steps - 1))
    factor = factor_of(name, num_warm, num_steps)(step)
    if step < num_warm:
        assert factor == (step + 1) / num_warm
        return
    done = (step - num_warm) / (num_steps - num_warm)
    assert factor == pytest.approx(
        {"constant": 1, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[name]
    )


def test_a_share_of_the_steps_and_a_curve_of_ones_own():
    factor = factor_of(lambda done: done**2, 0.2, 10)
    assert [factor(step) for step in (0, 1, 2, 6, 10)] == [0.5, 1.0, 0.0, 0.25, 1.0]


@pytest.mark.parametrize("warmup", [-1, 11])
def test_a_warm_up_that_is_too_long(warmup):
    with pytest.raises(
        ValueError, match=f"warmup should be from 0 to 10, the number of steps, but given {warmup}"
    ):
        factor_of("linear", warmup, 10)


def test_the_best_weights_are_a_copy_and_go_into_a_checkpoint():
    model, scores = nn.Linear(1, 1, bias=False), iter([1.0, math.nan, 3.0, 3.0, 2.0])
    best = BestWeights(model, None, lambda: next(scores))
    for number in range(5):
        nn.init.constant_(model.weight, number)
        best.note(None)
    other = BestWeights(model, None, lambda: 0.0)
    other.load_state_dict(best.state_dict())
    other.restore()
    assert (model.weight.item(), other.best) == (2, 3.0)
    BestWeights(model, None, lambda: 0.0).restore()
    assert torch.equal(model.weight, torch.tensor([[2.0]]))
