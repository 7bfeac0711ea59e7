"""``fit(..., dry_run=True)`` finds mistakes, and leaves no files or changes."""

import copy
import logging
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import ignite
from ignite._core.differences import first_difference
from ignite.engine import Events
from ignite.exceptions import DryRunError
from ignite.metrics import Metric
from support import harness, learner_processes


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(100, 4, generator=generator)
    return x, (x[:, 0] > 0).long()


def learner(metrics=("accuracy",), **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    return ignite.Learner(model, "cross_entropy", "adamw", 1e-2, list(metrics), ema=0.9, **options)


def everything(one):
    return [
        copy.deepcopy(one.model.state_dict()), copy.deepcopy(one.optimizer.state_dict()), one.task, one.classes,
        one.trainer.state_dict(), dict(one.evaluator.state.metrics), str(one.trainer.describe()),
        str(one.evaluator.describe()), random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state(),
    ]  # fmt: skip


FIT = {
    "valid": 0.2,
    "epochs": 3,
    "schedule": "cosine",
    "warmup": 2,
    "early_stopping": 2,
    "restore_best": True,
}


def test_it_reports_and_leaves_no_trace(tmp_path, caplog):
    one = learner()
    before = everything(one)
    with caplog.at_level(logging.INFO):
        history = one.fit(data(), run_dir=tmp_path / "run", dry_run=True, **FIT)
    assert "Dry run of 2 batches" in caplog.text
    assert "RunCheckpoint" in caplog.text
    assert len(history) == 0
    assert first_difference(everything(one), before, "everything") is None
    assert list(tmp_path.iterdir()) == []


def test_the_run_after_it_is_the_run_without_it(tmp_path):
    found = []
    for is_tried in (False, True):
        one, folder = learner(), tmp_path / str(is_tried)
        if is_tried:
            one.fit(data(), run_dir=folder, dry_run=True, **FIT)
        history = one.fit(data(), run_dir=folder, **FIT)
        found.append([dict(one.model.state_dict()), history.steps, history["valid_accuracy"]])
    assert first_difference(*found) is None


def test_between_two_sessions_of_a_run(tmp_path):
    one = learner()
    one.fit(data(), run_dir=tmp_path, **{**FIT, "epochs": 1})
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    one.fit(data(), run_dir=tmp_path, dry_run=True, **FIT)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    history = one.fit(data(), run_dir=tmp_path, resume="latest", **FIT)
    assert len(history) == 3


class Broken(Metric):
    def reset(self):
        pass

    def update(self, output):
        pass

    def compute(self):
        raise ZeroDivisionError("no samples")


class Unsavable:
    def state_dict(self):
        return {"handle": open}

    def load_state_dict(self, state_dict):
        pass

    def __call__(self, engine):
        pass


def test_faults_of_checkpoint_logger_and_evaluator_are_found_together(tmp_path):
    one = learner(metrics=["accuracy", Broken()])
    one.trainer.add_event_handler(Events.EPOCH_COMPLETED, Unsavable())

    @one.trainer.on(Events.ITERATION_COMPLETED(every=500))
    def log(engine):
        raise ConnectionError("no server")

    before = everything(one)
    with pytest.raises(DryRunError) as info:
        one.fit(data(), run_dir=tmp_path / "run", dry_run=True, **FIT)
    kinds = {type(error) for error in info.value.exceptions}
    assert {ZeroDivisionError, ConnectionError, TypeError} <= kinds
    assert first_difference(everything(one), before, "everything") is None
    assert list(tmp_path.iterdir()) == []


def test_mistakes_in_the_data_are_found_as_before_a_run():
    one = learner()
    x, y = data()
    before = everything(one)
    with pytest.raises(ValueError, match="classes"):
        one.fit((x, y + 5), dry_run=True)
    assert first_difference(everything(one), before, "everything") is None


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        learner().fit(data(), run_dir=tmp_path / "run" / "deeper", dry_run=True)


def test_two_processes(tmp_path):
    tried = harness.run(partial(learner_processes.train, tmp_path / "tried", is_tried=True), 2)
    assert tried == harness.run(partial(learner_processes.train, tmp_path / "not"), 2)


def test_one_of_two_processes_fails():
    first, second = harness.run(learner_processes.fail_on_one, 2)
    assert first == (None, [], True)
    assert second[0] == "InterruptedError"
    assert second[2]
    assert any("fail of COMPLETED" in note for note in second[1])
