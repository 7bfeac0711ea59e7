"""Types for custom handlers, metrics and profilers: what the extension surface of an engine hands over.

Engines offer to those who extend them:

=========================================  =====================================================
``add_run_context``, ``run_contexts``      a context manager around each run
``handlers_of``, ``registered_events``     the handlers of an event, and the events
``is_running``, ``iteration_in_epoch``     where the run is
``is_epoch_length_given``                  whether epochs are as long as the data
``step_function``                          the function that is called for each batch
``state_kept``                             restores the state and the position in the data
``measured``                               something around the step, the data and the handlers
``request_at_boundary``                    a request from outside, obeyed between two iterations
``control``                                named actions, such as pausing, for a run that goes on
``run_saver``, ``will_resume``             what saves the run, and whether it is resumed later
``is_preemptible``, ``last_run_ended_at``  engines that run within handlers of another engine
=========================================  =====================================================

What objects may offer to an engine is defined in :mod:`ignite.base.protocols`. The library's own
handlers and metrics use nothing else.
"""

from typing import Any, cast

from ignite.engine import _controls
from ignite.engine._emitter import Unfinished
from ignite.engine._handlers import Added, Registration
from ignite.engine._supervised.training_step import TrainingStep
from ignite.engine._trace import Meter, Step
from ignite.engine.control import Command, Control, Done
from ignite.engine.engine import Engine

__all__ = [
    "Added",
    "Command",
    "Control",
    "Done",
    "Meter",
    "Registration",
    "Step",
    "TrainingStep",
    "Unfinished",
    "outermost_engine",
]


def outermost_engine() -> Engine[Any, Any] | None:
    """Returns the running engine in whose handlers all other engines of this thread run; None if none runs.

    Example:
        >>> from ignite.engine import Engine
        >>> seen = []
        >>> inner = Engine(lambda engine, batch: seen.append(outermost_engine()))
        >>> outer = Engine(lambda engine, batch: inner.run([0]))
        >>> _ = outer.run([0])
        >>> seen == [outer], outermost_engine() is None
        (True, True)
    """
    return cast("Engine[Any, Any] | None", _controls.outermost_engine())
