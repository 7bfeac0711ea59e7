"""The order of moments: when is what fired, fetched and called. The only file that knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ignite._core import clock
from ignite.engine import _boundary, _fetch, together
from ignite.engine._cursor import (
    BATCH_READY,
    BATCH_REQUESTED,
    BEFORE_RUN,
    BETWEEN_BATCHES,
    BETWEEN_EPOCHS,
    DATA_ENDED,
    ITERATION_BEGUN,
    STEP_DONE,
    Verdict,
    is_done,
    is_last_in_epoch,
)
from ignite.engine._dispatch import Call, Payload, Table, call_handlers, owed_calls, quiet_up_to
from ignite.engine._failures import is_taken_over
from ignite.engine._filters import FOR_EVER
from ignite.engine._watch import measured_step
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite.engine.engine import Engine

# Looking a member up in its enum takes as long as calling a handler.
_GET_BATCH_STARTED = Events.GET_BATCH_STARTED
_GET_BATCH_COMPLETED = Events.GET_BATCH_COMPLETED
_ITERATION_STARTED = Events.ITERATION_STARTED
_ITERATION_COMPLETED = Events.ITERATION_COMPLETED
_STOP_ITERATION = Events.DATALOADER_STOP_ITERATION
_BEFORE_ITERATION = (_GET_BATCH_STARTED, _STOP_ITERATION, _GET_BATCH_COMPLETED)


def run(engine: Engine[Any, Any]) -> None:
    """Runs ``engine`` to the end, or from where it was interrupted, or up to the next interruption."""
    try:
        verdict = _run_epochs(engine)
        if verdict is not Verdict.INTERRUPT:
            _finish(engine, verdict)
    except _boundary.Preempted as cut:
        if cut.request.trainer is not engine:
            raise
        _boundary.obey_within_event(engine, cut)
    except BaseException as error:
        if engine._cursor.is_failed or not is_taken_over(engine, error):
            engine._cursor.is_failed = True
            raise


def _run_epochs(engine: Engine[Any, Any]) -> Verdict:
    state, cursor = engine.state, engine._cursor
    if cursor.moment == BEFORE_RUN:
        cursor.begin_run(state)
        if verdict := _fire(engine, Events.STARTED, BETWEEN_EPOCHS):
            return verdict
        engine._settle(is_inside_epoch=False)
    while True:
        if cursor.moment == BETWEEN_EPOCHS:
            if not cursor.carried and (verdict := _finish_event(engine, BETWEEN_EPOCHS)):
                return verdict
            if is_done(state, cursor.known_iteration) and not cursor.carried:
                return Verdict.EPOCH_ENDED
            cursor.begin_epoch(state)
            engine._epoch_watch.restart()
            if verdict := _fire(engine, Events.EPOCH_STARTED, BETWEEN_BATCHES):
                return verdict
            engine._settle(is_inside_epoch=True)
        # A state saved after the last batch of an epoch, and before its end, resumes with an epoch that needs no data.
        if engine._dataloader_iter is None and not is_last_in_epoch(state, cursor.epoch_start):
            engine._init_iter()
            cursor.end_is_due = False
        engine._settle_random()
        verdict = _run_batches(engine)
        if verdict in (Verdict.TERMINATE, Verdict.INTERRUPT):
            return verdict
        if verdict := _end_epoch(engine, verdict):
            return verdict


def _run_batches(engine: Engine[Any, Any]) -> Verdict:
    """The rest of the epoch. What a handler takes over ends the epoch, or only the iteration if it says so."""
    while True:
        try:
            return _finish_event(engine, BETWEEN_BATCHES) or _iterate(engine)
        except Exception as error:
            if _boundary.obey_instead(engine):
                return Verdict.INTERRUPT
            has_begun = engine.last_event_name not in _BEFORE_ITERATION and engine.state.batch is not None
            if not is_taken_over(engine, error):
                engine._cursor.is_failed = True
                raise
            if not engine._skip_requested:
                engine._dataloader_iter = None  # what is left of the data belongs to the epoch that is given up
                return Verdict.EPOCH_ENDED
            engine.state.iteration += not has_begun
            if verdict := _obey(engine, BETWEEN_BATCHES):
                return verdict


def _iterate(engine: Engine[Any, Any]) -> Verdict:  # noqa: C901 - the hot loop: a call costs as much as a moment
    """Batch after batch, up to the end of the epoch or to what somebody has asked for."""
    state, cursor, step = engine.state, engine._cursor, measured_step(engine)
    requested, ready, begun, completed = tables = _tables_of_iteration(engine)
    call = _call_watched if engine._is_watched else call_handlers
    moment, start = cursor.moment, cursor.epoch_start
    cursor.moment = BETWEEN_BATCHES
    while True:
        if moment < BATCH_REQUESTED:
            if state.epoch_length is not None and state.iteration - start >= state.epoch_length:
                return Verdict.EPOCH_ENDED
            if state.max_iters is not None and state.iteration >= state.max_iters:
                engine.should_terminate = True
                return Verdict.TERMINATE
            state.batch = None  # before the next one is made, so that there are never two
            engine.last_event_name = _GET_BATCH_STARTED
            is_busy = completed.is_busy or begun.is_busy or requested.is_busy or ready.is_busy
            if not is_busy and (quiet := quiet_up_to(state.iteration, *tables)) > state.iteration:
                moment = _run_quietly(engine, step, quiet)
                if moment == BETWEEN_BATCHES:
                    continue
            elif requested.active:
                call(requested.calls, engine, _GET_BATCH_STARTED, state.iteration)
                if engine._attention and (verdict := _obey(engine, BATCH_REQUESTED)):
                    return verdict
        if moment < BATCH_READY:
            try:
                state.batch = next(engine._dataloader_iter)  # type: ignore[arg-type]
            except StopIteration:
                if verdict := _refill(engine, is_resumed=moment == DATA_ENDED):
                    return verdict
            state.output = None
            if ready.active and not engine._skip_requested:
                engine.last_event_name = _GET_BATCH_COMPLETED
                call(ready.calls, engine, _GET_BATCH_COMPLETED, state.iteration)
                if engine._attention and (verdict := _obey(engine, BATCH_READY)):
                    return verdict
        if moment < ITERATION_BEGUN:
            state.iteration += 1
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


def _run_quietly(engine: Engine[Any, Any], step: Callable[[Engine[Any, Any], Any], Any], quiet: int) -> int:
    """Runs the iterations up to ``quiet``, in which no handler is due; says how far the last one has come.

    The same moments as in :func:`_iterate`, without those that concern nobody.
    """
    state = engine.state
    length, max_iters = state.epoch_length, state.max_iters
    stop = min(quiet, FOR_EVER if length is None else engine._cursor.epoch_start + length, max_iters or FOR_EVER)
    engine.last_event_name = _ITERATION_STARTED  # and stays so: a step that fires an event draws attention
    for state.batch in engine._dataloader_iter:  # type: ignore[union-attr]
        state.output = None
        state.iteration += 1
        state.output = step(engine, state.batch)
        if engine._attention:
            return STEP_DONE
        if state.iteration >= stop or state.epoch_length is not length or state.max_iters is not max_iters:
            return BETWEEN_BATCHES
        state.batch = None
    engine._dataloader_iter = iter(())  # at its end, and not to be asked again
    return BATCH_REQUESTED


def _refill(engine: Engine[Any, Any], is_resumed: bool) -> Verdict | None:
    """The data is at its end: ends the epoch, or begins anew and puts the first batch into the state."""
    state = engine.state
    if not is_resumed:
        is_end = _fetch.ends_epoch(state, engine._cursor)
        engine._cursor.end_is_due = False
        if is_end:
            return Verdict.EPOCH_ENDED
        if verdict := _fire(engine, Events.DATALOADER_STOP_ITERATION, DATA_ENDED):
            return verdict
    engine._init_iter()
    try:
        state.batch = next(engine._dataloader_iter)  # type: ignore[arg-type]
    except StopIteration:
        _fetch.report_exhausted(state)
        return Verdict.EPOCH_ENDED
    return None


def _end_epoch(engine: Engine[Any, Any], verdict: Verdict) -> Verdict | None:
    state, cursor, watch = engine.state, engine._cursor, engine._epoch_watch
    together.end_epoch(engine)
    skip_completed = engine.should_terminate_single_epoch == "skip_epoch_completed"
    if verdict is Verdict.END_EPOCH:
        engine._fire_event(Events.TERMINATE_SINGLE_EPOCH, iter_counter=state.iteration - cursor.epoch_start)
        engine.should_terminate_single_epoch = False
    elif engine._dataloader_iter is not None:
        _fetch.check_surplus(state, cursor, state.iteration - cursor.epoch_start)
    if verdict is Verdict.END_EPOCH or not cursor.is_aligned:
        engine._dataloader_iter = None  # the next epoch begins at the beginning of the data
        _fetch.end_pass(state.dataloader)
    cursor.end_epoch(state)
    cursor.end_is_due = engine._dataloader_iter is not None
    state.times["EPOCH_COMPLETED"] = watch.elapsed()
    stop = None
    if verdict is not Verdict.END_EPOCH or not skip_completed:
        stop = _fire(engine, Events.EPOCH_COMPLETED, BETWEEN_EPOCHS)
    state.times["EPOCH_COMPLETED"] = seconds = watch.elapsed()
    engine.logger.info("Epoch[%s] Complete. Time taken: %s", state.epoch, clock.format_duration(seconds))
    return stop


def _finish(engine: Engine[Any, Any], verdict: Verdict) -> None:
    state, watch = engine.state, engine._run_watch
    state.times["COMPLETED"] = watch.elapsed()
    for table in engine._tables.values():
        if owed := owed_calls(table):
            call_handlers(owed, engine, table.event, state.get_event_attrib_value(table.event))
    if verdict is Verdict.TERMINATE:
        engine._fire_event(Events.TERMINATE)
    if engine.should_terminate != "skip_completed":
        engine._fire_event(Events.COMPLETED)
    state.times["COMPLETED"] = seconds = watch.elapsed()
    engine.logger.info("Engine run finished. Time taken: %s", clock.format_duration(seconds))


def _fire(engine: Engine[Any, Any], event: Events, moment: int) -> Verdict | None:
    """Fires an event that is not of an iteration, and obeys what its handlers have asked for."""
    engine._fire_event(event)
    if not engine._attention:
        return None
    if engine.should_terminate_single_epoch and not engine.should_terminate and event is not _STOP_ITERATION:
        engine.should_terminate_single_epoch = False
        if event is not Events.EPOCH_COMPLETED:
            raise RuntimeError(
                "The method terminate_epoch() should be called during an epoch, after Events.EPOCH_STARTED, "
                f"but was called on {event!r}"
            )
    return _obey(engine, moment)


def _finish_event(engine: Engine[Any, Any], moment: int) -> Verdict | None:
    """Calls the handlers that are left of an event in the midst of which the run was stopped."""
    unfinished, engine._cursor.unfinished = engine._cursor.unfinished, None
    if unfinished is None:
        return None
    table = engine._tables[unfinished.event]
    engine.last_event_name = table.event
    engine._attention = True
    count = engine.state.get_event_attrib_value(table.event)
    call_handlers(table.calls[unfinished.num_done :], engine, table.event, count)
    return _obey(engine, moment)


def _obey(engine: Engine[Any, Any], moment: int) -> Verdict | None:
    """What has been asked for since the last event: the end of the run, of the epoch, or a pause."""
    if moment == BETWEEN_BATCHES and engine._skip_requested:
        engine._skip_requested = False
        engine.state.output = None
    engine._attention = engine._skip_requested or engine._request is not None  # obeyed at the end of the iteration
    if engine.should_terminate:
        return Verdict.TERMINATE
    if engine.should_terminate_single_epoch:
        return Verdict.END_EPOCH
    if engine._request is not None and _boundary.obey(engine, moment):
        return Verdict.INTERRUPT
    if not engine.should_interrupt:
        return None
    engine._cursor.moment = moment
    engine._fire_event(Events.INTERRUPT)
    engine.should_interrupt = False
    engine._cursor.is_paused = True
    return Verdict.INTERRUPT


def _tables_of_iteration(engine: Engine[Any, Any]) -> tuple[Table, Table, Table, Table]:
    tables = engine._tables
    requested, ready = tables["GET_BATCH_STARTED"], tables["GET_BATCH_COMPLETED"]
    if engine.state.dataloader is None:
        requested = ready = Table(None, Payload())  # without data, nothing is fetched
    return requested, ready, tables["ITERATION_STARTED"], tables["ITERATION_COMPLETED"]


def _call_watched(calls: Iterable[Call], engine: Engine[Any, Any], event: Events, count: int) -> None:
    engine._fire_event(event)
