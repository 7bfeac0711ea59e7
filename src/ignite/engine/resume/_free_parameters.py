"""Trained tensors that do not belong to any module that was found, and are saved separately."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["FREE", "FreeParameters", "free_parameters"]

FREE = "free.parameters"
"""Name of the tensors that the step or a handler uses directly."""


class FreeParameters(nn.Module):
    """Trained tensors that do not belong to a module, as an object with a state.

    Args:
        tensors: the tensors by name. Loading a state changes them in place.

    Example:
        >>> import torch
        >>> weight = torch.zeros(2, requires_grad=True)
        >>> FreeParameters({"weight": weight}).load_state_dict({"weight": torch.ones(2)})
        <All keys matched successfully>
        >>> weight
        tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "/"), tensor.detach())


def free_parameters(
    objects: Mapping[str, Any], left_out: Iterable[Any], tensors: Mapping[str, Tensor]
) -> dict[str, FreeParameters]:
    """Finds trained tensors that are not saved by any object of a run.

    Args:
        objects: the objects of the run by name.
        left_out: objects that the user has excluded together with their parameters.
        tensors: trained tensors that the step or a handler uses, by path.

    Returns:
        ``{"free.parameters": ...}`` for tensors that are used directly, and
        ``{"<optimizer>.parameters": ...}`` for other parameters of optimizers.
    """
    known = {
        id(tensor)
        for one in (*objects.values(), *left_out)
        for module in _modules_of(one)
        for tensor in (*module.parameters(), *module.buffers())
    }
    found: dict[str, FreeParameters] = {}

    def add(name: str, candidates: Mapping[str, Tensor]) -> None:
        free = {key: one for key, one in candidates.items() if id(one) not in known}
        known.update(map(id, free.values()))
        if free:
            found[name] = FreeParameters(free)

    add(FREE, dict(sorted(tensors.items())))
    for name, one in sorted(objects.items()):
        add(f"{name}.parameters", dict(_parameters_of(one)))
    return found


def _modules_of(one: Any) -> Iterator[nn.Module]:
    """Yields an object if it is a module, otherwise the modules among its attributes, which its state should hold."""
    held: Mapping[str, Any] = {} if isinstance(one, nn.Module) else getattr(one, "__dict__", {})
    for part in (one, *held.values()):
        if isinstance(part, nn.Module):
            yield part


def _parameters_of(optimizer: Any) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters of an optimizer by the indices of group and parameter."""
    groups = getattr(optimizer, "param_groups", None)
    for i, group in enumerate(groups if isinstance(groups, list) else ()):
        for j, parameter in enumerate(group["params"]):
            if not is_lazy(parameter):
                yield f"{i}_{j}", parameter
