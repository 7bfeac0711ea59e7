"""A model on a fake accelerator that refuses batches that are too large, in either pass."""

import torch
from torch import nn


class Refusal(torch.autograd.Function):
    """Refuses in the backward pass."""

    @staticmethod
    def forward(ctx, x, check):
        ctx.check = check
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        ctx.check("backward", len(gradient))
        return gradient, None


class ScarceMemory(nn.Module):
    """Calls a model, unless ``refuses(kind of pass, number of the call, rows)``.

    Args:
        model: the model.
        refuses: whether memory runs out.
        error: what is raised then.
    """

    def __init__(self, model, refuses, error=torch.OutOfMemoryError):
        super().__init__()
        self.model = model
        self.refuses = refuses
        self.error = error
        self.passes = []

    def check(self, kind, rows):
        self.passes.append((kind, rows))
        if self.refuses(kind, len(self.passes), rows):
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward(self, x):
        # Part of the parameters have their gradients before the refusal, part not.
        x = self.model(x)
        self.check("forward", len(x))
        return Refusal.apply(x, self.check)


def above(limit, kind="forward"):
    """Refuses passes over more rows than ``limit``."""
    return lambda given, number, rows: given == kind and rows > limit
