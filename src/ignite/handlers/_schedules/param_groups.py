"""Access to the parameter groups of an optimizer, or of what looks like one."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ignite._core.calls import nearest
from ignite.base import Stateful


def check_optimizer(optimizer: Any) -> None:
    """Checks that there are groups: optimizers of other libraries, such as DeepSpeed, are none of torch's.

    Raises:
        TypeError: there are none.
    """
    if not isinstance(getattr(optimizer, "param_groups", None), list | tuple):
        raise TypeError(
            "Argument optimizer should be torch.optim.Optimizer or has attribute 'param_groups' as list/tuple, "
            f"but given {type(optimizer)}"
        )


def check_name(groups: Iterable[dict[str, Any]], name: str) -> None:
    """Checks that one of the groups has the parameter, so that a misspelt one is not written for nobody.

    Raises:
        ValueError: none has it.
    """
    names = [known for group in groups for known in group]
    if name not in names:
        known = ", ".join(sorted({str(known) for known in names if known != "params"}))
        raise ValueError(
            f"param_name should be in the parameter groups, which have {known}, but given {name!r}"
            f"{nearest(name, names)}"
        )


class OneGroup:
    """An optimizer of a single parameter group, for schedulers that were given the group."""

    def __init__(self, group: dict[str, Any]) -> None:
        self.param_groups = [group]


def is_same(optimizer: Any, other: Any) -> bool:
    """Whether both are one optimizer, or stand for one group."""
    if isinstance(optimizer, OneGroup) and isinstance(other, OneGroup):
        return optimizer.param_groups[0] is other.param_groups[0]
    return optimizer is other


def select(optimizer: Any, index: int | None) -> list[dict[str, Any]]:
    """The groups of an optimizer, or the one of them.

    Raises:
        IndexError: there is no such group.
    """
    found: list[dict[str, Any]] = optimizer.param_groups
    if index is None:
        return found
    if not -len(found) <= index < len(found):
        raise IndexError(f"param_group_index should be that of one of {len(found)} groups, but given {index}")
    return [found[index]]


def write(group: dict[str, Any], name: str, value: Any) -> None:
    """Writes a value to a group. A tensor stays the same tensor: compiled and captured optimizers read it."""
    current = group.get(name)
    if isinstance(current, Tensor):
        with torch.no_grad():
            current.fill_(value)
    else:
        group[name] = value


def read(groups: Iterable[dict[str, Any]], name: str) -> list[Any]:
    """The values that the groups have now. Copies of tensors: these are written in place, and reading them waits."""
    return [kept(group[name]) for group in groups]


def kept(value: Any) -> Any:
    """A value that nobody else changes."""
    return value.detach().clone() if isinstance(value, Tensor) else value


@contextmanager
def untouched(optimizers: Iterable[Any], stateful: Iterable[Stateful] = ()) -> Iterator[None]:
    """Puts the groups of optimizers, and the states of schedulers, back to what they were."""
    stateful = list(stateful)
    states = [copy.deepcopy(one.state_dict()) for one in stateful]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    values = [[(name, value, kept(value)) for name, value in group.items() if name != "params"] for group in groups]
    try:
        yield
    finally:
        for one, state in zip(stateful, states, strict=True):
            one.load_state_dict(state)
        for group, known in zip(groups, values, strict=True):
            _put_back(group, known)


def _put_back(group: dict[str, Any], known: list[tuple[str, Any, Any]]) -> None:
    for name in group.keys() - {name for name, _, _ in known} - {"params"}:
        del group[name]
    for name, value, content in known:
        group[name] = value
        if isinstance(value, Tensor):
            write(group, name, content)


def stand_in(num_groups: int = 1, lr: float = 0.0) -> torch.optim.Optimizer:
    """An optimizer to try schedulers on."""
    return torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(num_groups)], lr=lr)
