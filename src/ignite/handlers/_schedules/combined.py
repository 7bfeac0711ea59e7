"""Schedulers that combine other schedulers: in sequence, and in parallel."""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from ignite._core.old_arguments import Old, OldOrder, takes_old
from ignite.engine import Engine
from ignite.handlers._schedules import param_groups
from ignite.handlers._schedules.scheduler import (
    ParamScheduler,
    check_count,
    check_keys,
    is_integer,
)


class ParamGroupScheduler:
    """Calls several schedulers at each event, usually one per parameter group.

    It has no ``attach``: use ``engine.add_event_handler(Events.ITERATION_STARTED, scheduler)``.

    Args:
        schedulers: schedulers of one parameter group each, or of different parameters or
            optimizers. Do not attach them.
        names: one name per scheduler, used in the history and checked when a state is loaded; by
            default the names of the parameters.
        save_history: whether to append the values to ``engine.state.param_history``; also set for
            ``schedulers``.

    Raises:
        TypeError: ``schedulers`` or ``names`` is not a list.
        ValueError: an item has the wrong type, or the lists differ in length.

    State:
        The states of all schedulers.

    Example:
        >>> import torch
        >>> from ignite.handlers.param_scheduler import PiecewiseLinear
        >>> groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}]
        >>> optimizer = torch.optim.SGD(groups, lr=1.0)
        >>> body = PiecewiseLinear(optimizer, "lr", [(0, 0.0), (2, 1.0)], param_group_index=0)
        >>> head = PiecewiseLinear(optimizer, "lr", [(0, 5.0), (2, 3.0)], param_group_index=1)
        >>> ParamGroupScheduler.simulate_values(3, schedulers=[body, head])
        [[0, 0.0, 5.0], [1, 0.5, 4.0], [2, 1.0, 3.0]]
    """

    def __init__(
        self,
        schedulers: list[ParamScheduler],
        names: list[str] | None = None,
        save_history: bool = False,
    ) -> None:
        if not isinstance(schedulers, list | tuple):
            raise TypeError(f"Argument schedulers should be a list/tuple, but given {schedulers!r}")
        if not schedulers or not all(
            isinstance(scheduler, ParamScheduler) for scheduler in schedulers
        ):
            raise ValueError(
                "Argument schedulers should be a list/tuple of parameter schedulers, "
                f"but given {schedulers}"
            )
        names = [scheduler.param_name for scheduler in schedulers] if names is None else names
        if not isinstance(names, list | tuple):
            raise TypeError(f"Argument names should be a list/tuple, but given {names!r}")
        if not all(isinstance(name, str) for name in names):
            raise ValueError(
                "Argument names should be a list/tuple of parameter scheduler's names, "
                f"but given {names}"
            )
        if len(names) != len(schedulers):
            raise ValueError(
                f"{len(schedulers)} should be equal {len(names)}: names should have one name per "
                "scheduler"
            )
        self.schedulers = schedulers
        self.names = names
        self.optimizer = [scheduler.optimizer for scheduler in schedulers]
        self.param_name = [scheduler.param_name for scheduler in schedulers]
        self.save_history = save_history

    @property
    def save_history(self) -> bool:
        """Whether values are appended to ``engine.state.param_history``, for all schedulers."""
        return self.schedulers[0].save_history

    @save_history.setter
    def save_history(self, value: bool) -> None:
        for scheduler in self.schedulers:
            scheduler.save_history = value

    @property
    def optimizer_param_groups(self) -> list[dict[str, Any]]:
        """The scheduled parameter groups, in the order of the schedulers."""
        return [
            group for scheduler in self.schedulers for group in scheduler.optimizer_param_groups
        ]

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Calls all schedulers.

        Args:
            engine: stores the history; may be None.
            name: name of all values in the history; by default ``names``.
        """
        for scheduler, own_name in zip(self.schedulers, self.names, strict=True):
            scheduler(engine, name or own_name)

    def get_param(self) -> list[float | list[float]]:
        """Returns the next value of each scheduler."""
        return [scheduler.get_param() for scheduler in self.schedulers]

    @classmethod
    def simulate_values(
        cls, num_events: int, schedulers: list[ParamScheduler], **kwargs: Any
    ) -> list[list[Any]]:
        """Returns the values of the first ``num_events`` events.

        A row is ``[event index, value of scheduler 0, value of scheduler 1, ...]``.

        Args:
            num_events: the number of events.
            schedulers: as for the class. They and their optimizers are restored afterwards.
            **kwargs: arguments of the class.
        """
        rows = []
        with param_groups.restored([scheduler.optimizer for scheduler in schedulers], schedulers):
            scheduler = cls(schedulers, **{**kwargs, "save_history": False})
            for event in range(num_events):
                scheduler(engine=None)
                rows.append([event, *(_shown(one) for one in schedulers)])
        return rows

    def state_dict(self) -> dict[str, list[Any]]:
        """Returns the names and states of all schedulers."""
        states = [scheduler.state_dict() for scheduler in self.schedulers]
        return OrderedDict(schedulers=list(zip(self.names, states, strict=True)))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: the state belongs to other schedulers. Nothing is changed.
        """
        check_keys(state_dict, ["schedulers"])
        saved = state_dict["schedulers"]
        if len(saved) != len(self.schedulers):
            raise ValueError(
                f"Input state_dict contains {len(saved)} state_dicts of param group schedulers, "
                f"but {len(self.schedulers)} needed"
            )
        for expected, (name, _) in zip(self.names, saved, strict=True):
            if name != expected:
                raise ValueError(
                    "Name of scheduler from input state dict does not correspond to required one: "
                    f"{name!r} vs {expected!r}"
                )
        backup = copy.deepcopy(self.state_dict())
        try:
            self._take(saved)
        except Exception:
            self._take(backup["schedulers"])
            raise

    def _take(self, saved: list[Any]) -> None:
        for scheduler, (_, state) in zip(self.schedulers, saved, strict=True):
            scheduler.load_state_dict(state)

    def _begin(self) -> None:
        for scheduler in self.schedulers:
            scheduler._begin()


def _shown(scheduler: ParamScheduler) -> Any:
    """Returns one value if the scheduler sets the same one in all groups; otherwise a list."""
    values = param_groups.read(scheduler.optimizer_param_groups, scheduler.param_name)
    return values if isinstance(scheduler.get_param(), list) else values[0]


def _create_listed(arguments: dict[str, Any]) -> None:
    """Replaces the list ``(class, arguments, duration)`` of Ignite 0.1 by schedulers and durations."""
    listed = arguments.pop("schedulers_list")
    optimizer, param_name = arguments.pop("optimizer"), arguments.pop("param_name")
    *durations, last = [duration for _, _, duration in listed]
    if last is not None:
        raise ValueError(
            f"The last item of schedulers_list should have the duration None, but given {last!r}: "
            "schedulers are not repeated"
        )
    arguments["schedulers"] = [kind(optimizer, param_name, **given) for kind, given, _ in listed]
    arguments["durations"] = durations


class ConcatScheduler(ParamScheduler):
    """Runs schedulers one after the other; the last one runs indefinitely.

    Args:
        schedulers: two or more schedulers of the same parameter of the same optimizer. Do not
            attach them.
        durations: number of events of each scheduler but the last. A scheduler with duration 0 is
            skipped.
        save_history: whether to append the values to ``engine.state.param_history[param_name]``;
            also set for ``schedulers``.

    Raises:
        TypeError: ``schedulers`` or ``durations`` is not a list, or an item of ``schedulers`` is
            not a scheduler.
        ValueError: there are fewer than two schedulers, their parameters or optimizers differ, or a
            duration is negative or not an integer.

    State:
        The index of the current scheduler, and the states of all schedulers.

    Example:
        >>> import torch
        >>> from ignite.handlers.param_scheduler import PiecewiseLinear
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> first = PiecewiseLinear(optimizer, "lr", [(0, 0.0), (2, 1.0)])
        >>> second = PiecewiseLinear(optimizer, "lr", [(0, 5.0), (1, 4.0)])
        >>> ConcatScheduler.simulate_values(4, schedulers=[first, second], durations=[2])
        [[0, 0.0], [1, 0.5], [2, 5.0], [3, 4.0]]
    """

    @takes_old(
        OldOrder(
            "optimizer param_name schedulers_list save_history",
            lambda values: len(values) > 2 and hasattr(values[0], "param_groups"),
        ),
        arguments={
            "schedulers_list": Old(
                "replace schedulers_list by schedulers=[kind(optimizer, param_name, **arguments), ...] "
                "and durations=[...]",
                _create_listed,
            )
        },
    )
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
        if not all(param_groups.is_same(one, optimizers[0]) for one in optimizers):
            raise ValueError(
                "schedulers should be related to same optimizer, but given different ones"
            )
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
        """Whether values are appended to ``engine.state.param_history``, for all schedulers."""
        return self._save_history

    @save_history.setter
    def save_history(self, value: bool) -> None:
        self._save_history = value
        for scheduler in self.schedulers:
            scheduler.save_history = value

    @property
    def optimizer_param_groups(self) -> list[dict[str, Any]]:
        """The groups of the current scheduler."""
        return self._current_scheduler.optimizer_param_groups

    @property
    def _current_scheduler(self) -> ParamScheduler | ParamGroupScheduler:
        return self.schedulers[self._scheduler_index]

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Calls the current scheduler."""
        index, left = self._next()
        if index != self._scheduler_index:
            self._scheduler_index, self._current_duration = index, left
            self.schedulers[index]._begin()
        self.schedulers[index](engine, name)
        self._current_duration -= 1

    def get_param(self) -> Any:
        """Returns the value that the next call sets."""
        index, _ = self._next()
        with param_groups.restored([self.optimizer]):
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
        """Returns the values of the first ``num_events`` events.

        A row is ``[event index, value of group 0, value of group 1, ...]``.

        Args:
            num_events: the number of events.
            schedulers: as for the class. They and their optimizer are restored afterwards.
            durations: as for the class.
            param_names: the parameters to return; by default the scheduled one.

        Raises:
            TypeError: ``param_names`` is not a list, or as for the class.
            ValueError: ``param_names`` are not strings, or as for the class.
        """
        if param_names is not None and not isinstance(param_names, list | tuple):
            raise TypeError(
                f"Argument param_names should be list or tuple, but given {param_names!r}"
            )
        if param_names is not None and not all(isinstance(name, str) for name in param_names):
            raise ValueError(
                "Argument param_names should be list or tuple of strings, "
                f"but given {param_names!r}"
            )
        _check_schedulers(schedulers)
        optimizers = [one for scheduler in schedulers for one in _as_list(scheduler.optimizer)]
        rows = []
        with param_groups.restored(optimizers, schedulers):
            scheduler = cls(schedulers, durations)
            for event in range(num_events):
                scheduler(engine=None)
                shown = param_names or [scheduler.param_name]
                values = [
                    param_groups.read(scheduler.optimizer_param_groups, name) for name in shown
                ]
                rows.append([event, *(value for column in values for value in column)])
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Returns the index of the current scheduler, and the states of all schedulers."""
        return {
            **super().state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
        }

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        check_keys(state_dict, ["schedulers"])
        _check_durations(state_dict["durations"], len(self.schedulers))
        if len(state_dict["schedulers"]) != len(self.schedulers):
            raise ValueError(
                f"Input state_dict contains {len(state_dict['schedulers'])} state_dicts of "
                f"concatenated schedulers, but {len(self.schedulers)} needed"
            )
        index = check_count("_scheduler_index in state_dict", state_dict["_scheduler_index"])
        if not is_integer(left := state_dict["_current_duration"]):
            raise TypeError(
                f"_current_duration in state_dict should be an integer, but given {left!r}"
            )
        if index >= len(self.schedulers):
            raise ValueError(
                f"_scheduler_index in state_dict should be less than {len(self.schedulers)}, "
                f"but given {index}"
            )

    def _take(self, state_dict: Mapping[str, Any]) -> None:
        super()._take(state_dict)
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)

    def _next(self) -> tuple[int, int]:
        """Returns the index and the remaining events of the current scheduler; negative: no end."""
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
        raise ValueError(
            "Argument schedulers should be of more than one parameter schedulers, "
            f"but given {schedulers}"
        )
    for i, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, ParamScheduler | ParamGroupScheduler):
            raise TypeError(
                f"Value at index {i} of schedulers should be a parameter scheduler, "
                f"but given {type(scheduler)}"
            )


def _check_durations(durations: Any, num_schedulers: int) -> None:
    if not isinstance(durations, list | tuple):
        raise TypeError(f"Argument durations should be list/tuple, but given {durations!r}")
    if not all(is_integer(duration) and duration >= 0 for duration in durations):
        raise ValueError(
            "Argument durations should be list/tuple of integers, at least 0, "
            f"but given {durations}"
        )
    if len(durations) != num_schedulers - 1:
        raise ValueError(
            "Incorrect number schedulers or duration values, "
            f"given {num_schedulers} and {len(durations)}: the last scheduler has no duration"
        )
