"""The digits, and small programs over them."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def load():
    """x, shape (1797, 64), from 0 to 1; y, shape (1797,)."""
    found = load_digits()
    return torch.tensor(found.data, dtype=torch.float32) / 16, torch.tensor(found.target)


def make_conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 4 * 4, 10)),
    )


def make_net(seed=0, num_hidden=64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, num_hidden), nn.ReLU(), nn.Linear(num_hidden, 10))
