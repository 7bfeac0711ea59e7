"""Exceptions in a run: given to the handlers of EXCEPTION_RAISED, which may take them over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ignite.engine._dispatch import add_note
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite.engine.engine import Engine


def is_taken_over(engine: Engine[Any, Any], error: BaseException) -> bool:
    """Gives an exception to the handlers of EXCEPTION_RAISED; True if there are some and none of them raised."""
    state = engine.state
    text = f"{type(error).__name__}: {error}"  # not the exception: a log record would keep all its frames alive
    add_note(error, f"in epoch {state.epoch}, iteration {state.iteration} of {type(engine).__name__}")
    engine.logger.error("Current run is terminating due to exception: %s", text)
    if not engine._tables["EXCEPTION_RAISED"].calls:
        return False
    try:
        engine._fire_event(Events.EXCEPTION_RAISED, error)
    except BaseException as raised:
        if raised is error:
            return False
        engine._cursor.is_failed = True
        raise
    engine.logger.warning("A handler of EXCEPTION_RAISED has taken the exception over: %s", text)
    return True
