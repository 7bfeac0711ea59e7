"""Schedules side by side."""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine
from ignite.handlers._schedules import groups
from ignite.handlers._schedules.base import check_keys
from ignite.handlers._schedules.optimizer_param import ParamScheduler


class ParamGroupScheduler:
    """Calls several schedulers at each event, each usually of another group of an optimizer.

    It has no ``attach``: use ``engine.add_event_handler(Events.ITERATION_STARTED, scheduler)``.

    Args:
        schedulers: of one parameter group each, or of different parameters or optimizers. Do not attach them.
        names: one for each scheduler, under which its values stand in the history, and which is checked when a state
            is loaded; by default the names of the parameters.
        save_history: whether to append the values to ``engine.state.param_history``; holds for ``schedulers``, too.

    Raises:
        TypeError: ``schedulers`` or ``names`` is not a list.
        ValueError: they hold something else than schedulers and strings, or not the same number.

    State:
        The states of all schedulers.

    Example:
        >>> import torch
        >>> from ignite.handlers.param_scheduler import PiecewiseLinear
        >>> optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=1.0)
        >>> body = PiecewiseLinear(optimizer, "lr", [(0, 0.0), (2, 1.0)], param_group_index=0)
        >>> head = PiecewiseLinear(optimizer, "lr", [(0, 5.0), (2, 3.0)], param_group_index=1)
        >>> ParamGroupScheduler.simulate_values(3, schedulers=[body, head])
        [[0, 0.0, 5.0], [1, 0.5, 4.0], [2, 1.0, 3.0]]
    """

    def __init__(
        self, schedulers: list[ParamScheduler], names: list[str] | None = None, save_history: bool = False
    ) -> None:
        if not isinstance(schedulers, list | tuple):
            raise TypeError(f"Argument schedulers should be a list/tuple, but given {schedulers!r}")
        if not schedulers or not all(isinstance(scheduler, ParamScheduler) for scheduler in schedulers):
            raise ValueError(
                f"Argument schedulers should be a list/tuple of parameter schedulers, but given {schedulers}"
            )
        names = [scheduler.param_name for scheduler in schedulers] if names is None else names
        if not isinstance(names, list | tuple):
            raise TypeError(f"Argument names should be a list/tuple, but given {names!r}")
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"Argument names should be a list/tuple of parameter scheduler's names, but given {names}")
        if len(names) != len(schedulers):
            raise ValueError(
                f"{len(schedulers)} should be equal {len(names)}: names should have one for each scheduler"
            )
        self.schedulers = schedulers
        self.names = names
        self.optimizer = [scheduler.optimizer for scheduler in schedulers]
        self.param_name = [scheduler.param_name for scheduler in schedulers]
        self.save_history = save_history

    @property
    def save_history(self) -> bool:
        """Whether values are appended to ``engine.state.param_history``; setting it sets that of all schedulers."""
        return self.schedulers[0].save_history

    @save_history.setter
    def save_history(self, value: bool) -> None:
        for scheduler in self.schedulers:
            scheduler.save_history = value

    @property
    def optimizer_param_groups(self) -> list[dict[str, Any]]:
        """The groups that the schedulers write to, scheduler by scheduler."""
        return [group for scheduler in self.schedulers for group in scheduler.optimizer_param_groups]

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Calls all schedulers.

        Args:
            engine: keeps the history; may be None.
            name: one name in the history for all; by default ``names``.
        """
        for scheduler, own_name in zip(self.schedulers, self.names, strict=True):
            scheduler(engine, name or own_name)

    def get_param(self) -> list[float | list[float]]:
        """What each scheduler would write."""
        return [scheduler.get_param() for scheduler in self.schedulers]

    @classmethod
    def simulate_values(cls, num_events: int, schedulers: list[ParamScheduler], **kwargs: Any) -> list[list[Any]]:
        """The values of the first ``num_events`` events: ``[[event index, value of each scheduler, ...], ...]``.

        Args:
            num_events: how many events.
            schedulers: as for the class. They and their optimizers are put back to what they were.
            **kwargs: arguments of the class.
        """
        rows = []
        with groups.untouched([scheduler.optimizer for scheduler in schedulers], schedulers):
            scheduler = cls(schedulers, **{**kwargs, "save_history": False})
            for event in range(num_events):
                scheduler(engine=None)
                rows.append([event, *(_shown(one) for one in schedulers)])
        return rows

    def state_dict(self) -> dict[str, list[Any]]:
        """The states of all schedulers, each with its name."""
        states = [scheduler.state_dict() for scheduler in self.schedulers]
        return OrderedDict(schedulers=list(zip(self.names, states, strict=True)))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state that was saved.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: it is of other schedulers. Nothing is changed.
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
    """One value, if it is the same for all groups by construction; otherwise a list."""
    values = groups.read(scheduler.optimizer_param_groups, scheduler.param_name)
    return values if isinstance(scheduler.get_param(), list) else values[0]
