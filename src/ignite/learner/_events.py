"""Plain functions as callbacks, by the names of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ignite.engine import BackpropEvents, Engine, Events
from ignite.learner._by_name import find

__all__ = ["add_callbacks", "check_callbacks"]

_OF_VALIDATION = {
    "validation_started": Events.STARTED,
    "validation_completed": Events.COMPLETED,
}
_OF_TRAINING = {event.name.lower(): event for event in (*Events, *BackpropEvents)}


def check_callbacks(callbacks: Any, has_validation: bool) -> None:
    """Raises an error unless these are functions by event.

    Raises:
        TypeError: they are no mapping, or something is no function.
        ValueError: there is no such event, or no validation.
    """
    if not isinstance(callbacks, Mapping):
        raise TypeError(
            "callbacks should be a dictionary of functions by event, such as {'epoch_completed': "
            f"function}}, but given {callbacks!r}"
        )
    for event, functions in callbacks.items():
        if isinstance(event, str):
            find("event", event, {**_OF_TRAINING, **_OF_VALIDATION})
            if event in _OF_VALIDATION and not has_validation:
                raise ValueError(
                    f"callbacks with {event!r} need data to validate on, but given none: pass valid"
                )
        for function in _listed(functions):
            if isinstance(function, type) or not callable(function):
                raise TypeError(
                    f"callbacks[{event!r}] should be a function or a list of them, but given "
                    f"{function!r}"
                )


def _listed(functions: Any) -> Sequence[Any]:
    return functions if isinstance(functions, list | tuple) else [functions]


def add_callbacks(
    trainer: Engine[Any, Any], evaluator: Engine[Any, Any] | None, callbacks: Mapping[Any, Any]
) -> None:
    """Adds functions to the events; the results of an epoch or validation are known by then."""
    for engine, event, function in _resolved(trainer, evaluator, callbacks):
        engine.add_event_handler(event, function)


def _resolved(
    trainer: Engine[Any, Any], evaluator: Engine[Any, Any] | None, callbacks: Mapping[Any, Any]
) -> Iterator[tuple[Engine[Any, Any], Any, Callable[..., Any]]]:
    for event, functions in callbacks.items():
        engine, found = trainer, event
        if isinstance(event, str):
            found = find("event", event, {**_OF_TRAINING, **_OF_VALIDATION})
            if event in _OF_VALIDATION and evaluator is not None:
                engine = evaluator
        for function in _listed(functions):
            yield engine, found, function
