"""Schedules one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine
from ignite.handlers._schedules import checks, groups
from ignite.handlers._schedules.base import check_keys
from ignite.handlers._schedules.optimizer_param import ParamScheduler
from ignite.handlers._schedules.param_groups import ParamGroupScheduler


class ConcatScheduler(ParamScheduler):
    """Runs one scheduler after the other, the last one for ever.

    Args:
        schedulers: two or more, of the same parameter of the same optimizer. Do not attach them.
        durations: for how many events each runs, one less than there are schedulers. With 0 it is left out.
        save_history: whether to append the values to ``engine.state.param_history[param_name]``; holds for
            ``schedulers``, too.

    Raises:
        TypeError: ``schedulers`` or ``durations`` is not a list, or one of ``schedulers`` is no scheduler.
        ValueError: there are too few, they are of different parameters or optimizers, or a duration is not an integer
            or negative.

    State:
        Which scheduler it is at, and the states of all.

    Example:
        >>> import torch
        >>> from ignite.handlers.param_scheduler import PiecewiseLinear
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> first = PiecewiseLinear(optimizer, "lr", [(0, 0.0), (2, 1.0)])
        >>> second = PiecewiseLinear(optimizer, "lr", [(0, 5.0), (1, 4.0)])
        >>> ConcatScheduler.simulate_values(4, schedulers=[first, second], durations=[2])
        [[0, 0.0], [1, 0.5], [2, 5.0], [3, 4.0]]
    """

    def __init__(
        self,
        schedulers: Sequence[ParamScheduler | ParamGroupScheduler],
        durations: list[int],
        save_history: bool = False,
    ) -> None:
        _check_schedulers(schedulers)
        _check_durations(durations, len(schedulers))
        optimizers = [one for scheduler in schedulers for one in _as_list(scheduler.optimizer)]
        names = [name for scheduler in schedulers for name in _as_list(scheduler.param_name)]
        if not all(groups.is_same(one, optimizers[0]) for one in optimizers):
            raise ValueError("schedulers should be related to same optimizer, but given different ones")
        if len(set(names)) > 1:
            raise ValueError(f"schedulers should be related to same param_name, but given {names}")
        super().__init__(optimizers[0], names[0], save_history)
        self.schedulers = schedulers
        self.durations = [int(duration) for duration in durations]
        self.save_history = save_history
        self._scheduler_index = 0
        self._current_duration = self.durations[0]
        self._state_attrs += ["_current_duration", "durations", "_scheduler_index"]

    @property
    def save_history(self) -> bool:
        """Whether values are appended to ``engine.state.param_history``; setting it sets that of all schedulers."""
        return self._save_history

    @save_history.setter
    def save_history(self, value: bool) -> None:
        self._save_history = value
        for scheduler in self.schedulers:
            scheduler.save_history = value

    @property
    def optimizer_param_groups(self) -> list[dict[str, Any]]:
        """The groups that the scheduler at hand writes to."""
        return self.schedulers[self._scheduler_index].optimizer_param_groups

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Calls the scheduler whose turn it is."""
        index, left = self._next()
        if index != self._scheduler_index:
            self._scheduler_index, self._current_duration = index, left
            self.schedulers[index]._begin()
        self.schedulers[index](engine, name)
        self._current_duration -= 1

    def get_param(self) -> Any:
        """The value that the next call will write."""
        index, _ = self._next()
        with groups.untouched([self.optimizer]):
            if index != self._scheduler_index:
                self.schedulers[index]._begin()
            return self.schedulers[index].get_param()

    @classmethod
    def simulate_values(  # type: ignore[override]
        cls,
        num_events: int,
        schedulers: Sequence[ParamScheduler | ParamGroupScheduler],
        durations: list[int],
        param_names: list[str] | tuple[str] | None = None,
    ) -> list[list[Any]]:
        """The values of the first ``num_events`` events: ``[[event index, value of group 0, of group 1, ...], ...]``.

        Args:
            num_events: how many events.
            schedulers: as for the class. They and their optimizer are put back to what they were.
            durations: as for the class.
            param_names: the parameters to show, by default the scheduled one.

        Raises:
            TypeError: ``param_names`` is not a list, or as for the class.
            ValueError: ``param_names`` are not strings, or as for the class.
        """
        if param_names is not None and not isinstance(param_names, list | tuple):
            raise TypeError(f"Argument param_names should be list or tuple, but given {param_names!r}")
        if param_names is not None and not all(isinstance(name, str) for name in param_names):
            raise ValueError(f"Argument param_names should be list or tuple of strings, but given {param_names!r}")
        _check_schedulers(schedulers)
        optimizers = [one for scheduler in schedulers for one in _as_list(scheduler.optimizer)]
        rows = []
        with groups.untouched(optimizers, schedulers):
            scheduler = cls(schedulers, durations)
            for event in range(num_events):
                scheduler(engine=None)
                shown = param_names or [scheduler.param_name]
                values = [groups.read(scheduler.optimizer_param_groups, name) for name in shown]
                rows.append([event, *(value for column in values for value in column)])
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Which scheduler it is at, and the states of all."""
        return {**super().state_dict(), "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        check_keys(state_dict, ["schedulers"])
        _check_durations(state_dict["durations"], len(self.schedulers))
        if len(state_dict["schedulers"]) != len(self.schedulers):
            raise ValueError(
                f"Input state_dict contains {len(state_dict['schedulers'])} state_dicts of concatenated schedulers, "
                f"but {len(self.schedulers)} needed"
            )
        index = checks.count("_scheduler_index in state_dict", state_dict["_scheduler_index"])
        if not checks.is_whole(left := state_dict["_current_duration"]):
            raise TypeError(f"_current_duration in state_dict should be an integer, but given {left!r}")
        if index >= len(self.schedulers):
            raise ValueError(
                f"_scheduler_index in state_dict should be less than {len(self.schedulers)}, but given {index}"
            )

    def _take(self, state_dict: Mapping[str, Any]) -> None:
        super()._take(state_dict)
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)

    def _next(self) -> tuple[int, int]:
        """The scheduler whose turn it is, and for how many events; a negative number counts up for ever."""
        index, left = self._scheduler_index, self._current_duration
        while left == 0:
            index += 1
            left = self.durations[index] if index < len(self.durations) else -1
        return index, left

    def _begin(self) -> None:
        self.schedulers[self._scheduler_index]._begin()


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check_schedulers(schedulers: Any) -> None:
    if not isinstance(schedulers, list | tuple):
        raise TypeError(f"Argument schedulers should be a sequence, but given {schedulers!r}")
    if len(schedulers) < 2:
        raise ValueError(f"Argument schedulers should be of more than one parameter schedulers, but given {schedulers}")
    for i, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, ParamScheduler | ParamGroupScheduler):
            raise TypeError(
                f"Value at index {i} of schedulers should be a parameter scheduler, but given {type(scheduler)}"
            )


def _check_durations(durations: Any, num_schedulers: int) -> None:
    if not isinstance(durations, list | tuple):
        raise TypeError(f"Argument durations should be list/tuple, but given {durations!r}")
    if not all(checks.is_whole(duration) and duration >= 0 for duration in durations):
        raise ValueError(f"Argument durations should be list/tuple of integers, at least 0, but given {durations}")
    if len(durations) != num_schedulers - 1:
        raise ValueError(
            f"Incorrect number schedulers or duration values, given {num_schedulers} and {len(durations)}: the last "
            "scheduler has no duration"
        )
