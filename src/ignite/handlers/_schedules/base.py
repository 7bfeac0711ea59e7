"""What all schedulers have in common: an index that counts events, a state, a history, a simulation."""

import copy
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ignite._core.optional import import_optional
from ignite.engine import Engine
from ignite.handlers._schedules import checks


class BaseParamScheduler(ABC):
    """Computes the value of a parameter for each event: the base of all schedulers.

    Subclasses implement :meth:`get_param`, which reads ``event_index``, and :meth:`simulate_values`. What else their
    values depend on they name in ``_state_attrs``.

    Args:
        param_name: the parameter that is scheduled.
        save_history: whether to append each value to ``engine.state.param_history[param_name]``.

    Raises:
        TypeError: ``param_name`` is not a string.

    State:
        ``event_index``, ``param_name``, ``save_history`` and what the class depends on. A state of Ignite fits.
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
        """The value for the current ``event_index``; computing it changes nothing."""

    @classmethod
    @abstractmethod
    def simulate_values(cls, num_events: int, **scheduler_kwargs: Any) -> list[list[Any]]:
        """The values of the first ``num_events`` events: ``[[event index, value], ...]``."""

    @classmethod
    def plot_values(cls, num_events: int, **scheduler_kwargs: Any) -> Any:
        """Draws :meth:`simulate_values` into the current axes of matplotlib, a line for each column.

        Args:
            num_events: how many events.
            **scheduler_kwargs: for :meth:`simulate_values`.

        Returns:
            The axes. The figure is pyplot's: show it or close it.

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
        """What the next value depends on, and what it was configured with."""
        return OrderedDict((name, _state_of(getattr(self, name))) for name in self._state_attrs)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state that was saved.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: a key is missing, or the state is that of another parameter. Nothing is changed.
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
        checks.count("event_index in state_dict", state_dict["event_index"])
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
        """Appends a value to the history, if there is an engine and a history is wanted."""
        if not self.save_history or engine is None:
            return
        state: Any = engine.state
        if not hasattr(state, "param_history"):
            state.param_history = {}
        state.param_history.setdefault(name, []).append(value)


def check_keys(state_dict: Any, names: list[str]) -> None:
    """Checks that a state is a mapping that has all keys.

    Raises:
        TypeError: it is no mapping.
        ValueError: a key is missing.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"Argument state_dict should be a dictionary, but given {type(state_dict)}")
    for name in names:
        if name not in state_dict:
            raise ValueError(
                f"Required state attribute '{name}' is absent in provided state_dict with the keys {list(state_dict)}"
            )


def _state_of(value: Any) -> Any:
    if hasattr(value, "state_dict"):
        return value.state_dict()
    return list(value) if isinstance(value, list) else value
