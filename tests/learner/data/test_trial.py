import random

import numpy as np
import pytest
import torch
from torch import nn

from ignite.learner._data.inspection import (
    call_model,
    few_rows,
    kept,
    last_operation,
    tensors_in,
    trial,
)


class Restless(nn.Module):
    """Changes everything that it can."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("steps", torch.zeros(()))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.steps += 1
        self.register_buffer("late", torch.ones(1))
        self.extra = torch.rand(1) + random.random() + np.random.rand()
        return self.norm(self.layer(x))


def test_a_trial_leaves_no_trace():
    model = Restless()
    model.norm.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    with kept():
        output = trial(model, call_model, torch.ones(3, 2))
    assert output.shape == (3, 2)
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected
    assert (model.calls, model.training, model.layer.training, model.norm.training) == (
        0,
        True,
        True,
        False,
    )
    assert not hasattr(model, "extra")
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_trial_that_fails_leaves_no_trace():
    model = nn.Sequential(nn.Dropout(), nn.Linear(3, 1))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trial(model, call_model, torch.ones(2, 2))
    assert model[0].training


def test_lazy_layers_stay_as_they_are():
    model = nn.LazyLinear(2)
    assert trial(model, call_model, torch.ones(3, 5)).shape == (3, 2)
    assert isinstance(model.weight, nn.UninitializedParameter)


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (lambda y: y.softmax(1), "Softmax"), (lambda y: y.sigmoid().squeeze(1).double(), "Sigmoid"),
        (lambda y: y.log_softmax(1).flatten(), "LogSoftmax"), (lambda y: y.sigmoid()[:, 0], "Sigmoid"),
        (lambda y: y * 2, "Mul"), (lambda y: y.detach(), None),
    ],
)  # fmt: skip
def test_the_last_operation_is_seen_through_changes_of_shape(end, name):
    assert last_operation(end(torch.ones(2, 3, requires_grad=True))) == name


def test_inputs_are_handed_over_by_place_or_name():
    assert call_model(lambda a, b: a - b, (3, 1)) == 2
    assert call_model(lambda a, b: a - b, {"b": 3, "a": 1}) == -2
    assert call_model(abs, -4) == 4


def test_few_rows_of_what_has_rows():
    x, y = torch.arange(4), torch.arange(8).reshape(4, 2)
    assert few_rows({"a": x, "b": [y]}, slice(2))["b"][0].shape == (2, 2)
    odd = (x, torch.tensor(1.0))
    assert few_rows(odd, slice(2)) is odd
    assert tensors_in((x, object())) == []
