"""Changes learning rates in the middle of a run, with the schedules that go on from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ignite.engine.resume.belongings import collect

__all__ = ["set_rates"]

_DEPTH = 3
"""How deep a scheduler may lie in a handler: in an attribute, in a list, in a chain of schedulers."""


def set_rates(engine: Any, value: Any) -> str:
    """Sets the learning rate of the optimizers that belong to a run; returns what has changed.

    The first group of parameters gets the rate. Others, and the base rates of PyTorch's schedulers,
    are multiplied by the same factor: rates keep their ratios, and schedules go on from the new
    rate. All of them are part of the states of optimizers and schedulers.

    Raises:
        ValueError: the rate is not a positive number, there is no optimizer, or a handler sets the
            rate to values of its own.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"lr should be a positive number, but given {value!r}")
    saver = engine.run_saver
    found = collect(engine, {} if saver is None else saver.given)
    groups = {
        id(group): group
        for one in found.objects.values()
        if isinstance(one, Optimizer)
        for group in one.param_groups
        if "lr" in group
    }
    if not groups:
        raise ValueError("lr needs an optimizer, but none was found that belongs to this run")
    schedulers = {
        id(scheduler): scheduler
        for one in (*found.objects.values(), *found.attached)
        for scheduler in _schedulers_in(one, _DEPTH)
    }
    for one in found.attached:
        if getattr(one, "param_name", None) == "lr" and not list(_schedulers_in(one, _DEPTH)):
            raise ValueError(
                f"lr should not be set beside a {type(one).__name__}, which sets it to values of "
                "its own"
            )
    before = [float(group["lr"]) for group in groups.values()]
    if before[0] == 0 and (schedulers or len(before) > 1):
        raise ValueError("lr should be set at another time: it is 0 now, so no factor leads there")
    factor = value / before[0] if before[0] else None
    for group, old in zip(groups.values(), before, strict=True):
        _put(group, "lr", value if factor is None or old == before[0] else old * factor)
        if factor is not None and "initial_lr" in group:
            _put(group, "initial_lr", float(group["initial_lr"]) * factor)
    for scheduler in schedulers.values():
        if factor is not None and hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs[:] = [rate * factor for rate in scheduler.base_lrs]
    after = [float(group["lr"]) for group in groups.values()]
    changes = dict.fromkeys(f"{old:g} to {new:g}" for old, new in zip(before, after, strict=True))
    then = "; its schedule goes on from there" if schedulers else ""
    return f"lr changed from {', '.join(changes)}{then}"


def _put(group: dict[str, Any], name: str, value: float) -> None:
    if isinstance(group[name], Tensor):
        group[name].fill_(value)  # in place: a captured CUDA graph reads this tensor
    else:
        group[name] = value


def _schedulers_in(one: Any, depth: int) -> Iterator[Any]:
    if isinstance(one, LRScheduler):
        yield one
    if depth == 0 or isinstance(one, Optimizer | Tensor | str):
        return
    parts = (
        one
        if isinstance(one, list | tuple)
        else vars(one).values()
        if hasattr(one, "__dict__")
        else ()
    )
    for part in tuple(parts):
        if isinstance(part, LRScheduler | list | tuple) or hasattr(part, "lr_scheduler"):
            yield from _schedulers_in(part, depth - 1)
