"""Steps that are counted by another engine than the one that a handler is attached to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ignite._core.calls import nearest
from ignite.engine import Engine

__all__ = ["global_step_from_engine"]


def global_step_from_engine(
    engine: Engine[Any, Any], custom_event_name: Any = None, fallback_attr: str = "epoch"
) -> Callable[[Any, Any], int]:
    """Makes a ``global_step_transform`` that tells how far ``engine`` is, whoever asks.

    Given to what is attached to an evaluator, it lets scores count by the trainer's epochs.

    Args:
        engine: usually the trainer.
        custom_event_name: the event whose count to take, instead of the one at which the handler is called.
        fallback_attr: the attribute of ``engine.state`` for events that no attribute counts.

    Raises:
        ValueError: when it is asked, the engine has no event ``custom_event_name``.

    Returns:
        ``f(ignored, event_name)``, the number of the epoch or the iteration that ``event_name`` belongs to.

    Example:
        >>> from ignite.engine import Events
        >>> trainer = Engine(lambda engine, batch: None)
        >>> _ = trainer.run([0, 0, 0], max_epochs=2)
        >>> transform = global_step_from_engine(trainer)
        >>> transform(None, Events.COMPLETED), transform(None, Events.ITERATION_COMPLETED)
        (2, 6)
    """

    def transform(_: Any, event_name: Any) -> int:
        if custom_event_name is not None and not engine.has_registered_events(custom_event_name):
            names = [str(getattr(event, "name", event)) for event in engine.registered_events]
            raise ValueError(
                f"custom_event_name should be an event of the engine, but given {custom_event_name!r}"
                f"{nearest(str(custom_event_name), names)}"
            )
        event = event_name if custom_event_name is None else custom_event_name
        name = event if isinstance(event, str) else getattr(event, "_name_", None)
        attribute = None if name is None else engine.state.get_event_attrib_name(name)
        step: int = getattr(engine.state, attribute or fallback_attr)
        return step

    return transform
