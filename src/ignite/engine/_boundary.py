"""Requests from outside a run, such as signals: obeyed between two iterations, where a run can be saved and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ignite.engine import _running
from ignite.engine._cursor import BETWEEN_BATCHES, BETWEEN_EPOCHS
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite._core.seeding import RandomState
    from ignite.base import BoundaryRequest
    from ignite.engine.engine import Engine

# Where engines within a handler may be cut off: the handlers that are left can be called after a resume.
_CAN_BE_FINISHED = (Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED)
_IS_FIRED_AGAIN = (Events.STARTED, Events.EPOCH_STARTED)


class Unfinished(NamedTuple):
    """An event of which not all handlers have been called."""

    event: str
    num_done: int
    """Handlers that have been called to their end."""


class Preempted(BaseException):
    """Leaves engines that run within a handler, so that the engine around them can be saved and stopped.

    No ``Exception``: it passes through what catches those. Handlers that put something in place for an evaluation, such
    as other weights, should put it back in a ``finally``.
    """

    def __init__(self, request: BoundaryRequest) -> None:
        super().__init__("the run was asked to stop")
        self.request = request
        self.random = getattr(_running.within(request.trainer)[1], "_random_at_start", None)
        self.unfinished: Unfinished | None = None
        """Where in the handlers of the trainer this happened; filled in by dispatch."""


def obey(engine: Engine[Any, Any], moment: int) -> bool:
    """Does what was asked for, if this is a boundary; returns whether the run stops here.

    Raises:
        Preempted: this engine runs within a handler of the one that is asked.
    """
    request = engine._request
    if request is None or moment not in (BETWEEN_BATCHES, BETWEEN_EPOCHS) or engine.last_event_name in _IS_FIRED_AGAIN:
        return False
    if engine is not request.trainer:
        if request.cuts and request.trainer.last_event_name in _CAN_BE_FINISHED:
            raise Preempted(request)
        return False
    engine._request = None
    engine._cursor.moment = moment
    return _stops(engine, request, None, None)


def obey_instead(engine: Engine[Any, Any]) -> bool:
    """Does what was asked for if the next batch could not be had: a signal often ends workers of a loader, too.

    The iteration before is done, so nothing is lost.
    """
    state = engine.state
    if engine._request is None or state.dataloader is None or not engine._cursor.position_is_lost:
        return False
    if not obey(engine, BETWEEN_BATCHES):
        return False
    engine._cursor.position_is_lost = False
    engine.logger.warning("The data has failed after the run was asked to stop; it is saved after the last iteration")
    return True


def obey_within_event(engine: Engine[Any, Any], cut: Preempted) -> None:
    """Saves and stops a run of which an event is unfinished."""
    engine._request = None
    engine._cursor.unfinished = cut.unfinished
    _stops(engine, cut.request, cut.unfinished, cut.random)


def _stops(
    engine: Engine[Any, Any], request: BoundaryRequest, unfinished: Unfinished | None, random: RandomState | None
) -> bool:
    if not request.obey(engine, unfinished, random):
        return False
    engine._fire_event(Events.TERMINATE)
    engine._cursor.is_paused = not engine._cursor.is_loaded  # by a handler of TERMINATE
    return True
