"""Periodic events of Ignite 0.2 to 0.4, which event filters have replaced."""

from __future__ import annotations

import numbers
from typing import Any

from ignite.engine import Engine, EventEnum, Events

__all__ = ["CustomPeriodicEvent"]


class CustomPeriodicEvent:
    """Adds events for the start and the end of every ``n`` iterations or epochs to an engine.

    New programs use ``Events.ITERATION_COMPLETED(every=1000)`` instead.

    Args:
        n_iterations: number of iterations per period. Pass either this or ``n_epochs``.
        n_epochs: number of epochs per period.

    Attributes:
        Events: ``ITERATIONS_1000_STARTED`` and ``ITERATIONS_1000_COMPLETED``, or
            ``EPOCHS_10_STARTED`` and ``EPOCHS_10_COMPLETED``. ``engine.state.iterations_1000``, or
            ``epochs_10``, is the number of the period.

    Raises:
        TypeError: the number is not an integer.
        ValueError: the number is not positive, or both or neither are given.

    Example:
        >>> trainer = Engine(lambda engine, batch: None)
        >>> periodic = CustomPeriodicEvent(n_iterations=2)
        >>> periodic.attach(trainer)
        >>> _ = trainer.add_event_handler(
        ...     periodic.Events.ITERATIONS_2_COMPLETED,
        ...     lambda engine: print(engine.state.iterations_2, engine.state.iteration),
        ... )
        >>> _ = trainer.run([0] * 5)
        1 2
        2 4
    """

    def __init__(self, n_iterations: int | None = None, n_epochs: int | None = None) -> None:
        if (n_iterations is None) == (n_epochs is None):
            raise ValueError("Either n_iterations or n_epochs should be given, but not both")
        name = "n_epochs" if n_iterations is None else "n_iterations"
        count: Any = n_epochs if n_iterations is None else n_iterations
        if not isinstance(count, numbers.Integral) or isinstance(count, bool):
            raise TypeError(f"Argument {name} should be an integer, but given {count!r}")
        if count < 1:
            raise ValueError(f"Argument {name} should be positive, but given {count}")
        self._every = int(count)
        self._begins = Events.EPOCH_STARTED if n_iterations is None else Events.ITERATION_STARTED
        self._ends = Events.EPOCH_COMPLETED if n_iterations is None else Events.ITERATION_COMPLETED
        self._attribute = f"{name.removeprefix('n_')}_{count}"
        self.Events = _make_events(f"{self._attribute}_started", f"{self._attribute}_completed")

    def attach(self, engine: Engine[Any, Any]) -> None:
        """Registers the two events with ``engine``, which then fires them in each period."""
        started, completed = self.Events
        engine.register_events(
            started, completed, event_to_attr=dict.fromkeys(self.Events, self._attribute)
        )
        engine.add_event_handler(self._begins(event_filter=self._is_first), self._start, started)
        engine.add_event_handler(self._ends(every=self._every), _fire, completed)

    def _is_first(self, _: Engine[Any, Any], count: int) -> bool:
        return (count - 1) % self._every == 0

    def _start(self, engine: Engine[Any, Any], event: Any) -> None:
        count = engine.state.get_event_attrib_value(self._begins)
        setattr(engine.state, self._attribute, (count - 1) // self._every + 1)
        engine.fire_event(event)


def _fire(engine: Engine[Any, Any], event: Any) -> None:
    engine.fire_event(event)


def _make_events(*names: str) -> Any:
    make: Any = EventEnum
    return make("Events", {name.upper(): name for name in names})
