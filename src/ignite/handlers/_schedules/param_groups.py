"""Access to the parameter groups of optimizers and similar objects."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ignite._core.calls import nearest
from ignite.base import Stateful


def check_optimizer(optimizer: Any) -> None:
    """Checks that an optimizer has parameter groups.

    It may come from another library, such as DeepSpeed.

    Raises:
        TypeError: it has none.
    """
    if not isinstance(getattr(optimizer, "param_groups", None), list | tuple):
        raise TypeError(
            "Argument optimizer should be torch.optim.Optimizer or has attribute 'param_groups' "
            f"as list/tuple, but given {type(optimizer)}"
        )


def check_name(groups: Iterable[dict[str, Any]], name: str) -> None:
    """Checks that a group has the parameter, to catch misspelled names.

    Raises:
        ValueError: no group has it.
    """
    names = [known for group in groups for known in group]
    if name not in names:
        known = ", ".join(sorted({str(known) for known in names if known != "params"}))
        raise ValueError(
            f"param_name should be a key of the parameter groups ({known}), but given {name!r}"
            f"{nearest(name, names)}"
        )


class OneGroup:
    """Stands in for an optimizer if a scheduler is given a single parameter group."""

    def __init__(self, group: dict[str, Any]) -> None:
        self.param_groups = [group]


def is_same(optimizer: Any, other: Any) -> bool:
    """Whether both are the same optimizer or parameter group."""
    if isinstance(optimizer, OneGroup) and isinstance(other, OneGroup):
        return optimizer.param_groups[0] is other.param_groups[0]
    return optimizer is other


def select(optimizer: Any, index: int | None) -> list[dict[str, Any]]:
    """Returns all groups of an optimizer, or the one at ``index``.

    Raises:
        IndexError: there is no such group.
    """
    found: list[dict[str, Any]] = optimizer.param_groups
    if index is None:
        return found
    if not -len(found) <= index < len(found):
        raise IndexError(
            "param_group_index should be the index of a parameter group of the optimizer, "
            f"which has {len(found)}, but given {index}"
        )
    return [found[index]]


def write(group: dict[str, Any], name: str, value: Any) -> None:
    """Sets a value in a group.

    Tensors are changed in place: compiled and captured optimizers read them.
    """
    current = group.get(name)
    if isinstance(current, Tensor):
        with torch.no_grad():
            current.fill_(value)
    else:
        group[name] = value


def read(groups: Iterable[dict[str, Any]], name: str) -> list[Any]:
    """Returns the current values of the groups; copies tensors, which may be changed in place."""
    return [copied(group[name]) for group in groups]


def copied(value: Any) -> Any:
    """Returns a copy of a tensor, or the value itself."""
    return value.detach().clone() if isinstance(value, Tensor) else value


@contextmanager
def restored(optimizers: Iterable[Any], stateful: Iterable[Stateful] = ()) -> Iterator[None]:
    """Restores the groups of optimizers and the states of schedulers after the block."""
    stateful = list(stateful)
    states = [copy.deepcopy(one.state_dict()) for one in stateful]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    values = [
        [(name, value, copied(value)) for name, value in group.items() if name != "params"]
        for group in groups
    ]
    try:
        yield
    finally:
        for one, state in zip(stateful, states, strict=True):
            one.load_state_dict(state)
        for group, known in zip(groups, values, strict=True):
            _restore(group, known)


def _restore(group: dict[str, Any], known: list[tuple[str, Any, Any]]) -> None:
    for name in group.keys() - {name for name, _, _ in known} - {"params"}:
        del group[name]
    for name, value, content in known:
        group[name] = value
        if isinstance(value, Tensor):
            write(group, name, content)


def dummy_optimizer(num_groups: int = 1, lr: float = 0.0) -> torch.optim.Optimizer:
    """Returns a dummy optimizer for simulations."""
    return torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(num_groups)], lr=lr)
