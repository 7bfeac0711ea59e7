"""Schedulers of what is in the parameter groups of an optimizer."""

import warnings
from typing import Any

from torch.optim import Optimizer

from ignite.engine import Engine, Events
from ignite.handlers._schedules import checks, groups
from ignite.handlers._schedules.base import BaseParamScheduler


class ParamScheduler(BaseParamScheduler):
    """Writes a value to the parameter groups of an optimizer at each event: the base of its schedulers.

    Each call writes the value for ``event_index``, then counts it up: with ``Events.ITERATION_STARTED`` the first
    iteration uses the value for 0. Subclasses implement :meth:`get_param`.

    Args:
        optimizer: whose groups are written; anything that has ``param_groups``. Deprecated: one of its groups. A value
            that is a tensor, as the learning rate of an optimizer with ``capturable=True`` may be, is written in place.
        param_name: the name of the parameter in the groups, such as "lr".
        save_history: whether to append the values, one for each group, to ``engine.state.param_history[param_name]``.
        param_group_index: the only group to write to. By default, all are written to.

    Raises:
        TypeError: ``optimizer`` has no parameter groups, or ``param_group_index`` is not an integer.
        ValueError: no group has a parameter ``param_name``.

    Example:
        >>> class Halving(ParamScheduler):
        ...     def get_param(self):
        ...         return 0.5**self.event_index
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> trainer = Engine(lambda engine, batch: optimizer.param_groups[0]["lr"])
        >>> Halving(optimizer, "lr").attach(trainer)
        >>> trainer.run([0] * 3).output
        0.25
    """

    def __init__(
        self, optimizer: Optimizer, param_name: str, save_history: bool = False, param_group_index: int | None = None
    ) -> None:
        super().__init__(param_name, save_history)
        if isinstance(optimizer, dict):  # as before Ignite 0.4
            warnings.warn(
                "A parameter group as optimizer is deprecated. Please give the optimizer, and param_group_index",
                DeprecationWarning,
                stacklevel=3,
            )
            optimizer = groups.OneGroup(optimizer)  # type: ignore[assignment]  # all that is used of one
        groups.check_optimizer(optimizer)
        if param_group_index is not None and not checks.is_whole(param_group_index):
            raise TypeError(f"Argument param_group_index should be an integer or None, but given {param_group_index!r}")
        groups.check_name(optimizer.param_groups, param_name)
        self.optimizer = optimizer
        self.param_group_index = param_group_index
        self._state_attrs += ["param_group_index"]

    @property
    def optimizer_param_groups(self) -> list[dict[str, Any]]:
        """The groups that are written to.

        Raises:
            IndexError: the optimizer has no group ``param_group_index``.
        """
        return groups.select(self.optimizer, self.param_group_index)

    def attach(self, engine: Engine[Any, Any], event: Any = Events.ITERATION_STARTED) -> None:
        """Writes a value at each ``event`` of ``engine``."""
        engine.add_event_handler(event, self)

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Writes the value for ``event_index``, and counts it up.

        Args:
            engine: keeps the history; may be None.
            name: the name in the history; by default that of the parameter.

        Raises:
            ValueError: :meth:`get_param` gave a list that has not one value for each group. Nothing is changed.
        """
        targets, value = self.optimizer_param_groups, self.get_param()
        values = value if isinstance(value, list) else [value] * len(targets)
        if len(values) != len(targets):
            raise ValueError(
                f"size of value is different than optimizer_param_groups {len(values)} != {len(targets)}: get_param "
                "should return one number, or a list with one for each group"
            )
        for group, one in zip(targets, values, strict=True):
            groups.write(group, self.param_name, one)
        self._record(engine, name or self.param_name, [groups.kept(one) for one in values])
        self.event_index += 1

    @classmethod
    def simulate_values(cls, num_events: int, **scheduler_kwargs: Any) -> list[list[Any]]:
        """The values of the first ``num_events`` events: ``[[0, value], [1, value], ...]``.

        Args:
            num_events: how many events.
            **scheduler_kwargs: arguments of the class. An ``optimizer`` among them is not used.

        Example:
            >>> from ignite.handlers.param_scheduler import PiecewiseLinear
            >>> PiecewiseLinear.simulate_values(3, param_name="lr", milestones_values=[(0, 0.0), (2, 1.0)])
            [[0, 0.0], [1, 0.5], [2, 1.0]]
        """
        index = scheduler_kwargs.get("param_group_index") or 0
        optimizer = groups.stand_in(num_groups=max(index + 1, -index, 1))
        for group in optimizer.param_groups:
            group.setdefault(scheduler_kwargs.get("param_name", "lr"), 0.0)
        scheduler = cls(**{**scheduler_kwargs, "optimizer": optimizer, "save_history": False})
        rows = []
        for event in range(num_events):
            scheduler(engine=None)
            rows.append([event, scheduler.optimizer_param_groups[0][scheduler.param_name]])
        return rows

    def _begin(self) -> None:
        """Called when it takes over from a scheduler that has written to the same groups."""
