"""Schedulers of attributes of ``engine.state``, such as loss weights or temperatures."""

import warnings
import weakref
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers._schedules.interpolation import piecewise_linear, segment_at
from ignite.handlers._schedules.scheduler import (
    BaseParamScheduler,
    check_count,
    check_increasing,
    check_kept_number,
    check_milestones_and_values,
)

__all__ = [
    "ExpStateScheduler",
    "LambdaStateScheduler",
    "MultiStepStateScheduler",
    "PiecewiseLinearStateScheduler",
    "StateParamScheduler",
    "StepStateScheduler",
]


class StateParamScheduler(BaseParamScheduler):
    """Base of the schedulers of this module: schedules an attribute of ``engine.state``.

    Each event increments ``event_index``, then sets the value for it: the first event uses index 1.
    Subclasses implement :meth:`get_param`.

    Args:
        param_name: the attribute of ``engine.state``.
        save_history: whether to append each value to ``engine.state.param_history[param_name]``.
        create_new: whether the attribute must be new. If not, a missing attribute is created with a
            warning.

    State:
        The number of events. The value is recomputed when a state is loaded into an attached
        scheduler, or a loaded scheduler is attached, so that the first iteration uses it, too.
    """

    def __init__(
        self, param_name: str, save_history: bool = False, create_new: bool = False
    ) -> None:
        super().__init__(param_name, save_history)
        self.create_new = create_new
        # Weak, because the engine keeps this handler.
        self._engine: weakref.ReferenceType[Engine[Any, Any]] | None = None

    def attach(self, engine: Engine[Any, Any], event: Any = Events.ITERATION_COMPLETED) -> None:
        """Sets the attribute at each ``event``; a new attribute is None until the first event.

        Raises:
            ValueError: the attribute should be new, but exists.
        """
        name, state = self.param_name, engine.state
        is_there = hasattr(state, name)
        if is_there and self.create_new:
            raise ValueError(
                f"Attribute '{name}' already exists in the engine.state. Set create_new=False to "
                "schedule it, or use another name"
            )
        if not is_there and not self.create_new:
            warnings.warn(
                f"Attribute '{name}' is not defined in the engine.state. {type(self).__name__} "
                "will create it. Set create_new=True to remove this warning",
                stacklevel=2,
            )
        engine.add_event_handler(event, self)
        if not is_there:
            setattr(state, name, None)
        self._engine = weakref.ref(engine)
        self._write_current()

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Increments ``event_index`` and sets the value."""
        self.event_index += 1
        try:
            value = self.get_param()
        except BaseException:
            self.event_index -= 1
            raise
        setattr(engine.state, self.param_name, value)
        self._record(engine, self.param_name, value)

    @classmethod
    def simulate_values(cls, num_events: int, **scheduler_kwargs: Any) -> list[list[Any]]:
        """Returns the values of the first ``num_events`` events: ``[[0, value], [1, value], ...]``.

        Args:
            num_events: the number of events.
            **scheduler_kwargs: arguments of the class.

        Example:
            >>> ExpStateScheduler.simulate_values(
            ...     3, initial_value=1.0, gamma=0.5, param_name="weight"
            ... )
            [[0, 0.5], [1, 0.25], [2, 0.125]]
        """
        scheduler = cls(**{**scheduler_kwargs, "save_history": False})
        rows = []
        for index in range(num_events):
            scheduler.event_index += 1
            rows.append([index, scheduler.get_param()])
        return rows

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state; sets its value, if attached."""
        super().load_state_dict(state_dict)
        self._write_current()

    def _write_current(self) -> None:
        engine = None if self._engine is None else self._engine()
        if engine is not None and self.event_index > 0:
            setattr(engine.state, self.param_name, self.get_param())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_engine": None}


class LambdaStateScheduler(StateParamScheduler):
    """Computes a value with a function of the number of events.

    Args:
        lambda_obj: ``f(n)``, returns the value after ``n`` events, n = 1, 2, ...
        param_name: see :class:`StateParamScheduler`, also for ``save_history`` and ``create_new``.

    Raises:
        ValueError: ``lambda_obj`` is not callable.

    State:
        Includes the state of ``lambda_obj`` if it has ``state_dict`` and ``load_state_dict``.
        Functions are not saved: loading them would run code.

    Example:
        >>> trainer = Engine(lambda engine, batch: None)
        >>> LambdaStateScheduler(lambda n: 10 / n, "temperature", create_new=True).attach(trainer)
        >>> trainer.run([0] * 4).temperature
        2.5
    """

    def __init__(
        self,
        lambda_obj: Callable[[int], list[float] | float],
        param_name: str,
        save_history: bool = False,
        create_new: bool = False,
    ) -> None:
        super().__init__(param_name, save_history, create_new)
        if not callable(lambda_obj):
            raise ValueError(f"Expected lambda_obj to be callable, but given {lambda_obj!r}")
        self.lambda_obj = lambda_obj
        if hasattr(lambda_obj, "state_dict") and hasattr(lambda_obj, "load_state_dict"):
            self._state_attrs += ["lambda_obj"]

    def get_param(self) -> Any:
        """Returns ``lambda_obj(event_index)``."""
        return self.lambda_obj(self.event_index)


class PiecewiseLinearStateScheduler(StateParamScheduler):
    """Interpolates linearly between milestones; constant before the first and after the last.

    Args:
        milestones_values: ``[(event index, value), ...]``, with non-decreasing indices.
        param_name: see :class:`StateParamScheduler`, also for ``save_history`` and ``create_new``.

    Raises:
        TypeError: ``milestones_values`` is not a list of pairs of an integer and a number.
        ValueError: it is empty, or the milestones decrease.

    Example:
        >>> trainer = Engine(lambda engine, batch: None)
        >>> points = [(2, 0.0), (6, 1.0)]
        >>> PiecewiseLinearStateScheduler(points, "weight", create_new=True).attach(trainer)
        >>> trainer.run([0] * 3).weight
        0.25
    """

    def __init__(
        self,
        milestones_values: list[tuple[int, float]],
        param_name: str,
        save_history: bool = False,
        create_new: bool = False,
    ) -> None:
        super().__init__(param_name, save_history, create_new)
        self.milestones, _ = check_milestones_and_values(milestones_values)
        self.values = [
            check_kept_number("Value of a milestone", value) for _, value in milestones_values
        ]
        self._state_attrs += ["values", "milestones"]

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, with the index of the current segment, which Ignite requires."""
        return {**super().state_dict(), "_index": segment_at(self.milestones, self.event_index)}

    def get_param(self) -> Any:
        """Returns the interpolated value."""
        value = piecewise_linear(self.milestones, self.values, self.event_index)
        # Values between integers are floats, and so are all others: the type does not change.
        return float(value) if isinstance(value, int) else value


class ExpStateScheduler(StateParamScheduler):
    """Multiplies a value by ``gamma`` at each event: ``initial_value * gamma ** n`` after n events.

    Args:
        initial_value: the value before the first event; never set itself.
        gamma: the factor.
        param_name: see :class:`StateParamScheduler`, also for ``save_history`` and ``create_new``.

    Raises:
        TypeError: ``initial_value`` or ``gamma`` is not a number.
        ValueError: one of them is not finite.

    Example:
        >>> trainer = Engine(lambda engine, batch: None)
        >>> ExpStateScheduler(8.0, 0.5, "weight", create_new=True).attach(trainer)
        >>> trainer.run([0] * 3).weight
        1.0
    """

    def __init__(
        self,
        initial_value: float,
        gamma: float,
        param_name: str,
        save_history: bool = False,
        create_new: bool = False,
    ) -> None:
        super().__init__(param_name, save_history, create_new)
        self.initial_value: Any = check_kept_number("Argument initial_value", initial_value)
        self.gamma: Any = check_kept_number("Argument gamma", gamma)
        self._state_attrs += ["initial_value", "gamma"]

    def get_param(self) -> Any:
        """Returns ``initial_value * gamma ** event_index``."""
        return self.initial_value * self.gamma**self.event_index


class StepStateScheduler(StateParamScheduler):
    """Multiplies a value by ``gamma`` at every ``step_size``-th event.

    Args:
        initial_value: the value before the first multiplication.
        gamma: the factor.
        step_size: number of events between two multiplications, at least 1.
        param_name: see :class:`StateParamScheduler`, also for ``save_history`` and ``create_new``.

    Raises:
        TypeError: ``initial_value`` or ``gamma`` is not a number, or ``step_size`` not an integer.
        ValueError: one of them is out of range.

    Example:
        >>> StepStateScheduler.simulate_values(
        ...     4, initial_value=1.0, gamma=0.5, step_size=2, param_name="weight"
        ... )
        [[0, 1.0], [1, 0.5], [2, 0.5], [3, 0.25]]
    """

    def __init__(
        self,
        initial_value: float,
        gamma: float,
        step_size: int,
        param_name: str,
        save_history: bool = False,
        create_new: bool = False,
    ) -> None:
        super().__init__(param_name, save_history, create_new)
        self.initial_value: Any = check_kept_number("Argument initial_value", initial_value)
        self.gamma: Any = check_kept_number("Argument gamma", gamma)
        self.step_size = check_count("Argument step_size", step_size, least=1)
        self._state_attrs += ["initial_value", "gamma", "step_size"]

    def get_param(self) -> Any:
        """Returns ``initial_value * gamma ** (event_index // step_size)``."""
        return self.initial_value * self.gamma ** (self.event_index // self.step_size)


class MultiStepStateScheduler(StateParamScheduler):
    """Multiplies a value by ``gamma`` at each milestone.

    Args:
        initial_value: the value before the first milestone.
        gamma: the factor.
        milestones: non-decreasing event indices; an index that occurs twice multiplies twice.
        param_name: see :class:`StateParamScheduler`, also for ``save_history`` and ``create_new``.

    Raises:
        TypeError: ``initial_value`` or ``gamma`` is not a number, or ``milestones`` not a list of
            integers.
        ValueError: the milestones decrease, or a number is not finite.

    Example:
        >>> MultiStepStateScheduler.simulate_values(
        ...     4, initial_value=1.0, gamma=0.5, milestones=[2, 4], param_name="weight"
        ... )
        [[0, 1.0], [1, 0.5], [2, 0.5], [3, 0.25]]
    """

    def __init__(
        self,
        initial_value: float,
        gamma: float,
        milestones: list[int],
        param_name: str,
        save_history: bool = False,
        create_new: bool = False,
    ) -> None:
        super().__init__(param_name, save_history, create_new)
        self.initial_value: Any = check_kept_number("Argument initial_value", initial_value)
        self.gamma: Any = check_kept_number("Argument gamma", gamma)
        if not isinstance(milestones, list | tuple):
            raise TypeError(
                f"Argument milestones should be a list or tuple, but given {type(milestones)}"
            )
        self.milestones = check_increasing(milestones)
        self._state_attrs += ["initial_value", "gamma", "milestones"]

    def get_param(self) -> Any:
        """Returns ``initial_value * gamma ** (number of milestones passed)``."""
        return self.initial_value * self.gamma ** bisect_right(self.milestones, self.event_index)
