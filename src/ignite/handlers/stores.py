"""Keeps the outputs of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

__all__ = ["EpochOutputStore"]


class EpochOutputStore:
    """Collects the outputs of an epoch in a list.

    They are kept as they are, with all that they hold: pick and detach what is needed with ``output_transform``.

    Args:
        output_transform: turns ``engine.state.output`` into what is kept.

    Attributes:
        data: what has been collected in this epoch.

    Example:
        >>> evaluator = Engine(lambda engine, batch: batch * 10)
        >>> EpochOutputStore(output_transform=lambda y: y + 1).attach(evaluator, "outputs")
        >>> evaluator.run([1, 2]).outputs
        [11, 21]
    """

    def __init__(self, output_transform: Callable[[Any], Any] = lambda output: output) -> None:
        self.output_transform = output_transform
        self.data: list[Any] = []
        self.name: str | None = None

    def reset(self) -> None:
        """Begins a new list; the one before stays with whoever has it."""
        self.data = []

    def update(self, engine: Engine[Any, Any]) -> None:
        """Adds the output of the iteration at hand."""
        self.data.append(self.output_transform(engine.state.output))

    def store(self, engine: Engine[Any, Any]) -> None:
        """Puts the list into ``engine.state``, if there is a name for it."""
        if self.name is not None:
            setattr(engine.state, self.name, self.data)

    def attach(self, engine: Engine[Any, Any], name: str | None = None) -> None:
        """Collects from ``engine``, anew in each epoch.

        Args:
            engine: any engine.
            name: at the end of an epoch, ``engine.state.<name>`` is the list.
        """
        self.name = name
        engine.add_event_handler(Events.EPOCH_STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        if name is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.store)
