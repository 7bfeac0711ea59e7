"""Base classes of the parameter schedulers, and checks of their arguments."""

import copy
import math
import numbers
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ignite._core.old_arguments import warn_program
from ignite._core.optional import import_optional
from ignite._core.torch_private import state_of_scheduler
from ignite.engine import Engine, Events
from ignite.handlers._schedules import param_groups


class BaseParamScheduler(ABC):
    """Base of all schedulers: computes the value of a parameter at each event.

    Subclasses implement :meth:`get_param`, which reads ``event_index``, and
    :meth:`simulate_values`. They add the names of further state attributes to ``_state_attrs``.

    Args:
        param_name: the scheduled parameter.
        save_history: whether to append each value to ``engine.state.param_history[param_name]``.

    Raises:
        TypeError: ``param_name`` is not a string.

    State:
        ``event_index``, ``param_name``, ``save_history`` and attributes of the class. Compatible
        with Ignite.
    """

    def __init__(self, param_name: str, save_history: bool = False) -> None:
        if not isinstance(param_name, str):
            raise TypeError(f"Argument param_name should be a string, but given {param_name!r}")
        self.param_name = param_name
        self.event_index = 0
        self._save_history = save_history
        self._state_attrs = ["event_index", "param_name", "save_history"]

    @property
    def save_history(self) -> bool:
        """Whether values are appended to ``engine.state.param_history``."""
        return self._save_history

    @save_history.setter
    def save_history(self, value: bool) -> None:
        self._save_history = value

    @abstractmethod
    def get_param(self) -> Any:
        """Returns the value for the current ``event_index``; changes nothing."""

    @classmethod
    @abstractmethod
    def simulate_values(cls, num_events: int, **scheduler_kwargs: Any) -> list[list[Any]]:
        """Returns the values of the first ``num_events`` events: ``[[index, value], ...]``."""

    @classmethod
    def plot_values(cls, num_events: int, **scheduler_kwargs: Any) -> Any:
        """Plots :meth:`simulate_values` in the current matplotlib axes, one line per column.

        Args:
            num_events: the number of events.
            **scheduler_kwargs: arguments of :meth:`simulate_values`.

        Returns:
            The axes. The figure belongs to pyplot: show or close it.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        rows = cls.simulate_values(num_events, **scheduler_kwargs)
        label = scheduler_kwargs.get("param_name", "learning rate")
        axes = pyplot.gca()
        axes.plot([row[0] for row in rows], [row[1:] for row in rows], label=label)
        axes.legend()
        axes.grid(which="both")
        return axes

    def state_dict(self) -> dict[str, Any]:
        """Returns the state and the configuration."""
        return OrderedDict((name, _state_of(getattr(self, name))) for name in self._state_attrs)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: a key is missing, or the state belongs to another parameter. Nothing is
                changed.
        """
        self._check_state(state_dict)
        backup = copy.deepcopy(self.state_dict())
        try:
            self._take(state_dict)
        except Exception:
            self._take(backup)
            raise

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        check_keys(state_dict, self._state_attrs)
        check_count("event_index in state_dict", state_dict["event_index"])
        if state_dict["param_name"] != self.param_name:
            raise ValueError(
                f"state_dict should be that of a scheduler of {self.param_name!r}, "
                f"but given one of {state_dict['param_name']!r}"
            )

    def _take(self, state_dict: Mapping[str, Any]) -> None:
        for name in self._state_attrs:
            own, saved = getattr(self, name), state_dict[name]
            if hasattr(own, "load_state_dict"):
                own.load_state_dict(saved)
            else:
                setattr(self, name, list(saved) if isinstance(saved, list) else saved)

    def _record(self, engine: Engine[Any, Any] | None, name: str, value: Any) -> None:
        """Appends a value to the history, with ``save_history`` and an engine."""
        if not self.save_history or engine is None:
            return
        state: Any = engine.state
        if getattr(state, "param_history", None) is None:  # None resets the history
            state.param_history = {}
        state.param_history.setdefault(name, []).append(value)


def check_keys(state_dict: Any, names: list[str]) -> None:
    """Checks that a state is a mapping with all keys.

    Raises:
        TypeError: it is not a mapping.
        ValueError: a key is missing.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"Argument state_dict should be a dictionary, but given {type(state_dict)}")
    for name in names:
        if name not in state_dict:
            raise ValueError(
                f"Required state attribute '{name}' is absent in provided state_dict "
                f"with the keys {list(state_dict)}"
            )


def _state_of(value: Any) -> Any:
    if isinstance(value, LRScheduler):
        return state_of_scheduler(value)
    if hasattr(value, "state_dict"):
        return value.state_dict()
    return list(value) if isinstance(value, list) else value


class ParamScheduler(BaseParamScheduler):
    """Base of the schedulers for optimizers: sets a value in the parameter groups at each event.

    Each call sets the value for ``event_index``, then increments it: with
    ``Events.ITERATION_STARTED``, the first iteration uses the value for index 0. Subclasses
    implement :meth:`get_param`.

    Args:
        optimizer: the optimizer, or any object with ``param_groups``. Deprecated: a single group.
            Tensor values, such as the learning rate of an optimizer with ``capturable=True``, are
            changed in place.
        param_name: the name of the parameter in the groups, such as "lr".
        save_history: whether to append the values, one per group, to
            ``engine.state.param_history[param_name]``.
        param_group_index: index of the only group to change; by default, all groups.

    Raises:
        TypeError: ``optimizer`` has no parameter groups, or ``param_group_index`` is not an
            integer.
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
        self,
        optimizer: Optimizer,
        param_name: str,
        save_history: bool = False,
        param_group_index: int | None = None,
    ) -> None:
        super().__init__(param_name, save_history)
        if isinstance(optimizer, dict):  # as before Ignite 0.4
            warn_program(
                "Passing a parameter group as optimizer is deprecated. "
                "Pass the optimizer and param_group_index instead",
            )
            # Schedulers use nothing else of an optimizer.
            optimizer = param_groups.OneGroup(optimizer)  # type: ignore[assignment]
        param_groups.check_optimizer(optimizer)
        if param_group_index is not None and not is_integer(param_group_index):
            raise TypeError(
                "Argument param_group_index should be an integer or None, "
                f"but given {param_group_index!r}"
            )
        param_groups.check_name(optimizer.param_groups, param_name)
        self.optimizer = optimizer
        self.param_group_index = param_group_index
        self._state_attrs += ["param_group_index"]

    @property
    def optimizer_param_groups(self) -> list[dict[str, Any]]:
        """The scheduled parameter groups.

        Raises:
            IndexError: the optimizer has no group ``param_group_index``.
        """
        return param_groups.select(self.optimizer, self.param_group_index)

    def attach(self, engine: Engine[Any, Any], event: Any = Events.ITERATION_STARTED) -> None:
        """Sets the value at each ``event`` of ``engine``."""
        engine.add_event_handler(event, self)

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Sets the value for ``event_index``, then increments it.

        Args:
            engine: stores the history; may be None.
            name: the name in the history; by default ``param_name``.

        Raises:
            ValueError: the list from :meth:`get_param` does not have one value per group. Nothing
                is changed.
        """
        targets, value = self.optimizer_param_groups, self.get_param()
        values = value if isinstance(value, list) else [value] * len(targets)
        if len(values) != len(targets):
            raise ValueError(
                "size of value is different than optimizer_param_groups "
                f"{len(values)} != {len(targets)}: get_param should return one number, "
                "or a list with one number per group"
            )
        for group, one in zip(targets, values, strict=True):
            param_groups.write(group, self.param_name, one)
        self._record(engine, name or self.param_name, [param_groups.copied(one) for one in values])
        self.event_index += 1

    @classmethod
    def simulate_values(cls, num_events: int, **scheduler_kwargs: Any) -> list[list[Any]]:
        """The values of the first ``num_events`` events: ``[[0, value], [1, value], ...]``.

        Args:
            num_events: the number of events.
            **scheduler_kwargs: arguments of the class; an ``optimizer`` is ignored.

        Example:
            >>> from ignite.handlers.param_scheduler import PiecewiseLinear
            >>> points = [(0, 0.0), (2, 1.0)]
            >>> PiecewiseLinear.simulate_values(3, param_name="lr", milestones_values=points)
            [[0, 0.0], [1, 0.5], [2, 1.0]]
        """
        index = scheduler_kwargs.get("param_group_index") or 0
        optimizer = param_groups.dummy_optimizer(num_groups=max(index + 1, -index, 1))
        for group in optimizer.param_groups:
            group.setdefault(scheduler_kwargs.get("param_name", "lr"), 0.0)
        scheduler = cls(**{**scheduler_kwargs, "optimizer": optimizer, "save_history": False})
        rows = []
        for event in range(num_events):
            scheduler(engine=None)
            rows.append([event, scheduler.optimizer_param_groups[0][scheduler.param_name]])
        return rows

    def _begin(self) -> None:
        """Called when this scheduler replaces another one of the same groups."""


def check_number(name: str, value: Any) -> float:
    """Returns ``value`` as a plain number; accepts NumPy numbers and tensors with one element.

    Raises:
        TypeError: it is not a number.
        ValueError: it is NaN or infinite.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, torch.Tensor) and value.numel() == 1):
        raise TypeError(f"{name} should be a number, but given {value!r}")
    plain = value if type(value) in (int, float) else float(value)
    if not math.isfinite(plain):
        raise ValueError(f"{name} should be a finite number, but given {value!r}")
    return plain


def check_kept_number(name: str, value: Any) -> Any:
    """Returns ``value`` as it is: a number, a NumPy number or a tensor with one element.

    Raises:
        TypeError: it is not a number.
        ValueError: it is NaN or infinite.
    """
    check_number(name, value)
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer, including NumPy integers but not bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_count(name: str, value: Any, least: int = 0) -> int:
    """Returns ``value`` as an integer that is at least ``least``.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is too small.
    """
    if not is_integer(value):
        raise TypeError(f"{name} should be an integer, but given {value!r}")
    if value < least:
        raise ValueError(f"{name} should be at least {least}, but given {value!r}")
    return int(value)


def check_milestones_and_values(pairs: Any) -> tuple[list[int], list[float]]:
    """Returns the two columns of ``[(event index, value), ...]``.

    Raises:
        TypeError: it is not a list or tuple of pairs of integer and number.
        ValueError: it is empty, or the milestones decrease.
    """
    if not isinstance(pairs, list | tuple):
        raise TypeError(
            f"Argument milestones_values should be a list or tuple, but given {type(pairs)}"
        )
    if not pairs:
        raise ValueError(
            f"Argument milestones_values should be with at least one value, but given {pairs}"
        )
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(
                "Argument milestones_values should be a list of pairs (milestone, param_value), "
                f"but given one with {pair!r}"
            )
    values = [check_number("Value of a milestone", value) for _, value in pairs]
    return check_increasing([milestone for milestone, _ in pairs]), values


def check_increasing(milestones: Iterable[Any]) -> list[int]:
    """Returns milestones as non-decreasing integers.

    Raises:
        TypeError: a milestone is not an integer.
        ValueError: the milestones decrease.
    """
    found: list[int] = []
    for milestone in milestones:
        if not is_integer(milestone):
            raise TypeError(f"Value of a milestone should be integer, but given {milestone!r}")
        if found and milestone < found[-1]:
            raise ValueError(
                "Milestones should be increasing integers, but given "
                f"{milestone} is smaller than the previous milestone {found[-1]}"
            )
        found.append(int(milestone))
    return found
