"""Saves gradients that a user's step accumulates over several iterations with the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["accumulate", "accumulated", "watched_steps"]

# For each trainer, the iteration of the latest step of each optimizer.
_latest: WeakKeyDictionary[Any, dict[int, int]] = WeakKeyDictionary()


@contextmanager
def watched_steps(engine: Any, objects: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block, records the iterations in which the optimizers among ``objects`` step."""
    latest = _latest[engine] = {}
    with ExitStack() as stack:
        for optimizer in _optimizers(objects).values():

            def record(stepped: Optimizer, *_: Any) -> None:
                latest[id(stepped)] = engine.state.iteration

            stack.callback(optimizer.register_step_post_hook(record).remove)
        yield


def accumulated(engine: Any, objects: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the gradients of optimizers that have not stepped in this iteration, by name.

    After a step, gradients are no longer needed, and would only make the file larger. Supervised
    steps save their gradients themselves.
    """
    latest = _latest.get(engine)
    if latest is None or callable(getattr(engine.step_function, "parts", None)):
        return {}
    return {
        name: parameter.grad
        for key, optimizer in _optimizers(objects).items()
        if latest.get(id(optimizer)) != engine.state.iteration
        for name, parameter in _parameters(key, optimizer)
        if parameter.grad is not None and parameter.grad.layout == torch.strided
    }


def accumulate(gradients: Mapping[str, Tensor], objects: Mapping[str, Any]) -> None:
    """Sets the gradients returned by :func:`accumulated`.

    Example:
        >>> weight = torch.zeros(1, requires_grad=True)
        >>> objects = {"optimizer": torch.optim.SGD([weight], lr=0.1)}
        >>> accumulate({"optimizer.0_0": torch.ones(1)}, objects)
        >>> weight.grad
        tensor([1.])
    """
    for key, optimizer in _optimizers(objects).items():
        for name, parameter in _parameters(key, optimizer):
            given = gradients.get(name)
            if given is not None and given.shape == parameter.shape:
                parameter.grad = given.to(parameter, copy=True)


def _optimizers(objects: Mapping[str, Any]) -> dict[str, Optimizer]:
    return {name: one for name, one in sorted(objects.items()) if isinstance(one, Optimizer)}


def _parameters(key: str, optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    for i, group in enumerate(optimizer.param_groups):
        for j, parameter in enumerate(group["params"]):
            yield f"{key}.{i}_{j}", parameter
