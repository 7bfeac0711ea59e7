"""Small models, data and learners for tests of the learner."""

import torch
from torch import nn

from ignite.learner import Learner

X = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def make_net(num_outputs=3):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, num_outputs))


def make_learner(num_outputs=3, loss="cross_entropy", **options):
    return Learner(make_net(num_outputs), loss, **{"lr": 0.01, **options})


def linear(num=3, *end, num_inputs=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(num_inputs, num), *end)


class Call(nn.Module):
    """Calls a function with the output of a linear layer."""

    def __init__(self, func, num=3):
        super().__init__()
        self.layer, self.func = linear(num), func

    def forward(self, x):
        return self.func(self.layer(x))


class TwoInputs(nn.Module):
    """A linear layer of the inputs ``a`` and ``b``, which have four features together."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, a, b):
        return self.layer(torch.cat([a, b], 1))
