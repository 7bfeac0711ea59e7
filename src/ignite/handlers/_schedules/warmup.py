"""A warm-up before a schedule."""

import math
from typing import Any

from torch.optim.lr_scheduler import LRScheduler as TorchScheduler

from ignite.handlers._schedules import checks, groups
from ignite.handlers._schedules.concat import ConcatScheduler
from ignite.handlers._schedules.optimizer_param import ParamScheduler
from ignite.handlers._schedules.param_groups import ParamGroupScheduler
from ignite.handlers._schedules.piecewise import PiecewiseLinear
from ignite.handlers._schedules.torch_schedules import LRScheduler, check_torch_scheduler


def create_lr_scheduler_with_warmup(
    lr_scheduler: ParamScheduler | TorchScheduler,
    warmup_start_value: float,
    warmup_duration: int,
    warmup_end_value: float | None = None,
    save_history: bool = False,
    output_simulated_values: list[Any] | None = None,
) -> ConcatScheduler:
    """Puts a linear warm-up of the learning rates of all groups before a scheduler.

    Events 0 to ``warmup_duration - 1`` lead from ``warmup_start_value`` to ``warmup_end_value``. Then comes the first
    value of ``lr_scheduler``, or its second, if the first is the one that the warm-up has ended with.

    Args:
        lr_scheduler: a scheduler of torch, or one of the learning rate. Do not attach it.
        warmup_start_value: the first value.
        warmup_duration: the number of events, at least 2.
        warmup_end_value: the last value; by default, for each group, the learning rate that it has now.
        save_history: whether to append the values to ``engine.state.param_history["lr"]``.
        output_simulated_values: a list of None that is filled with the first values, ``[event index, lr of group 0,
            lr of group 1, ...]`` each.

    Returns:
        The scheduler to attach.

    Raises:
        TypeError: ``lr_scheduler`` is no scheduler, ``warmup_duration`` no integer, ``output_simulated_values`` no
            list, a value no number.
        ValueError: ``warmup_duration`` is less than 2, a value is not finite, or ``lr_scheduler`` is one of something
            else.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        >>> rows = [None] * 5
        >>> scheduler = create_lr_scheduler_with_warmup(decay, 0.0, 3, output_simulated_values=rows)
        >>> rows
        [[0, 0.0], [1, 0.5], [2, 1.0], [3, 0.5], [4, 0.25]]
    """
    if not isinstance(lr_scheduler, ParamScheduler):
        check_torch_scheduler(lr_scheduler, "torch.optim.lr_scheduler.LRScheduler or ParamScheduler")
    if not checks.is_whole(warmup_duration):
        raise TypeError(f"Argument warmup_duration should be integer, but given {warmup_duration!r}")
    if warmup_duration < 2:
        raise ValueError(f"Argument warmup_duration should be at least 2 events, but given {warmup_duration}")
    if not isinstance(output_simulated_values, list | None):
        raise TypeError(
            "Argument output_simulated_values should be a list of None, e.g. `[None] * 100`, "
            f"but given {type(output_simulated_values)}"
        )
    checks.number("Argument warmup_start_value", warmup_start_value)
    if warmup_end_value is not None:
        checks.number("Argument warmup_end_value", warmup_end_value)
    optimizer = lr_scheduler.optimizer
    ends = [group["lr"] if warmup_end_value is None else warmup_end_value for group in optimizer.param_groups]
    warmups: list[Any] = [
        PiecewiseLinear(optimizer, "lr", [(0, warmup_start_value), (warmup_duration - 1, end)], param_group_index=i)
        for i, end in enumerate(ends)
    ]
    warmup = ParamGroupScheduler(warmups)
    scheduler = lr_scheduler if isinstance(lr_scheduler, ParamScheduler) else LRScheduler(lr_scheduler)
    joined = ConcatScheduler([warmup, scheduler], [warmup_duration], save_history)
    _leave_out_first(scheduler, {id(group): end for group, end in zip(optimizer.param_groups, ends, strict=True)})
    if output_simulated_values is not None:
        output_simulated_values[:] = ConcatScheduler.simulate_values(
            len(output_simulated_values), joined.schedulers, joined.durations
        )
    return joined


def _leave_out_first(scheduler: ParamScheduler, ends: dict[int, Any]) -> None:
    """Moves a scheduler on by one event if its first value is the end of the warm-up in all of its groups."""
    with groups.untouched([scheduler.optimizer]):
        first = scheduler.get_param()
        targets = scheduler.optimizer_param_groups
        values = first if isinstance(first, list) else [first] * len(targets)
        expected = [ends[id(group)] for group in targets]
        # The tolerance is that of float32, which learning rates in tensors have.
        if all(math.isclose(*pair, rel_tol=1e-6) for pair in zip(values, expected, strict=True)):
            scheduler(engine=None)
