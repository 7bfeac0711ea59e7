import pytest

from ignite.engine import Engine, Events, State
from ignite.handlers.utils import global_step_from_engine


def trainer():
    engine = Engine(lambda engine, batch: None)
    engine.state = State(epoch=5, iteration=50)
    return engine


@pytest.mark.parametrize("event", list(Events))
def test_the_step_is_the_count_of_the_event_and_of_events_without_one_the_epoch(event):
    is_of_iterations = event.name.startswith(("ITERATION", "GET_BATCH"))
    assert global_step_from_engine(trainer())(None, event) == (50 if is_of_iterations else 5)


@pytest.mark.parametrize(
    ("options", "event", "step"),
    [
        ({"custom_event_name": Events.ITERATION_COMPLETED}, Events.COMPLETED, 50),
        ({"custom_event_name": Events.EPOCH_COMPLETED}, Events.ITERATION_STARTED, 5),
        ({}, Events.ITERATION_COMPLETED(every=3), 50),
        ({}, "ITERATION_COMPLETED", 50),
        ({}, "unknown", 5),
        ({}, None, 5),
        ({"fallback_attr": "iteration"}, "unknown", 50),
        ({"fallback_attr": "iteration"}, Events.STARTED, 5),
    ],
)
def test_another_event_and_another_attribute_may_be_asked_for(options, event, step):
    assert global_step_from_engine(trainer(), **options)(None, event) == step


def test_an_event_of_the_program_counts_by_its_attribute():
    engine = trainer()
    engine.register_events("pruned", event_to_attr={"pruned": "num_pruned"})
    engine.state.num_pruned = 7
    assert global_step_from_engine(engine)(None, "pruned") == 7


def test_what_is_attached_to_an_evaluator_counts_by_the_trainer():
    trainer, evaluator, steps = Engine(lambda e, b: None), Engine(lambda e, b: None), []
    transform = global_step_from_engine(trainer)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda e: steps.append(transform(e, e.last_event_name))
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0, 0, 0]))
    trainer.run([0], max_epochs=3)
    assert steps == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "meant"), [("EPOCH_COMPLETE", "EPOCH_COMPLETED"), ("prunned", "pruned")]
)
def test_a_misspelled_event_is_refused_with_the_name_that_was_meant(name, meant):
    engine = trainer()
    engine.register_events("pruned")
    with pytest.raises(
        ValueError, match=f"custom_event_name .* given '{name}'. Did you mean '{meant}'"
    ):
        global_step_from_engine(engine, name)(None, Events.COMPLETED)
    assert global_step_from_engine(engine, "pruned")(None, Events.COMPLETED) == 5
