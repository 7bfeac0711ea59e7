"""The loop: the order in which events are fired, batches fetched and the step called.

No other module knows it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ignite._core import clock
from ignite.engine import _fetch, together
from ignite.engine._controls import Controls, within
from ignite.engine._cursor import (
    BATCH_FETCHED,
    BATCH_READY,
    BATCH_REQUESTED,
    BEFORE_RUN,
    BETWEEN_BATCHES,
    BETWEEN_EPOCHS,
    DATA_ENDED,
    ITERATION_BEGUN,
    STEP_DONE,
    Verdict,
    is_last_in_epoch,
)
from ignite.engine._emitter import Preempted, add_note, call_handlers, owed_calls
from ignite.engine._filters import FOR_EVER
from ignite.engine._handlers import Call, Payload, Table, quiet_up_to
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite._core.rng import RandomState
    from ignite.base import BoundaryRequest
    from ignite.engine._emitter import Unfinished

# A lookup of an enum member takes as long as a call of a handler.
_GET_BATCH_STARTED = Events.GET_BATCH_STARTED
_GET_BATCH_COMPLETED = Events.GET_BATCH_COMPLETED
_ITERATION_STARTED = Events.ITERATION_STARTED
_ITERATION_COMPLETED = Events.ITERATION_COMPLETED
_STOP_ITERATION = Events.DATALOADER_STOP_ITERATION
_BEFORE_ITERATION = (_GET_BATCH_STARTED, _STOP_ITERATION, _GET_BATCH_COMPLETED)
# Events at which engines within a handler may be left: a resumed run calls the remaining handlers.
_CAN_BE_CONTINUED = (Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED)
_FIRED_AGAIN = (Events.STARTED, Events.EPOCH_STARTED)


def run(engine: Controls) -> None:
    """Runs ``engine`` to the end, or from where it was interrupted, or up to the next interruption."""
    cursor = engine._cursor
    try:
        verdict = _run_epochs(engine)
        if verdict is not Verdict.INTERRUPT:
            _finish(engine, verdict)
    except Preempted as cut:
        if cut.request.trainer is not engine:
            cursor.is_failed = True
            raise
        _stop_within_event(engine, cut)
    except BaseException as error:
        if cursor.is_failed:  # its handlers have been called
            raise
        _note_moment_of_failure(engine)
        if not is_handled(engine, error):
            cursor.is_failed = True
            raise
        is_over = engine._should_terminate or (
            cursor.is_done(engine.state) and not cursor.is_inside_epoch
        )
        cursor.is_failed = not is_over


def _run_epochs(engine: Controls) -> Verdict:
    state, cursor = engine.state, engine._cursor
    verdict: Verdict | None = None
    if cursor.moment == BEFORE_RUN:
        cursor.begin_run(state)
        verdict = _fire(engine, Events.STARTED, BETWEEN_EPOCHS)
        if verdict is None and engine._resumption is not None:
            engine._settle(is_inside_epoch=False)
    while True:
        if verdict is Verdict.MOVED:
            _go_where_loaded(engine)
        elif verdict:
            return verdict
        if cursor.moment == BETWEEN_EPOCHS and (verdict := _begin_epoch(engine)):
            continue
        # A state saved after the last batch of an epoch, and before its end, resumes with an epoch
        # that needs no data.
        if engine._dataloader_iter is None and not is_last_in_epoch(state, cursor.epoch_start):
            _init_iter(engine)
            cursor.end_is_due = False
        if engine._resumption is not None:
            engine._settle_random()
        verdict = _run_batches(engine)
        if verdict in (Verdict.EPOCH_ENDED, Verdict.END_EPOCH):
            verdict = _end_epoch(engine, verdict)


def _begin_epoch(engine: Controls) -> Verdict | None:
    """Begins the next epoch, or continues one after a failure, unless the run is done."""
    state, cursor = engine.state, engine._cursor
    if not cursor.carried and (verdict := _finish_event(engine, BETWEEN_EPOCHS)):
        return verdict
    if cursor.is_done(state) and not cursor.carried:
        return Verdict.RUN_ENDED
    cursor.check(state, state.dataloader is not None)
    is_first = engine._dataloader_iter is None
    if cursor.begin_epoch(state, is_first):
        engine._epoch_watch.resume()
        return None
    engine._epoch_watch.restart()
    if verdict := _fire(engine, Events.EPOCH_STARTED, BETWEEN_BATCHES):
        return verdict
    cursor.open_epoch(state, is_first)
    if engine._resumption is not None:
        engine._settle(is_inside_epoch=True)
    return None


def _go_where_loaded(engine: Controls) -> None:
    """Continues from a state that a handler has loaded, as if it had been loaded before the run."""
    cursor = engine._cursor
    cursor.is_moved = cursor.is_loaded = False
    cursor.moment = BETWEEN_EPOCHS
    engine._dataloader_iter = None
    engine._skip_requested = engine.should_terminate_single_epoch = (
        False  # they concern the epoch that is given up
    )


def _run_batches(engine: Controls) -> Verdict:
    """Runs the rest of the epoch.

    A handled exception ends the epoch; with ``skip_iteration``, only the iteration.
    """
    cursor = engine._cursor
    while True:
        try:
            return _finish_event(engine, BETWEEN_BATCHES) or _iterate(engine)
        except Exception as error:
            if _stop_after_failure(engine):
                return Verdict.INTERRUPT
            has_begun = (
                engine.last_event_name not in _BEFORE_ITERATION and not cursor.position_is_lost
            )
            _note_moment_of_failure(engine)
            if not is_handled(engine, error):
                cursor.is_failed = True
                raise
            cursor.position_is_lost = False
            if cursor.is_moved and not engine._should_terminate:
                return Verdict.MOVED
            if not engine._skip_requested:
                engine._dataloader_iter = None  # the rest of the data belongs to this epoch
                return Verdict.EPOCH_ENDED
            engine.state.iteration += not has_begun
            cursor.iteration += not has_begun
            if verdict := _obey(engine, BETWEEN_BATCHES):
                return verdict


def _note_moment_of_failure(engine: Controls) -> None:
    """Records the moment from which a failed epoch can be continued."""
    is_unseen = (
        engine.last_event_name is _GET_BATCH_COMPLETED and not engine._cursor.position_is_lost
    )
    engine._cursor.failed_at = BATCH_FETCHED if is_unseen else BETWEEN_BATCHES


def is_handled(engine: Controls, error: BaseException) -> bool:
    """Calls the handlers of EXCEPTION_RAISED; True if there are any and none of them raised."""
    state = engine.state
    text = f"{type(error).__name__}: {error}"  # not the exception: a log record would keep all its frames alive
    add_note(
        error, f"in epoch {state.epoch}, iteration {state.iteration} of {type(engine).__name__}"
    )
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


def _iterate(engine: Controls) -> Verdict:  # noqa: C901 - a call costs as much as a moment
    """Runs iterations up to the end of the epoch or to a request."""
    state, cursor, step = engine.state, engine._cursor, engine._measured_step()
    call = _call_watched if engine._is_watched else call_handlers
    requested, ready, begun, completed = tables = _tables_of_iteration(engine)
    moment = cursor.moment
    cursor.moment = BETWEEN_BATCHES
    keeps = _fetch.end_is_open(state, cursor)
    while True:
        if moment < BATCH_REQUESTED:
            if state.iteration != cursor.iteration:
                cursor.follow(state)
            if state.epoch_length is None:
                if state.dataloader is None:
                    cursor.check(state, has_data=False)
            elif cursor.iteration - cursor.epoch_start >= state.epoch_length:
                return Verdict.EPOCH_ENDED
            if state.max_iters is not None and state.iteration >= state.max_iters:
                engine.should_terminate = True
                return Verdict.TERMINATE
            if not keeps or not _fetch.may_be_kept(state.batch):
                state.batch = None  # frees it before the next one is fetched
            engine.last_event_name = _GET_BATCH_STARTED
            is_busy = completed.is_busy or begun.is_busy or requested.is_busy or ready.is_busy
            if not is_busy and (quiet := quiet_up_to(state.iteration, *tables)) > state.iteration:
                moment = _run_quietly(engine, step, quiet, keeps)
                if moment == BETWEEN_BATCHES:
                    continue
            elif requested.active:
                call(requested.calls, engine, _GET_BATCH_STARTED, state.iteration)
                if engine._attention and (verdict := _obey(engine, BATCH_REQUESTED)):
                    return verdict
        if moment < BATCH_FETCHED:
            try:
                state.batch = next(engine._dataloader_iter)  # type: ignore[arg-type]
            except StopIteration:
                if verdict := _refill(engine, is_resumed=moment == DATA_ENDED):
                    return verdict
            except BaseException:
                cursor.position_is_lost = True
                raise
        if moment < BATCH_READY:
            state.output = None
            if ready.active and not engine._skip_requested:
                engine.last_event_name = _GET_BATCH_COMPLETED
                call(ready.calls, engine, _GET_BATCH_COMPLETED, state.iteration)
                if engine._attention and (verdict := _obey(engine, BATCH_READY)):
                    return verdict
        if moment < ITERATION_BEGUN:
            state.iteration += 1
            cursor.iteration += 1
            engine.last_event_name = _ITERATION_STARTED
            if begun.active and not engine._skip_requested:
                call(begun.calls, engine, _ITERATION_STARTED, state.iteration)
                if engine._attention and (verdict := _obey(engine, ITERATION_BEGUN)):
                    return verdict
        if moment < STEP_DONE and not engine._skip_requested:
            state.output = step(engine, state.batch)
        if completed.active and not engine._skip_requested:
            engine.last_event_name = _ITERATION_COMPLETED
            call(completed.calls, engine, _ITERATION_COMPLETED, state.iteration)
        moment = BETWEEN_BATCHES
        if engine._attention and (verdict := _obey(engine, BETWEEN_BATCHES)):
            return verdict


def _run_quietly(
    engine: Controls, step: Callable[[Controls, Any], Any], quiet: int, keeps: bool
) -> int:
    """Runs iterations up to ``quiet``, in which no handler is due; returns the position reached in the last one.

    The same order as in :func:`_iterate`, without events that have no handlers.
    """
    state, cursor = engine.state, engine._cursor
    length, max_iters, iteration = state.epoch_length, state.max_iters, cursor.iteration
    stop = min(
        quiet, FOR_EVER if length is None else cursor.epoch_start + length, max_iters or FOR_EVER
    )
    engine.last_event_name = (
        _ITERATION_STARTED  # constant: a step that fires an event sets _attention
    )
    last: list[Any] = [None]
    batches: Iterator[Any] = engine._dataloader_iter  # type: ignore[assignment]
    try:
        for state.batch in _fetch.remembering(batches, last) if keeps else batches:
            state.output = None
            state.iteration = cursor.iteration = iteration = iteration + 1
            state.output = step(engine, state.batch)
            if engine._attention:
                return STEP_DONE
            if (
                iteration >= stop
                or state.iteration is not iteration
                or state.epoch_length is not length
                or state.max_iters is not max_iters
            ):
                return BETWEEN_BATCHES
            state.batch = None
    except BaseException:
        cursor.position_is_lost = (
            state.batch is None and state.dataloader is not None
        )  # the data have failed
        raise
    state.batch = last[0] if last else None
    engine._dataloader_iter = iter(())  # exhausted, and not to be asked again
    return BATCH_REQUESTED


def _refill(engine: Controls, is_resumed: bool) -> Verdict | None:
    """At the end of the data, ends the epoch or iterates over the data again, and fetches the first batch."""
    state = engine.state
    if not is_resumed:
        is_end = _fetch.ends_epoch(state, engine._cursor)
        engine._cursor.end_is_due = False
        if is_end:
            return Verdict.EPOCH_ENDED
        if verdict := _fire(engine, Events.DATALOADER_STOP_ITERATION, DATA_ENDED):
            return verdict
    _init_iter(engine)
    try:
        state.batch = next(engine._dataloader_iter)  # type: ignore[arg-type]
    except StopIteration:
        _fetch.report_exhausted(state)
        return Verdict.EPOCH_ENDED
    except BaseException:
        engine._cursor.position_is_lost = True
        raise
    return None


def _init_iter(engine: Controls) -> None:
    """Begins a pass over the data, or the rest of one whose iterator has failed."""
    cursor = engine._cursor
    engine._init_iter()
    if cursor.num_to_skip:
        iterator, engine._dataloader_iter = engine._dataloader_iter, None
        next(itertools.islice(iterator or (), cursor.num_to_skip - 1, None), None)
        engine._dataloader_iter = iterator
    cursor.pass_start, cursor.num_to_skip = cursor.iteration - cursor.num_to_skip, 0


def _end_epoch(engine: Controls, verdict: Verdict) -> Verdict | None:
    state, cursor, watch = engine.state, engine._cursor, engine._epoch_watch
    if engine._attendance is not None:
        together.end_epoch(engine)
    skip_completed = engine._should_terminate_single_epoch == "skip_epoch_completed"
    if verdict is Verdict.END_EPOCH:
        engine._fire_event(Events.TERMINATE_SINGLE_EPOCH, iter_counter=cursor.num_done)
        engine.should_terminate_single_epoch = False
        if cursor.is_moved and not engine._should_terminate:
            return Verdict.MOVED
    elif engine._dataloader_iter is not None:
        _fetch.check_surplus(state, cursor, cursor.num_done)
    if verdict is Verdict.END_EPOCH or not cursor.is_aligned:
        engine._dataloader_iter = None  # the next epoch begins at the start of the data
        _fetch.end_pass(state.dataloader)
    cursor.end_epoch(state)
    cursor.end_is_due = engine._dataloader_iter is not None
    state.times["EPOCH_COMPLETED"] = watch.elapsed()
    stop = None
    if verdict is not Verdict.END_EPOCH or not skip_completed:
        stop = _fire(engine, Events.EPOCH_COMPLETED, BETWEEN_EPOCHS)
    state.times["EPOCH_COMPLETED"] = seconds = watch.elapsed()
    if engine.logger.isEnabledFor(logging.INFO):
        taken = clock.format_duration(seconds)
        engine.logger.info("Epoch[%s] Complete. Time taken: %s", state.epoch, taken)
    return stop


def _finish(engine: Controls, verdict: Verdict) -> None:
    state, watch = engine.state, engine._run_watch
    state.times["COMPLETED"] = watch.elapsed()
    for table in engine._tables.values():
        if owed := owed_calls(table):
            call_handlers(owed, engine, table.event, state.get_event_attrib_value(table.event))
    if verdict is Verdict.TERMINATE:
        engine._fire_event(Events.TERMINATE)
    if engine._should_terminate != "skip_completed":
        engine._fire_event(Events.COMPLETED)
    state.times["COMPLETED"] = seconds = watch.elapsed()
    if engine.logger.isEnabledFor(logging.INFO):
        taken = clock.format_duration(seconds)
        engine.logger.info("Engine run finished. Time taken: %s", taken)


def _fire(engine: Controls, event: Events, moment: int) -> Verdict | None:
    """Fires an event outside of iterations, and handles the requests of its handlers."""
    engine._fire_event(event)
    if not engine._attention:
        return None
    if (
        engine._should_terminate_single_epoch
        and not engine._should_terminate
        and event is not _STOP_ITERATION
    ):
        engine.should_terminate_single_epoch = False
        if event is not Events.EPOCH_COMPLETED:
            raise RuntimeError(
                "The method terminate_epoch() should be called during an epoch, after Events.EPOCH_STARTED, "
                f"but was called on {event!r}"
            )
    return _obey(engine, moment)


def _finish_event(engine: Controls, moment: int) -> Verdict | None:
    """Calls the remaining handlers of an event at which the run was stopped."""
    unfinished, engine._cursor.unfinished = engine._cursor.unfinished, None
    if unfinished is None:
        return None
    table = engine._tables[unfinished.event]
    engine.last_event_name = table.event
    engine._attention = True
    count = engine.state.get_event_attrib_value(table.event)
    call_handlers(table.calls[unfinished.num_done :], engine, table.event, count)
    return _obey(engine, moment)


def _obey(engine: Controls, moment: int) -> Verdict | None:
    """Handles requests since the last event: to end the run or the epoch, or to pause."""
    if moment == BETWEEN_BATCHES and engine._skip_requested:
        engine._skip_requested = False
        engine.state.output = None
    engine._attention = False  # before the look at requests, which signals and threads append to
    if engine._skip_requested or engine._requests:
        engine._attention = True  # handled at the end of the iteration
    if engine._should_terminate:
        return Verdict.TERMINATE
    if engine._cursor.is_moved:
        return Verdict.MOVED
    if engine._should_terminate_single_epoch:
        return Verdict.END_EPOCH
    if engine._requests and _stop_at_boundary(engine, moment):
        return Verdict.INTERRUPT
    if not engine._should_interrupt:
        return None
    engine._cursor.moment = moment
    engine._fire_event(Events.INTERRUPT)
    engine.should_interrupt = False
    engine._cursor.is_paused = not engine._cursor.is_loaded  # by a handler of INTERRUPT
    return Verdict.INTERRUPT


def _stop_at_boundary(engine: Controls, moment: int) -> bool:
    """Obeys requests from outside of the run, if this is a boundary; returns whether the run stops.

    A boundary lies between two iterations or epochs, where a run can be saved and resumed.

    Raises:
        Preempted: this engine runs within a handler of the engine that a request is about.
    """
    requests = engine._requests
    if moment not in (BETWEEN_BATCHES, BETWEEN_EPOCHS) or engine.last_event_name in _FIRED_AGAIN:
        return False
    for request in requests:
        trainer = request.trainer
        if trainer is not engine and request.cuts and trainer.last_event_name in _CAN_BE_CONTINUED:
            raise Preempted(request, within(trainer)[1]._random_at_start)
    postponed = []
    while request_here := next((one for one in requests if one.trainer is engine), None):
        requests.remove(request_here)
        engine._cursor.moment = moment
        if _is_stopped_by(engine, request_here, None, None):
            return True
        if getattr(request_here, "is_postponed", False):
            postponed.append(request_here)
    requests.extend(postponed)
    return False


def _stop_after_failure(engine: Controls) -> bool:
    """Obeys a request after the data have failed: a signal often ends the workers of a loader, too.

    The last iteration is complete, so that nothing is lost.
    """
    state = engine.state
    if not engine._requests or state.dataloader is None or not engine._cursor.position_is_lost:
        return False
    if not _stop_at_boundary(engine, BETWEEN_BATCHES):
        return False
    engine._cursor.position_is_lost = False
    engine.logger.warning(
        "The data has failed after the run was asked to stop; it is saved after the last iteration"
    )
    return True


def _stop_within_event(engine: Controls, cut: Preempted) -> None:
    """Obeys a request at an event whose handlers have not all been called."""
    if cut.request in engine._requests:
        engine._requests.remove(cut.request)
    engine._cursor.unfinished = cut.unfinished
    _is_stopped_by(engine, cut.request, cut.unfinished, cut.random)


def _is_stopped_by(
    engine: Controls,
    request: BoundaryRequest,
    unfinished: Unfinished | None,
    random: RandomState | None,
) -> bool:
    if not request.obey(engine, unfinished, random):
        return False
    engine._fire_event(Events.TERMINATE)
    engine._cursor.is_paused = not engine._cursor.is_loaded  # by a handler of TERMINATE
    return True


def _tables_of_iteration(engine: Controls) -> tuple[Table, Table, Table, Table]:
    tables = engine._tables
    requested, ready = tables["GET_BATCH_STARTED"], tables["GET_BATCH_COMPLETED"]
    if engine.state.dataloader is None:
        requested = ready = Table(None, Payload())  # without data, nothing is fetched
    return requested, ready, tables["ITERATION_STARTED"], tables["ITERATION_COMPLETED"]


def _call_watched(calls: Iterable[Call], engine: Controls, event: Events, count: int) -> None:
    engine._fire_event(event)
