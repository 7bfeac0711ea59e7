"""A table of the parts of a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ignite.data.arrays import named_tensors
from ignite.learner._data.trial import call_model, kept

__all__ = ["summary"]


def summary(model: nn.Module, example: Any = None) -> str:
    """The layers of a model with their parameters; with an example batch of inputs, the shapes that they give, too.

    Args:
        model: stays as it is.
        example: inputs, shape (N, ...), on the model's device.

    Example:
        >>> print(summary(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), torch.zeros(1, 4)))
        layer  kind        output  parameters  trained
        0      Linear      (1, 2)          10       10
        1      ReLU        (1, 2)           0        0
               Sequential  (1, 2)          10       10
        parameters and buffers: 40 bytes
    """
    shapes = {} if example is None else _shapes(model, example)
    layers = [(name, part) for name, part in model.named_modules() if name and not list(part.children())]
    rows = [["layer", "kind", "output", "parameters", "trained"]]
    for name, part in [*layers, ("", model)]:
        parameters = list(part.parameters())
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        total = sum(parameter.numel() for parameter in parameters)
        rows.append([name, type(part).__name__, shapes.get(name, "-"), f"{total:,}", f"{trained:,}"])
    if example is None:
        rows = [row[:2] + row[3:] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    num_texts = len(rows[0]) - 2
    lines = [
        "  ".join(
            cell.ljust(width) if i < num_texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return "\n".join([*lines, f"parameters and buffers: {size:,} bytes"])


def _shapes(model: nn.Module, example: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    hooks = [
        part.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: _shape_of(output)}))
        for name, part in model.named_modules()
    ]
    try:
        with kept(model), torch.no_grad():
            model.eval()
            call_model(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _shape_of(output: Any) -> str:
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    return ", ".join(str(tuple(leaf.shape)) for _, leaf in named_tensors(output) if isinstance(leaf, torch.Tensor))
