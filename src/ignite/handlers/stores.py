"""Stores the outputs of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

__all__ = ["EpochOutputStore"]


class EpochOutputStore:
    """Collects the outputs of an epoch in a list.

    Outputs are stored unchanged, including their autograd graphs. Use ``output_transform`` to
    select and detach what is needed.

    Args:
        output_transform: converts ``engine.state.output`` to the stored value.

    Attributes:
        data: values of this epoch.

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
        """Starts a new list; the previous one is not modified."""
        self.data = []

    def update(self, engine: Engine[Any, Any]) -> None:
        """Appends the output of the current iteration."""
        self.data.append(self.output_transform(engine.state.output))

    def store(self, engine: Engine[Any, Any]) -> None:
        """Sets the list as an attribute of ``engine.state``, if it has a name."""
        if self.name is not None:
            setattr(engine.state, self.name, self.data)

    def attach(self, engine: Engine[Any, Any], name: str | None = None) -> None:
        """Collects the outputs of each epoch of ``engine``.

        Args:
            engine: any engine.
            name: attribute of ``engine.state`` that is set to the list at the end of an epoch.
        """
        self.name = name
        engine.add_event_handler(Events.EPOCH_STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        if name is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.store)
