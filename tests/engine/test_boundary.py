"""Requests from outside, which take effect between two iterations."""

import pytest

from ignite.engine import Engine, Events
from ignite.engine._emitter import Preempted


def ask(request):
    request.trainer.request_at_boundary(request)


class Request:
    def __init__(self, trainer, stops=True, cuts=True):
        self.trainer, self.stops, self.cuts = trainer, stops, cuts
        self.obeyed = []

    def obey(self, engine, unfinished, random):
        self.obeyed.append(
            (
                engine.state.epoch,
                engine.state.iteration,
                engine._cursor.position(engine.state),
                unfinished,
            )
        )
        return self.stops


ORDER = [
    Events.STARTED, Events.EPOCH_STARTED, Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED,
    Events.ITERATION_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED,
]  # fmt: skip


def run_recorded(engine, **options):
    trace = []
    for event in (*ORDER, Events.TERMINATE, Events.COMPLETED):
        engine.add_event_handler(event, lambda name: trace.append(name), event.name)
    engine.run([10, 20, 30], max_epochs=2, **options)
    return trace


@pytest.mark.parametrize("event", ORDER)
def test_a_run_that_stops_between_iterations_continues_exactly(event):
    steps = []
    engine = Engine(lambda engine, batch: steps.append((engine.state.epoch, batch)))
    request = Request(engine)
    engine.add_event_handler(
        event(once=2) if event is not Events.STARTED else event, lambda: ask(request)
    )
    trace = run_recorded(engine)
    assert len(request.obeyed) == 1
    assert trace[-1] == "TERMINATE"
    assert trace[-2] in ("ITERATION_COMPLETED", "EPOCH_COMPLETED")
    assert engine.state.iteration == len(steps), "each iteration that counts has been done"

    engine.run()
    assert steps == [(epoch, batch) for epoch in (1, 2) for batch in (10, 20, 30)]
    expected = Engine(lambda engine, batch: None)
    assert [name for name in trace if name != "TERMINATE"] == run_recorded(expected)
    assert trace[-1] == "COMPLETED"


def test_a_request_in_the_step_takes_effect_after_it_also_without_handlers():
    engine = Engine(lambda engine, batch: ask(request) if engine.state.iteration == 2 else None)
    request = Request(engine)
    engine.run(range(5))
    assert request.obeyed == [(1, 2, (0, 2), None)]


def test_a_run_that_is_only_saved_continues():
    engine = Engine(lambda engine, batch: ask(request) if engine.state.iteration == 2 else None)
    request = Request(engine, stops=False)
    assert engine.run(range(5), max_epochs=2).iteration == 10
    assert request.obeyed == [(1, 2, (0, 2), None)]


def test_the_end_of_the_run_goes_first():
    engine = Engine(lambda engine, batch: (ask(request), engine.terminate()))
    request = Request(engine)
    completed = []
    engine.add_event_handler(Events.COMPLETED, completed.append)
    engine.run(range(5))
    assert (request.obeyed, completed) == ([], [engine])


def nested(event, cuts=True, position=2):
    """A trainer that evaluates at ``event``; the request comes in the evaluation of epoch 2."""
    calls = []
    trainer = Engine(lambda engine, batch: calls.append(f"step {batch}"))
    request = Request(trainer, cuts=cuts)

    def evaluate(engine, batch):
        calls.append(f"evaluate {batch}")
        if trainer.state.epoch == 2 and batch == position and not request.obeyed:
            ask(request)

    evaluator = Engine(evaluate)
    trainer.add_event_handler(event, lambda: calls.append("before"))
    trainer.add_event_handler(event, lambda: evaluator.run([1, 2, 3]))
    trainer.add_event_handler(event, lambda: calls.append("after"))
    return trainer, request, calls


@pytest.mark.parametrize("event", [Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED])
def test_an_evaluation_is_cut_off_and_its_handler_called_again(event):
    trainer, request, calls = nested(event)
    trainer.run([10], max_epochs=3)
    before = ["step 10", "before", "evaluate 1", "evaluate 2", "evaluate 3", "after"]
    assert calls == [*before, "step 10", "before", "evaluate 1", "evaluate 2"]
    (obeyed,) = request.obeyed
    assert obeyed[:2] == (2, 2)
    assert obeyed[3] == (event.name, 1)

    calls.clear()
    trainer.run()
    assert calls == ["evaluate 1", "evaluate 2", "evaluate 3", "after", *before]


def test_an_evaluation_that_is_watched_is_cut_off_at_the_same_handler():
    trainer, request, _ = nested(Events.EPOCH_COMPLETED)
    with trainer.trace():
        trainer.run([10], max_epochs=3)
    assert request.obeyed[0][3] == ("EPOCH_COMPLETED", 1)


@pytest.mark.parametrize("event", [Events.STARTED, Events.EPOCH_STARTED, Events.COMPLETED])
def test_an_evaluation_elsewhere_is_waited_for(event):
    trainer, _, calls = nested(event)
    if event is not Events.EPOCH_STARTED:
        trainer.state.epoch = 0
    trainer.run([10], max_epochs=3)
    assert calls.count("before") == calls.count("after") == calls.count("evaluate 3")


def test_an_evaluation_is_waited_for_if_that_is_wanted():
    trainer, request, calls = nested(Events.EPOCH_COMPLETED, cuts=False)
    trainer.run([10], max_epochs=3)
    assert calls[-3:] == ["evaluate 2", "evaluate 3", "after"]
    assert request.obeyed == [(2, 2, (2, 0), None)]


def test_an_evaluation_that_begins_after_the_request_is_cut_off_after_its_first_iteration():
    trainer, calls = Engine(lambda engine, batch: None), []
    request = Request(trainer)
    evaluator = Engine(lambda engine, batch: calls.append(batch))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: ask(request))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([1, 2, 3]))
    trainer.run([10])
    assert calls == [1]
    assert request.obeyed[0][3] == ("EPOCH_COMPLETED", 1)


def test_handlers_that_catch_exceptions_do_not_catch_this_but_may_clean_up():
    trainer, cleaned = Engine(lambda engine, batch: None), []
    request = Request(trainer)
    evaluator = Engine(lambda engine, batch: ask(request))
    evaluator.add_event_handler(
        Events.EXCEPTION_RAISED, lambda engine, exception: cleaned.append("taken over")
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        try:
            evaluator.run([1, 2, 3])
        except Exception:
            cleaned.append("caught")
        finally:
            cleaned.append("finally")

    trainer.run([10])
    assert cleaned == ["finally"]
    assert not issubclass(Preempted, Exception)


def test_a_request_is_forgotten_when_the_run_is_over():
    engine = Engine(lambda engine, batch: None)
    request = Request(engine)
    engine.add_event_handler(Events.COMPLETED, lambda: ask(request))
    engine.run([0])
    assert engine.run([0], max_epochs=3).epoch == 3
    assert request.obeyed == []


def test_a_run_whose_data_fails_after_the_request_is_saved_after_the_last_iteration():
    def batches():
        yield 1
        ask(request)
        raise OSError("the worker was killed, too")

    engine = Engine(lambda engine, batch: None)
    request = Request(engine)
    engine.run(batches(), epoch_length=3)
    assert request.obeyed == [(1, 1, (0, 1), None)]


def test_an_evaluation_whose_data_fails_after_the_request_is_cut_off():
    def batches():
        yield 1
        ask(request)
        raise OSError("the worker was killed, too")

    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    request = Request(trainer)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: evaluator.run(batches(), epoch_length=3)
    )
    trainer.run([0])
    assert request.obeyed == [(1, 1, (1, 0), ("EPOCH_COMPLETED", 0))]


def test_data_that_fails_without_a_request_fails():
    def batches():
        yield 1
        raise OSError("the worker was killed")

    with pytest.raises(OSError, match="the worker was killed"):
        Engine(lambda engine, batch: None).run(batches(), epoch_length=3)
