"""Schedulers that interpolate between values: cyclical, and piecewise linear."""

import math
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from ignite._core.old_arguments import OldOrder, takes_old
from ignite.engine import Engine
from ignite.handlers._schedules.scheduler import (
    ParamScheduler,
    check_milestones_and_values,
    check_number,
)


def linear(start: float, end: float, fraction: float) -> float:
    """Linear interpolation from ``start`` (at 0) to ``end`` (at 1)."""
    return start + (end - start) * fraction


def triangle(start: float, end: float, fraction: float) -> float:
    """Triangle wave from ``start`` to ``end`` (at 1/2) and back."""
    share = abs(fraction - 0.5) * 2  # of the start
    if share > 0.5:  # from the nearer end, so that a large value takes no digits from a small one
        return start + (end - start) * (1 - share)
    return end + (start - end) * share


def half_cosine(start: float, end: float, fraction: float) -> float:
    """Half a period of a cosine from ``start`` to ``end``.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5,
    https://arxiv.org/abs/1608.03983
    """
    return start + (end - start) / 2 * (1 - math.cos(math.pi * fraction))


def piecewise_linear(milestones: Sequence[int], values: Sequence[float], index: int) -> float:
    """Linear interpolation between milestones, constant outside; jumps at two equal milestones."""
    after = bisect_right(milestones, index)
    if after == 0:
        return values[0]
    if after == len(milestones):
        return values[-1]
    begin, end = milestones[after - 1], milestones[after]
    return linear(values[after - 1], values[after], (index - begin) / (end - begin))


_NUMBERS = (
    "start_value",
    "end_value",
    "cycle_size",
    "cycle_mult",
    "start_value_mult",
    "end_value_mult",
)


class CyclicalScheduler(ParamScheduler):
    """Base of the cyclical schedulers: repeats a curve from one value to another.

    A cycle has ``cycle_size`` events. Then a warm-up of ``warmup_duration`` events leads linearly
    from the end value to the start value of the next cycle. ``event_index`` restarts from 0 in each
    cycle; ``cycle`` counts the cycles. The other attributes are those of the current cycle.

    Args:
        optimizer: the optimizer, or any object with ``param_groups``.
        param_name: the name of the parameter in the groups.
        start_value: value at the start of the first cycle.
        end_value: value that the first cycle leads to.
        cycle_size: number of events of the first cycle, at least 2.
        cycle_mult: factor of the length of a cycle and its warm-up, applied after each cycle and
            rounded down.
        start_value_mult: factor of ``start_value``, applied after each cycle.
        end_value_mult: factor of ``end_value``, applied after each cycle.
        warmup_duration: number of events of the warm-up between two cycles.
        save_history: whether to append the values to ``engine.state.param_history[param_name]``.
        param_group_index: index of the only group to change.

    Raises:
        TypeError: an argument is not a number.
        ValueError: a number is not finite, ``cycle_size`` is less than 2, or ``warmup_duration`` is
            negative.
    """

    @takes_old(
        OldOrder(
            "optimizer param_name start_value end_value cycle_size cycle_mult save_history",
            lambda values: len(values) > 6 and isinstance(values[6], bool),
        ),
        OldOrder(
            "optimizer param_name start_value end_value cycle_size cycle_mult start_value_mult "
            "end_value_mult save_history param_group_index",
            lambda values: len(values) > 8 and isinstance(values[8], bool),
        ),
    )
    def __init__(  # noqa: PLR0913 - Ignite's signature
        self,
        optimizer: Optimizer,
        param_name: str,
        start_value: float,
        end_value: float,
        cycle_size: int,
        cycle_mult: float = 1.0,
        start_value_mult: float = 1.0,
        end_value_mult: float = 1.0,
        warmup_duration: int = 0,
        save_history: bool = False,
        param_group_index: int | None = None,
    ) -> None:
        super().__init__(optimizer, param_name, save_history, param_group_index)
        self.start_value = check_number("Argument start_value", start_value)
        self.end_value = check_number("Argument end_value", end_value)
        # Not always an integer: programs pass a fraction of the length of an epoch.
        self.cycle_size = check_number("Argument cycle_size", cycle_size)
        self.cycle_mult = check_number("Argument cycle_mult", cycle_mult)
        self.start_value_mult = check_number("Argument start_value_mult", start_value_mult)
        self.end_value_mult = check_number("Argument end_value_mult", end_value_mult)
        self.warmup_duration = check_number("Argument warmup_duration", warmup_duration)
        if self.cycle_size < 2:
            raise ValueError(
                f"Argument cycle_size should be positive and larger than 1, but given {cycle_size}"
            )
        if self.warmup_duration < 0:
            raise ValueError(
                f"Argument warmup_duration should be at least 0 events, but given {warmup_duration}"
            )
        self.cycle = 0
        self.total_cycle_size = self.cycle_size + self.warmup_duration
        self._state_attrs += [
            "start_value",
            "end_value",
            "cycle_size",
            "cycle_mult",
            "cycle",
            "start_value_mult",
            "end_value_mult",
            "warmup_duration",
            "total_cycle_size",
        ]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state, also of Ignite before 0.4.13, which knows no warm-up."""
        if isinstance(state_dict, Mapping) and "cycle_size" in state_dict:
            known = {"warmup_duration": 0, "total_cycle_size": state_dict["cycle_size"]}
            state_dict = {**known, **state_dict}
        super().load_state_dict(state_dict)

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Sets the value for ``event_index``; starts a new cycle when the current one ends."""
        if self.event_index - 1 < self.cycle_size <= self.event_index:
            self.start_value *= self.start_value_mult
        if self.event_index >= self.total_cycle_size:
            self.event_index = 0
            self.cycle += 1
            self.end_value *= self.end_value_mult
            # A cycle has at least one event.
            self.cycle_size = max(int(self.cycle_size * self.cycle_mult), 1)
            self.warmup_duration = max(int(self.warmup_duration * self.cycle_mult), 0)
            self.total_cycle_size = self.cycle_size + self.warmup_duration
        super().__call__(engine, name)

    @abstractmethod
    def get_param(self) -> float:
        """Returns the value at ``event_index`` of the cycle."""

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        for name in _NUMBERS:
            check_number(f"{name} in state_dict", state_dict[name])
        if state_dict["cycle_size"] <= 0:
            raise ValueError(
                f"cycle_size in state_dict should be positive, but given {state_dict['cycle_size']}"
            )

    def _is_warming_up(self) -> bool:
        return self.event_index >= self.cycle_size and self.warmup_duration > 0

    def _warmup_value(self) -> float:
        fraction = (self.event_index - self.cycle_size) / self.warmup_duration
        return linear(self.end_value, self.start_value, fraction)


class LinearCyclicalScheduler(CyclicalScheduler):
    """Changes a value linearly from ``start_value`` to ``end_value`` and back in each cycle.

    Args:
        *args: arguments of :class:`CyclicalScheduler`.
        monotonic: whether a cycle goes from ``start_value`` to ``end_value`` only. The next cycle
            then starts with a jump, or with the warm-up. By default, the second half of a cycle
            goes back to ``start_value``.
        **kwagrs: arguments of :class:`CyclicalScheduler`.

    Raises:
        TypeError: an argument is not a number.
        ValueError: a number is out of range, or ``warmup_duration`` is given without ``monotonic``.

    Example:
        >>> values = dict(param_name="lr", start_value=1.0, end_value=0.0, cycle_size=4)
        >>> [value for _, value in LinearCyclicalScheduler.simulate_values(6, **values)]
        [1.0, 0.5, 0.0, 0.5, 1.0, 0.5]
        >>> values["monotonic"] = True
        >>> [value for _, value in LinearCyclicalScheduler.simulate_values(6, **values)]
        [1.0, 0.75, 0.5, 0.25, 1.0, 0.75]

    References:
        Smith, "Cyclical Learning Rates for Training Neural Networks", 2017,
        https://arxiv.org/abs/1506.01186
    """

    def __init__(self, *args: Any, monotonic: bool = False, **kwagrs: Any) -> None:
        super().__init__(*args, **kwagrs)
        self.monotonic = monotonic
        if self.warmup_duration > 0 and not monotonic:
            raise ValueError(
                "Invalid combination when warmup_duration > 0 and monotonic=False: without "
                "monotonic, a cycle ends at its start value. Set monotonic=True or "
                f"warmup_duration=0, but given {self.warmup_duration}"
            )

    def get_param(self) -> float:
        """Returns the value at ``event_index`` of the cycle."""
        if self._is_warming_up():
            return self._warmup_value()
        curve = linear if self.monotonic else triangle
        return curve(self.start_value, self.end_value, self.event_index / self.cycle_size)


class CosineAnnealingScheduler(CyclicalScheduler):
    """Anneals a value from ``start_value`` to ``end_value`` along half a cosine in each cycle.

    The value at event ``i`` of a cycle is ``start + (end - start) / 2 * (1 - cos(pi * i /
    cycle_size))``. The next cycle starts with a jump, or with the warm-up. Arguments and errors are
    those of :class:`CyclicalScheduler`.

    Example:
        >>> rows = CosineAnnealingScheduler.simulate_values(
        ...     5, param_name="lr", start_value=1.0, end_value=0.0, cycle_size=4
        ... )
        >>> [round(value, 3) for _, value in rows]
        [1.0, 0.854, 0.5, 0.146, 1.0]

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017,
        https://arxiv.org/abs/1608.03983
    """

    def get_param(self) -> float:
        """Returns the value at ``event_index`` of the cycle."""
        if self._is_warming_up():
            return self._warmup_value()
        return half_cosine(self.start_value, self.end_value, self.event_index / self.cycle_size)


class PiecewiseLinear(ParamScheduler):
    """Interpolates linearly between milestones; constant before the first and after the last.

    Args:
        optimizer: the optimizer, or any object with ``param_groups``.
        param_name: the name of the parameter in the groups.
        milestones_values: ``[(event index, value), ...]``, with non-decreasing indices; the value
            jumps at an index that occurs twice.
        save_history: whether to append the values to ``engine.state.param_history[param_name]``.
        param_group_index: index of the only group to change.

    Raises:
        TypeError: ``milestones_values`` is not a list of pairs of an integer and a number.
        ValueError: it is empty, or the milestones decrease.

    Example:
        >>> points = [(1, 1.0), (3, 0.0)]
        >>> PiecewiseLinear.simulate_values(5, param_name="lr", milestones_values=points)
        [[0, 1.0], [1, 1.0], [2, 0.5], [3, 0.0], [4, 0.0]]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        param_name: str,
        milestones_values: list[tuple[int, float]],
        save_history: bool = False,
        param_group_index: int | None = None,
    ) -> None:
        super().__init__(optimizer, param_name, save_history, param_group_index)
        self.milestones, self.values = check_milestones_and_values(milestones_values)
        self._state_attrs += ["values", "milestones"]

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, with the index of the current segment, which Ignite requires."""
        return {**super().state_dict(), "_index": segment_at(self.milestones, self.event_index - 1)}

    def get_param(self) -> float:
        """Returns the value at ``event_index``."""
        return piecewise_linear(self.milestones, self.values, self.event_index)


def segment_at(milestones: Sequence[int], event_index: int) -> int:
    """Returns the index of the milestone at which the segment of an event begins."""
    num_passed = sum(milestone <= event_index for milestone in milestones)
    return max(min(num_passed - 1, len(milestones) - 2), 0)
