"""Optuna trials: reported values, the end of a pruned run, and a study whose process is killed at any moment."""

import functools
import os
import random
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, OptunaHandler, retry_killed_trials
from ignite.learner import Learner
from ignite.metrics import Loss
from ignite.testing import run_processes
from ignite.testing.resume import call_in_child
from support.optuna_processes import FakeTrial, prune_on_two_ranks

optuna = pytest.importorskip("optuna", reason="needs Optuna, of the test group")
optuna.logging.set_verbosity(optuna.logging.WARNING)

X = torch.linspace(-1, 1, 48).reshape(16, 3)
Y = X.sum(1, keepdim=True)
RATES = (0.1, 2.0)
"""The last one diverges, and is pruned."""


def engines(values):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda engine: engine.state.metrics.update(score=next(values)), priority=1
    )
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    return trainer, evaluator


def test_each_epoch_is_reported_and_a_pruned_run_ends_cleanly():
    ended = []

    def objective(trial):
        trainer, evaluator = engines(iter([1.0, 0.5 + trial.number, 0.25]))
        trainer.add_event_handler(Events.COMPLETED, lambda: ended.append(trainer.state.epoch))
        OptunaHandler(trial, "score").attach(trainer, evaluator)
        trainer.run([0], max_epochs=3)
        return evaluator.state.metrics["score"]

    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=1.2))
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert study.trials[0].intermediate_values == {1: 1.0, 2: 0.5, 3: 0.25}
    assert study.trials[1].intermediate_values == {1: 1.0, 2: 1.5}
    assert ended == [3, 2]


def test_the_last_epoch_is_not_pruned_and_evaluations_elsewhere_are_not_reported():
    trial = FakeTrial(prunes_at=3)
    trainer, evaluator = engines(iter([3.0, 2.0, 1.0, 0.0]))
    OptunaHandler(trial, "score").attach(trainer, evaluator)
    trainer.run([0], max_epochs=3)
    evaluator.run([0])
    assert trial.values == {1: 3.0, 2: 2.0, 3: 1.0}


def test_a_fit_is_pruned_and_stays_pruned_when_it_is_resumed(tmp_path):
    def fit(trial):
        torch.manual_seed(0)
        learner = Learner(torch.nn.Linear(3, 1), "mse", "sgd", lr=0.1)
        handler = OptunaHandler(trial, lambda engine: learner.history["loss"][-1])
        handler.attach(learner.trainer)
        with pytest.raises(optuna.TrialPruned, match="pruned after epoch 2"):
            learner.fit((X, Y), epochs=4, run_dir=tmp_path, resume="latest", save_every=1)
        return learner

    first, again = FakeTrial(prunes_at=2), FakeTrial()
    learner = fit(first)
    assert len(learner.history) == 2
    assert first.values == dict(enumerate(learner.history["loss"], start=1))
    resumed = fit(again)
    assert again.values == first.values, "what a new trial lacks is reported"
    assert resumed.history.steps == [], "no step was taken"


def test_a_dry_run_reports_nothing():
    trial = FakeTrial(prunes_at=1)
    trainer, evaluator = engines(iter([1.0] * 9))
    OptunaHandler(trial, "score").attach(trainer, evaluator)
    trainer.dry_run([0, 0])
    assert trial.values == {}


def test_mistakes_are_reported(monkeypatch):
    with pytest.raises(TypeError, match="trial should be an Optuna trial"):
        OptunaHandler(3, "loss")
    with pytest.raises(TypeError, match="metric should be the name"):
        OptunaHandler(FakeTrial(), 3)
    for metric, error, words in (
        ("loss", KeyError, r"metric should be one of \[\], but given 'loss'"),
        (lambda engine: None, TypeError, "should return a number"),
    ):
        trainer = Engine(lambda engine, batch: None)
        OptunaHandler(FakeTrial(), metric).attach(trainer)
        with pytest.raises(error) as caught:
            trainer.run([0])
        text = "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        assert re.search(words, text)
    trainer = Engine(lambda engine, batch: None)
    OptunaHandler(None, "loss").attach(trainer)
    with pytest.raises(ValueError, match="trial should be an Optuna trial on rank 0"):
        trainer.run([0])
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"reignition\[optuna\]"):
        OptunaHandler(FakeTrial(), "loss")


def test_rank_0_decides_and_all_ranks_stop_together():
    found = run_processes(prune_on_two_ranks, 2)
    assert [each["stopped at"] for each in found] == [2, 2]
    assert [each["values"] for each in found] == [{1: 0.0, 2: 0.0}, None]
    assert "OptunaHandler" in found[0]["missing"]


def learner_value(trial, folder):
    torch.manual_seed(0)
    learner = Learner(torch.nn.Linear(3, 1), "mse", "sgd", lr=trial.suggest_float("lr", 1e-3, 10))
    OptunaHandler(trial, "loss").attach(learner.trainer, learner.evaluator)
    history = learner.fit(
        (X, Y), (X, Y), epochs=3, batch_size=4, run_dir=folder, resume="latest", save_every=3
    )
    return history["valid_loss"][-1]


def engine_value(trial, folder):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.suggest_float("lr", 1e-3, 10))
    loss = torch.nn.functional.mse_loss
    trainer = create_supervised_trainer(model, optimizer, loss)
    evaluator = create_supervised_evaluator(model, {"loss": Loss(loss)})
    batches = list(zip(X.split(4), Y.split(4), strict=True))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(batches))
    OptunaHandler(trial, "loss").attach(trainer, evaluator)
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED(every=3))
    trainer.run(batches, max_epochs=3, resume="latest")
    return evaluator.state.metrics["loss"]


def search(value_of, folder):
    """What a user's program does in each of its lives."""
    states = optuna.trial.TrialState
    study = optuna.load_study(
        study_name="search",
        storage=f"sqlite:///{folder}/study.db",
        pruner=optuna.pruners.ThresholdPruner(upper=50.0),
    )
    for rate in RATES:
        study.enqueue_trial({"lr": rate}, skip_if_exists=True)
    retry_killed_trials(study)

    def objective(trial):
        if "run_dir" not in trial.user_attrs:
            trial.set_user_attr("run_dir", f"{folder}/{trial.number}")
        return value_of(trial, Path(trial.user_attrs["run_dir"]))

    ended = (states.COMPLETE, states.PRUNED)
    study.optimize(objective, n_trials=len(RATES) - len(study.get_trials(states=ended)))
    return [
        [
            trial.params["lr"],
            trial.state.name,
            trial.value or 0.0,
            list(trial.intermediate_values.items()),
        ]
        for trial in study.get_trials(states=ended)
    ]


class Moments:
    """Counts calls of functions in this process, and kills it in one of them."""

    def __init__(self, last=None):
        self.count, self.last = 0, last

    def __call__(self, frame, event, argument):
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def live(value_of, folder, last=None):
    def work(send):
        moments = Moments(last)
        sys.setprofile(moments)
        found = search(value_of, folder)
        sys.setprofile(None)
        return [sorted(found), moments.count]

    return call_in_child(work, is_killed=last is not None).result


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/study.db")
    optuna.create_study(study_name="search", storage=storage)
    # Closes the connections. Python 3.13 warns about those that the garbage collector finds.
    storage.remove_session()
    storage.engine.dispose()
    return folder / "study.db"


@pytest.fixture(scope="module")
def whole(empty, tmp_path_factory):
    """Returns the study that nobody killed, and how many calls it takes."""

    @functools.cache
    def of(value_of):
        folder = tmp_path_factory.mktemp("whole")
        shutil.copy(empty, folder)
        return live(value_of, folder)

    return of


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "seed",
    [pytest.param(s, marks=[] if s in (0, 2, 19) else [pytest.mark.slow]) for s in range(20)],
)
def test_a_study_that_is_killed_at_any_moment_ends_as_if_it_had_not_been(
    seed, empty, whole, tmp_path
):
    value_of = (engine_value, learner_value)[seed % 2]
    expected, num_calls = whole(value_of)
    assert [trial[1] for trial in expected] == ["COMPLETE", "PRUNED"]
    shutil.copy(empty, tmp_path)
    live(value_of, tmp_path, last=random.Random(seed).randrange(1, num_calls * 9 // 10))
    assert live(value_of, tmp_path)[0] == expected
