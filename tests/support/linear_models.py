"""A linear model, and batches for it."""

import torch
from torch import nn


def linear(dtype=torch.float64):
    torch.manual_seed(7)
    return nn.Linear(3, 2, dtype=dtype)


def make_batches(number, size=2, seed=1, dtype=torch.float64):
    """Pairs (x, y) of shapes (size, 3) and (size, 2)."""
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(size, features, generator=generator, dtype=dtype) for features in (3, 2))
        for _ in range(number)
    ]
