"""What an engine knows about its run: counters, the current batch and output, metrics, and what users add."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ignite.engine.events import CallableEventWithFilter

__all__ = ["State"]


def key_of(event: Any) -> str:
    """The name that an event is known by: of a member of a plain enum, or a number, one that no other event has."""
    if isinstance(event, str):
        return event
    if hasattr(event, "filter"):
        name: str = event._name_
        return name
    if isinstance(event, Enum):
        return f"{type(event).__module__}.{type(event).__qualname__}.{event._name_}"
    return f"number {event}"


class State:
    """The counters, data and results of an engine, open to what users put on it.

    Attributes:
        iteration: iterations begun in this run, over all epochs; 0 before the first.
        epoch: epochs begun in this run; 0 before the first.
        epoch_length: iterations in an epoch; None while that is unknown.
        max_epochs: the epoch after which the run ends, or None.
        max_iters: the iteration after which the run ends, or None.
        output: what the process function returned last.
        batch: what the process function was given last.
        metrics: the values that metrics have computed, by name.
        dataloader: the data given to ``run``.
        seed: for engines that are seeded.
        times: seconds that the last epoch ("EPOCH_COMPLETED") and run ("COMPLETED") took; None before.

    Args:
        **kwargs: values for these attributes, or further ones.

    Example:
        >>> state = State(alpha=0.5)
        >>> state.iteration, state.alpha
        (0, 0.5)
    """

    event_to_attr: ClassVar[dict[Any, str]] = {}
    """Which attribute counts an event; filled in by ``ignite.engine.events``."""

    def __init__(self, **kwargs: Any) -> None:
        self.iteration = 0
        self.epoch = 0
        self.epoch_length: int | None = None
        self.max_epochs: int | None = None
        self.max_iters: int | None = None
        self.output: Any = None
        self.batch: Any = None
        self.metrics: dict[str, Any] = {}
        self.dataloader: Iterable[Any] | None = None
        self.seed: int | None = None
        self.times: dict[str, float | None] = {"EPOCH_COMPLETED": None, "COMPLETED": None}
        # What only this engine's events are counted by: class-level entries would reach every engine of the program.
        self._own_event_to_attr: dict[str, str] = {}
        self._event_counts: dict[str, int] = {}
        for name, value in kwargs.items():
            setattr(self, name, value)
        for attribute in self.event_to_attr.values():
            if not hasattr(self, attribute):
                setattr(self, attribute, 0)

    def get_event_attrib_value(self, event_name: str | Enum | CallableEventWithFilter) -> int:
        """The count that belongs to an event: an epoch, an iteration, or how often it has been fired in this run.

        Raises:
            RuntimeError: no engine with this state has fired the event, and no attribute counts it.
        """
        name = key_of(event_name)
        attribute = self._attribute_of(name)
        if attribute is not None:
            return int(getattr(self, attribute))
        if name in self._event_counts:
            return self._event_counts[name]
        raise RuntimeError(f"Unknown event name '{event_name}': it has not been fired and no attribute counts it")

    def _count_firing(self, name: str) -> int:
        """The count of an event that is being fired: of its attribute, or one more than before."""
        attribute = self._attribute_of(name)
        if attribute is not None:
            count: int = getattr(self, attribute)
            return count
        count = self._event_counts[name] = self._event_counts.get(name, 0) + 1
        return count

    def _attribute_of(self, name: str) -> str | None:
        return self._own_event_to_attr.get(name) or self.event_to_attr.get(name)

    def __repr__(self) -> str:
        lines = ["State:"]
        for name, value in vars(self).items():
            if not name.startswith("_"):
                lines.append(f"\t{name}: {value if isinstance(value, int | float | str) else type(value)}")
        return "\n".join(lines) + "\n"
