"""Scores by which checkpoints of a run are compared; more in test_run_checkpoint."""

import pytest

from ignite.engine import Engine, Events
from ignite.handlers._checkpoints.score import Score
from ignite.metrics import Average


def make():
    trainer = Engine(lambda engine, batch: batch)
    evaluator = Engine(lambda engine, batch: batch)
    Average().attach(evaluator, "mean")
    return trainer, {"trainer": trainer, "evaluator": evaluator}


def test_an_evaluation_of_this_iteration_has_a_score_and_one_of_an_earlier_one_has_none():
    trainer, engines = make()
    score, found = Score("mean", "max"), []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(every=2), lambda: engines["evaluator"].run([1.0, 3.0])
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: found.append(score.of(trainer, engines))
    )
    trainer.run(range(5))
    assert found == [None, 2.0, None, 2.0, None]


def test_metrics_of_the_trainer_count_when_they_are_computed_again():
    trainer, engines = make()
    Average().attach(trainer, "own")
    score, found = Score("own", "max"), []
    events = Events.ITERATION_COMPLETED | Events.EPOCH_COMPLETED
    trainer.add_event_handler(events, lambda: found.append(score.of(trainer, engines)))
    trainer.run([1.0, 2.0], max_epochs=2)
    assert found == [None, None, 1.5, None, None, 1.5]


def test_an_evaluator_goes_before_the_trainer():
    trainer, engines = make()
    Average().attach(trainer, "mean")
    score, found = Score("mean", "max"), []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: engines["evaluator"].run([7.0]))
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: found.append(score.of(trainer, engines))
    )
    trainer.run([1.0])
    assert found == [7.0]


def test_functions_and_nothing():
    trainer, engines = make()
    assert Score(lambda engine: 0.5, "min").of(trainer, engines) == 0.5
    assert Score(None, "max").of(trainer, engines) is None
    assert Score("unknown", "max").of(trainer, engines) is None
    assert (Score("mean", "max").name, Score(len, "max").name) == ("mean", "len")


def test_wrong_arguments_are_refused():
    with pytest.raises(
        TypeError, match="score should be the name of a metric, a function or None, but given 3"
    ):
        Score(3, "max")
    with pytest.raises(ValueError, match="mode should be 'max' or 'min', but given 'low'"):
        Score("mean", "low")
