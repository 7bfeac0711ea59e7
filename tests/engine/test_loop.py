"""The order of events, compared with the documented order and a small model under random requests."""

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from support.garbage import no_garbage_collection, watched_batches

ALL = [event for event in Events if event.name not in ("EXCEPTION_RAISED", "INTERRUPT")]
CHECKED = {  # the events after which requests are obeyed
    "STARTED", "EPOCH_STARTED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED", "ITERATION_STARTED", "ITERATION_COMPLETED",
    "EPOCH_COMPLETED", "DATALOADER_STOP_ITERATION",
}  # fmt: skip


def record(engine, trace, events=ALL):
    """Appends ``(event, epoch, iteration)`` for each firing."""
    for event in events:

        def handler(engine, name=event.name, **kwargs):
            trace.append((name, engine.state.epoch, engine.state.iteration))

        engine.add_event_handler(event, handler)


def traced_run(data, **kwargs):
    engine, trace = Engine(lambda engine, batch: batch), []
    record(engine, trace)
    engine.run(data, **kwargs)
    return trace


def test_two_epochs_fire_events_in_the_documented_order():
    expected = """
        STARTED@0/0
        EPOCH_STARTED@1/0
        GET_BATCH_STARTED@1/0 GET_BATCH_COMPLETED@1/0 ITERATION_STARTED@1/1 ITERATION_COMPLETED@1/1
        GET_BATCH_STARTED@1/1 GET_BATCH_COMPLETED@1/1 ITERATION_STARTED@1/2 ITERATION_COMPLETED@1/2
        EPOCH_COMPLETED@1/2
        EPOCH_STARTED@2/2
        GET_BATCH_STARTED@2/2 DATALOADER_STOP_ITERATION@2/2 GET_BATCH_COMPLETED@2/2 ITERATION_STARTED@2/3
        ITERATION_COMPLETED@2/3
        GET_BATCH_STARTED@2/3 GET_BATCH_COMPLETED@2/3 ITERATION_STARTED@2/4 ITERATION_COMPLETED@2/4
        EPOCH_COMPLETED@2/4
        COMPLETED@2/4
    """
    trace = traced_run(["a", "b"], max_epochs=2)
    assert [f"{event}@{epoch}/{iteration}" for event, epoch, iteration in trace] == expected.split()


class Ends(Exception):
    """How the model leaves an epoch or a run."""


def model(length, max_epochs, listened, actions):  # noqa: C901 - the whole order at one glance
    """What a user sees: the trace of ``listened`` events and steps; ``actions[i]`` is requested at its i-th entry."""
    trace, epoch, iteration, asked, fresh = [], 0, 0, set(), True

    def see(name):
        if name in listened:
            trace.append((name, epoch, iteration))
            action = actions.get(len(trace) - 1)
            if action and is_allowed(action, name):
                asked.add(action)
        ends = asked & ({"terminate"} if name == "EPOCH_COMPLETED" else {"terminate", "end_epoch"})
        if name in CHECKED and ends:
            raise Ends

    while epoch < max_epochs:
        asked.clear()
        fresh = True
        try:
            see("STARTED")
            while epoch < max_epochs:
                epoch += 1
                see("EPOCH_STARTED")
                try:
                    for i in range(length):
                        asked.discard("skip")
                        see("GET_BATCH_STARTED")
                        if i == 0 and not fresh:
                            see("DATALOADER_STOP_ITERATION")
                        if "skip" not in asked:
                            see("GET_BATCH_COMPLETED")
                        iteration += 1
                        if "skip" not in asked:
                            see("ITERATION_STARTED")
                        if "skip" not in asked:
                            trace.append(("step", epoch, iteration))
                            see("ITERATION_COMPLETED")
                    fresh = False
                except Ends:
                    if "terminate" in asked:
                        raise
                    fresh = True
                    see("TERMINATE_SINGLE_EPOCH")
                asked.discard("end_epoch")
                see("EPOCH_COMPLETED")
                asked.discard("end_epoch")
        except Ends:
            see("TERMINATE")
        see("COMPLETED")
    return trace


def is_allowed(action, name):
    inside = (
        "GET_BATCH_STARTED",
        "DATALOADER_STOP_ITERATION",
        "GET_BATCH_COMPLETED",
        "ITERATION_STARTED",
    )
    return {
        "terminate": name not in ("TERMINATE", "COMPLETED", "TERMINATE_SINGLE_EPOCH"),
        "interrupt": name in CHECKED,
        "end_epoch": name in (*inside, "ITERATION_COMPLETED", "EPOCH_COMPLETED"),
        "skip": name in inside,
    }[action]


def drive(length, max_epochs, listened, actions):
    """The same with an engine."""
    trace, paused = [], []

    def step(engine, batch):
        trace.append(("step", engine.state.epoch, engine.state.iteration))

    engine = Engine(step)
    calls = {
        "terminate": engine.terminate,
        "interrupt": lambda: (engine.interrupt(), paused.append(True)),
        "end_epoch": engine.terminate_epoch,
        "skip": engine.skip_iteration,
    }
    for event in ALL:
        if event.name not in listened:
            continue

        def handler(engine, name=event.name, **kwargs):
            trace.append((name, engine.state.epoch, engine.state.iteration))
            action = actions.get(len(trace) - 1)
            if action and is_allowed(action, name):
                calls[action]()

        engine.add_event_handler(event, handler)
    engine.run(range(length), max_epochs=max_epochs)
    while paused or engine.state.epoch < max_epochs:
        if not engine._cursor.is_paused and engine.state.epoch >= max_epochs:
            break  # a request to stop went before the one to pause
        paused.clear()
        engine.run(range(length))
    return trace


@settings(max_examples=300)
@given(
    length=st.integers(1, 5),
    max_epochs=st.integers(1, 4),
    listened=st.sets(st.sampled_from([event.name for event in ALL])),
    actions=st.dictionaries(
        st.integers(0, 30),
        st.sampled_from(["terminate", "interrupt", "end_epoch", "skip"]),
        min_size=1,
        max_size=8,
    ),
)
def test_random_requests_at_random_moments_give_the_trace_of_the_model(
    length, max_epochs, listened, actions
):
    assert drive(length, max_epochs, listened, actions) == model(
        length, max_epochs, listened, actions
    )


@given(
    length=st.integers(1, 4),
    max_epochs=st.integers(1, 3),
    pauses=st.sets(st.integers(0, 60), max_size=10),
)
def test_a_run_interrupted_anywhere_and_continued_is_the_uninterrupted_run(
    length, max_epochs, pauses
):
    names = {event.name for event in ALL}
    interrupted = drive(length, max_epochs, names, dict.fromkeys(pauses, "interrupt"))
    assert interrupted == drive(length, max_epochs, names, {})


@given(st.data())
def test_filtered_handlers_are_called_at_the_counts_that_their_filters_name(data):
    length, max_epochs = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
    base = data.draw(
        st.sampled_from([Events.ITERATION_COMPLETED, Events.ITERATION_STARTED, Events.GET_BATCH_STARTED,
                         Events.GET_BATCH_COMPLETED, Events.EPOCH_COMPLETED])
    )  # fmt: skip
    every, after, before = (data.draw(st.none() | st.integers(1, 9)) for _ in range(3))
    once = data.draw(st.lists(st.integers(1, 20), min_size=1))
    if every is after is before is None:
        event, is_due = base(once=once), lambda n: n in once
    elif after is before is None:
        event, is_due = base(every=every), lambda n: n % every == 0
    else:
        low, high = after or 0, 10**9 if before is None else before
        first = 0 if after is None else after
        event = base(every=every, after=after, before=before)
        is_due = (
            (lambda n: low < n < high)
            if every is None
            else (lambda n: first < n < high and (n - first - 1) % every == 0)
        )
    found, fired = [], []
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(
        event, lambda engine: found.append(engine.state.get_event_attrib_value(base))
    )
    if data.draw(st.booleans()):  # with another handler the loop is never quiet
        engine.add_event_handler(base, lambda: fired.append(True))
    engine.run(range(length), max_epochs=max_epochs)
    total = length * max_epochs
    counts = {"EPOCH_COMPLETED": range(1, max_epochs + 1), "GET_BATCH_STARTED": range(total),
              "GET_BATCH_COMPLETED": range(total)}.get(base.name, range(1, total + 1))  # fmt: skip
    assert found == [n for n in counts if is_due(n)]


@pytest.mark.parametrize("skip", [False, True])
def test_terminate_leaves_out_completed_if_asked_to(skip):
    engine, trace = Engine(lambda engine, batch: None), []
    record(engine, trace, [Events.EPOCH_COMPLETED, Events.TERMINATE, Events.COMPLETED])
    engine.add_event_handler(
        Events.ITERATION_COMPLETED(once=3), lambda: engine.terminate(skip_completed=skip)
    )
    engine.run(range(2), max_epochs=3)
    ended = [("COMPLETED", 2, 3)] if not skip else []
    assert trace == [("EPOCH_COMPLETED", 1, 2), ("TERMINATE", 2, 3), *ended]
    assert engine.should_terminate == ("skip_completed" if skip else True)


def test_terminate_epoch_passes_the_number_of_iterations_and_may_omit_epoch_completed():
    counters, completed = [], []
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda: engine.terminate_epoch(True)
    )
    engine.add_event_handler(
        Events.TERMINATE_SINGLE_EPOCH, lambda engine, iter_counter: counters.append(iter_counter)
    )
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: completed.append(engine.state.epoch)
    )
    engine.run(range(5), max_epochs=2)
    assert counters == [2]
    assert completed == [2]
    assert engine.state.iteration == 2 + 5


@pytest.mark.parametrize("event", [Events.STARTED, Events.EPOCH_STARTED])
def test_an_epoch_that_has_not_begun_cannot_be_terminated(event):
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(event, engine.terminate_epoch)
    with pytest.raises(
        RuntimeError, match=rf"terminate_epoch\(\) should be called during an epoch.*{event.name}"
    ):
        engine.run([0])


def test_max_iters_inside_an_epoch_terminates_and_at_its_end_does_not():
    inside = [event for event, *_ in traced_run(range(4), max_iters=6)]
    assert inside.count("EPOCH_COMPLETED") == 1
    assert inside[-3:] == ["ITERATION_COMPLETED", "TERMINATE", "COMPLETED"]
    at_end = [event for event, *_ in traced_run(range(4), max_iters=8)]
    assert at_end.count("EPOCH_COMPLETED") == 2
    assert at_end[-2:] == ["EPOCH_COMPLETED", "COMPLETED"]


def test_a_skipped_iteration_is_counted_and_has_no_step_output_or_completion():
    engine, steps, completed = Engine(lambda engine, batch: steps.append(batch) or batch), [], []
    engine.add_event_handler(Events.ITERATION_STARTED(once=2), engine.skip_iteration)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: completed.append(engine.state.iteration)
    )
    engine.run("abc")
    assert steps == ["a", "c"]
    assert completed == [1, 3]
    assert engine.state.iteration == 3


@pytest.mark.parametrize("listens", [False, True])
def test_a_step_that_skips_its_own_iteration_has_no_output(listens):
    outputs = []

    def step(engine, batch):
        if batch == "b":
            engine.skip_iteration()
        return batch

    engine = Engine(step)
    if listens:
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output)
        )
    engine.run("ab")
    assert engine.state.output is None
    assert outputs == (["a"] if listens else [])


def test_a_handler_added_by_the_step_is_called_in_the_same_iteration():
    called = []

    def step(engine, batch):
        if batch == 2:
            engine.add_event_handler(
                Events.ITERATION_COMPLETED, lambda engine: called.append(engine.state.iteration)
            )

    Engine(step).run([1, 2, 3])
    assert called == [2, 3]


def test_limits_that_the_step_changes_hold_at_once():
    def step(engine, batch):
        if engine.state.iteration == 3:
            engine.state.max_iters = 3

    assert Engine(step).run(range(10), max_iters=8).iteration == 3

    def shorten(engine, batch):
        engine.state.epoch_length = 4

    assert Engine(shorten).run(range(10)).iteration == 4


def test_the_batch_before_is_released_before_the_next_one_is_fetched():
    alive = []
    for listens in (False, True):
        engine = Engine(lambda engine, batch: None)
        if listens:
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
        engine.run(watched_batches(4, alive), epoch_length=4)
    assert alive == [False] * 8


def test_the_output_before_is_released_before_the_step_computes_the_next_one():
    class Output:
        pass

    kept, alive = [None], []

    def step(engine, batch):
        alive.append(kept[0] is not None and kept[0]() is not None)
        output = Output()
        kept[0] = weakref.ref(output)
        return output

    engine = Engine(step)
    engine.run(range(3))
    assert alive == [False] * 3
    assert isinstance(engine.state.output, Output)


class Model(torch.nn.Linear):
    pass


@pytest.mark.parametrize("how", ["completed", "interrupted", "failed", "traced"])
def test_deleting_an_engine_that_has_run_frees_its_model_and_batches_without_the_garbage_collector(
    how,
):
    model = Model(2, 2)
    batches = [torch.ones(1, 2) for _ in range(3)]
    engine = Engine(lambda engine, batch, model=model: model(batch))
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda engine: None)
    engine.add_event_handler(Events.EPOCH_COMPLETED(last=True), lambda engine: None)
    with no_garbage_collection():
        if how == "interrupted":
            engine.add_event_handler(
                Events.ITERATION_STARTED(once=2), lambda engine: engine.interrupt()
            )
        if how == "failed":
            engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.run(batches, max_epochs=2)
        elif how == "traced":
            with engine.trace():
                engine.run(batches, max_epochs=2)
        else:
            engine.run(batches, max_epochs=2)
        held = [weakref.ref(model), weakref.ref(batches[1]), weakref.ref(engine)]
        del model, batches, engine
        assert [ref() for ref in held] == [None] * 3
