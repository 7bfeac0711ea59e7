import logging
import math

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers.early_stopping import EarlyStopping


def make_trainer():
    return Engine(lambda engine, batch: None)


def make_pair(scores, *args, **options):
    """A trainer that is evaluated after each epoch, and the handler that looks at the evaluator's scores."""
    trainer, evaluator, given = make_trainer(), make_trainer(), iter(scores)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    handler = EarlyStopping(*(args or (2,)), lambda engine: next(given), trainer, **options)
    return trainer, evaluator, handler


def test_it_stops_the_trainer_after_so_many_scores_without_improvement(caplog):
    trainer, evaluator, handler = make_pair([0.1, 0.5, 0.4, 0.5, 0.9], 2)
    evaluator.add_event_handler(Events.COMPLETED, handler)
    with caplog.at_level("INFO", "ignite.handlers.early_stopping.EarlyStopping"):
        assert trainer.run([0], max_epochs=5).epoch == 4
    assert (handler.best_score, handler.counter) == (0.5, 2)
    assert "EarlyStopping: Stop training. No improvement in 2 scores" in caplog.text


def test_nan_stops_at_the_third_score():
    trainer, evaluator, handler = make_pair([0.5, math.nan, 0.4, 0.3])
    evaluator.add_event_handler(Events.COMPLETED, handler)
    assert trainer.run([0], max_epochs=4).epoch == 3
    assert handler.best_score == 0.5


def test_attached_to_an_evaluator_it_starts_again_with_the_trainer():
    trainer, evaluator, handler = make_pair([0.5, 0.4, 0.3, 0.2, 0.1], 2)
    handler.attach(evaluator)
    assert trainer.run([0], max_epochs=9).epoch == 3
    trainer.state.max_epochs = None
    assert trainer.run([0], max_epochs=2).epoch == 2
    assert handler.best_score == 0.2


def test_the_event_that_resets_it_can_be_set():
    trainer, evaluator, handler = make_pair([0.5, 0.4, 0.3, 0.2], 2)
    handler.attach(evaluator, Events.EPOCH_COMPLETED, evaluator, Events.STARTED)
    assert trainer.run([0], max_epochs=4).epoch == 4


def test_no_stop_before_min_epochs():
    trainer, evaluator, handler = make_pair([0.5, 0.4, 0.3, 0.2, 0.1, 0.0], 1, min_epochs=5)
    handler.attach(evaluator)
    assert trainer.run([0], max_epochs=6).epoch == 5


def test_a_loaded_state_outlives_the_beginning_of_the_run_once():
    saved = make_pair([])[2]
    saved.counter, saved.best_score = 1, 0.7
    trainer, evaluator, handler = make_pair([0.6, 0.5, 0.4])
    handler.attach(evaluator)
    handler.load_state_dict(saved.state_dict())
    assert trainer.run([0], max_epochs=5).epoch == 1
    trainer.state.max_epochs = None
    assert trainer.run([0], max_epochs=1).epoch == 1
    assert (handler.best_score, handler.counter) == (0.5, 0)


def test_a_state_that_is_loaded_within_a_run_counts_for_this_run_only():
    trainer, evaluator, handler = make_pair([0.5, 0.4, 0.6])
    handler.attach(evaluator)
    saved = {"counter": 1, "best_score": 0.7}
    handle = trainer.add_event_handler(
        Events.EPOCH_STARTED(once=1), lambda: handler.load_state_dict(saved)
    )
    assert trainer.run([0], max_epochs=3).epoch == 1
    handle.remove()
    trainer.state.max_epochs = None
    assert trainer.run([0], max_epochs=2).epoch == 2
    assert handler.best_score == 0.6


def test_the_state_is_ignites():
    _, _, handler = make_pair([])
    assert handler.state_dict() == {"counter": 0, "best_score": None, "threshold_mode": "abs"}
    handler.load_state_dict(
        {"counter": 3, "best_score": torch.tensor(0.5), "threshold_mode": "rel"}
    )
    assert (handler.counter, handler.best_score, handler.threshold_mode) == (3, 0.5, "rel")
    handler.load_state_dict({"counter": 1, "best_score": math.nan})
    assert (handler.counter, handler.best_score, handler.threshold_mode) == (1, None, "rel")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"counter": -1, "best_score": 1.0},
            "counter should be an integer, at least 0, but given -1",
        ),
        (
            {"counter": 1.5, "best_score": 1.0},
            "counter should be an integer, at least 0, but given 1.5",
        ),
        (
            {"counter": 1, "best_score": 1.0, "threshold_mode": "x"},
            "threshold_mode should be .* but given 'x'",
        ),
        ({"counter": 1}, "should have the key 'best_score'"),
    ],
)
def test_a_state_that_is_impossible_changes_nothing(state, message):
    _, _, handler = make_pair([])
    with pytest.raises(ValueError, match=message):
        handler.load_state_dict(state)
    assert handler.state_dict() == {"counter": 0, "best_score": None, "threshold_mode": "abs"}


@pytest.mark.parametrize("score", [torch.tensor(0.5), torch.tensor([0.5]), 1, True])
def test_scores_may_be_tensors_and_whole_numbers(score):
    trainer, _, handler = make_pair([score])
    handler(trainer)
    assert handler.best_score == float(score)


def test_a_score_that_is_not_a_number_is_an_error():
    trainer, _, handler = make_pair([None])
    with pytest.raises(TypeError) as info:
        handler(trainer)
    assert info.value.__notes__ == [
        "score_function should return a number, but returned a NoneType"
    ]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"score_function": 3},
            TypeError,
            "Argument score_function should be a function, but given 3",
        ),
        (
            {"trainer": 3},
            TypeError,
            "Argument trainer should be an instance of Engine, but given a int",
        ),
        ({"patience": 0}, ValueError, "Argument patience should be positive integer, but given 0"),
        (
            {"threshold": -1},
            ValueError,
            "Argument threshold should not be a negative number, but given -1",
        ),
        (
            {"threshold_mode": "x"},
            ValueError,
            "Argument threshold_mode should be either 'abs' or 'rel', but given 'x'",
        ),
        ({"mode": "x"}, ValueError, "Argument mode should be either 'min' or 'max', but given 'x'"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        EarlyStopping(
            **{"patience": 1, "score_function": len, "trainer": make_trainer(), **options}
        )


OLD_NAMES = [
    ("min_delta", "threshold", 0.5),
    ("min_delta_mode", "threshold_mode", "rel"),
    ("cumulative_delta", "cumulative", True),
]


@pytest.mark.parametrize(("old", "new", "value"), OLD_NAMES)
def test_old_names_of_arguments_win_and_warn(old, new, value):
    with pytest.warns(
        DeprecationWarning, match=f"{old} is deprecated. Please use '{new}' instead"
    ) as warned:
        handler = EarlyStopping(1, len, make_trainer(), **{old: value})
    assert warned[0].filename == __file__
    assert getattr(handler, new) == value


@pytest.mark.parametrize(("old", "new", "value"), OLD_NAMES)
def test_old_names_of_properties_can_be_read_and_set(old, new, value):
    handler = EarlyStopping(1, len, make_trainer())
    with pytest.warns(DeprecationWarning, match=f"{old} is deprecated") as warned:
        setattr(handler, old, value)
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=f"{old} is deprecated") as warned:
        assert getattr(handler, old) == value
    assert warned[0].filename == __file__
    assert getattr(handler, new) == value


def without_logging_setup(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])


def stop_early():
    trainer, evaluator = (Engine(lambda engine, batch: None) for _ in range(2))
    evaluator.add_event_handler(Events.COMPLETED, EarlyStopping(1, lambda engine: 0.0, trainer))
    for _ in range(2):
        evaluator.run([0])


def test_the_line_is_seen_without_a_logging_setup(monkeypatch, capsys):
    name = "ignite.handlers.early_stopping.EarlyStopping"
    without_logging_setup(monkeypatch)
    stop_early()
    assert f"{name} INFO: EarlyStopping: Stop training" in capsys.readouterr().err
    monkeypatch.setattr(logging.getLogger("ignite.handlers"), "level", logging.WARNING)
    stop_early()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(logging.getLogger("ignite.handlers"), "level", logging.NOTSET)
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    monkeypatch.setattr(logging.root, "handlers", [handler])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    logging.getLogger(name).manager._clear_cache()
    stop_early()
    assert sum("Stop training" in line for line in lines) == 1
    assert capsys.readouterr().err == ""
