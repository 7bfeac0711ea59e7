"""Global steps counted by another engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ignite._core.calls import nearest
from ignite.engine import Engine

__all__ = ["global_step_from_engine"]


def global_step_from_engine(
    engine: Engine[Any, Any], custom_event_name: Any = None, fallback_attr: str = "epoch"
) -> Callable[[Any, Any], int]:
    """Returns a ``global_step_transform`` that reads the counter of ``engine``.

    Used for handlers attached to an evaluator, whose values then have the epoch of the trainer as
    the step.

    Args:
        engine: usually the trainer.
        custom_event_name: the event whose counter to use, instead of the event of the handler.
        fallback_attr: the attribute of ``engine.state`` for events without a counter.

    Raises:
        ValueError: when called, the engine has no event ``custom_event_name``.

    Returns:
        ``f(ignored, event_name)``, the number of the epoch or the iteration that ``event_name``
        belongs to.

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
                "custom_event_name should be an event of the engine, "
                f"but given {custom_event_name!r}{nearest(str(custom_event_name), names)}"
            )
        event = event_name if custom_event_name is None else custom_event_name
        name = event if isinstance(event, str) else getattr(event, "_name_", None)
        attribute = None if name is None else engine.state.get_event_attrib_name(name)
        step: int = getattr(engine.state, attribute or fallback_attr)
        return step

    return transform
