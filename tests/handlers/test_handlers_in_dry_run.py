"""Checkpoints, loggers and profilers in a dry run: they are tried, read back, and leave no files."""

import os
import warnings

import pytest
import torch
from torch import nn

from ignite.engine import Engine, Events
from ignite.exceptions import DryRunError
from ignite.handlers import (
    Checkpoint,
    CSVLogger,
    DiskSaver,
    JSONLLogger,
    ModelCheckpoint,
    RunProfiler,
    TensorboardLogger,
    TorchProfiler,
)
from ignite.handlers.checkpoint import BaseSaveHandler
from ignite.handlers.trackers import TrackerLogger


def files_of(folder):
    """Names, contents and times."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else None,
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def trainer():
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def step(engine, batch):
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        optimizer.step()
        return loss.item()

    trainer = Engine(step)
    trainer.state.objects = {"model": model, "optimizer": optimizer}
    return trainer


class Holder:
    """Has a state, of which something is wrong."""

    def __init__(self, fault):
        self.fault = fault
        self.count = 0

    def state_dict(self):
        if self.fault == "cannot be given":
            raise RuntimeError("no state today")
        return {"count": (lambda: 1) if self.fault == "cannot be saved" else self.count}

    def load_state_dict(self, state_dict):
        if self.fault == "is refused":
            raise KeyError("count")
        self.count = state_dict["count"]

    def __call__(self, engine):
        self.count += 1


FAULTS = {
    "cannot be given": (RuntimeError, "no state today"),
    "cannot be saved": (TypeError, "count"),
    "is refused": (KeyError, "count"),
}


@pytest.mark.parametrize("kind", ["run", "objects"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_saved_or_read_back_is_found(trainer, tmp_path, kind, fault):
    holder = Holder(fault)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, holder)
    if kind == "run":
        Checkpoint.of(trainer, tmp_path / "run", event=Events.EPOCH_COMPLETED(every=10))
    else:
        checkpoint = Checkpoint({"holder": holder, **trainer.state.objects}, tmp_path / "run")
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=10), checkpoint)
    before, files = trainer.state.objects["model"].weight.detach().clone(), files_of(tmp_path)
    error, words = FAULTS[fault]
    with pytest.raises(DryRunError, match=words) as info:
        trainer.dry_run([1, 2, 3])
    assert info.value.split(error)[0] is not None
    assert (trainer.state.objects["model"].weight == before).all()
    assert holder.count == 0
    assert files_of(tmp_path) == files
    holder.fault = None
    trainer.dry_run([1, 2, 3])
    assert files_of(tmp_path) == files


def test_a_state_that_does_not_come_back_is_found(trainer, tmp_path):
    class Forgetful(Holder):
        def load_state_dict(self, state_dict):
            self.count = 7

    holder = Forgetful(None)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, holder)
    Checkpoint.of(trainer, tmp_path)
    with pytest.raises(
        DryRunError,
        match=r"be equal after saving and loading a checkpoint, but .*7 and should be 2",
    ):
        trainer.dry_run([1, 2, 3])
    assert holder.count == 0


def test_an_unwritable_or_impossible_place_is_found(trainer, tmp_path, monkeypatch):
    checkpoint = ModelCheckpoint(tmp_path / "run", "a")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint, trainer.state.objects)
    trainer.dry_run([1])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises((DryRunError, PermissionError), match="is not writable"):
        trainer.dry_run([1])
    monkeypatch.undo()
    (tmp_path / "run").rmdir()
    (tmp_path / "run").write_text("")
    with pytest.raises((DryRunError, NotADirectoryError), match="is not a folder"):
        trainer.dry_run([1])


def test_a_score_that_is_not_there_is_found(trainer, tmp_path):
    saver = Checkpoint(trainer.state.objects, tmp_path, score_name="accuracy")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=20), saver)
    with pytest.raises(DryRunError, match="accuracy"):
        trainer.dry_run([1])
    assert files_of(tmp_path) == {}


def test_files_of_an_earlier_run_stay_and_do_not_keep_it_from_saving(trainer, tmp_path):
    scores = iter([5.0, 1.0, 1.0])
    saver = Checkpoint(
        trainer.state.objects, tmp_path, score_function=lambda engine: next(scores), score_name="s"
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)
    trainer.run([1])
    files, kept = files_of(tmp_path), list(saver._saved)
    saver.to_save = {**saver.to_save, "spy": _Spy()}
    trainer.dry_run([1])
    assert _Spy.num_loaded == 1
    assert files_of(tmp_path) == files
    assert saver._saved == kept


class _Spy:
    num_loaded = 0  # of the class: what is on an object is put back

    def state_dict(self):
        return {}

    def load_state_dict(self, state_dict):
        type(self).num_loaded += 1


def test_save_handlers_of_the_user_are_tried_and_what_they_have_saved_is_removed(trainer):
    class Store(BaseSaveHandler):
        log = []  # noqa: RUF012

        def __call__(self, checkpoint, filename, metadata=None):
            type(self).log.append(("save", filename))

        def remove(self, filename):
            type(self).log.append(("remove", filename))

    trainer.add_event_handler(
        Events.EPOCH_COMPLETED(every=9), Checkpoint(trainer.state.objects, Store())
    )
    trainer.dry_run([1, 2])
    assert Store.log == [("save", "checkpoint_2.pt"), ("remove", "checkpoint_2.pt")]


def test_a_saver_that_handlers_use_by_themselves(trainer, tmp_path):
    saver = DiskSaver(tmp_path)
    trainer.add_event_handler(Events.COMPLETED, lambda: saver({"a": 1}, "last.pt"))
    trainer.dry_run([1])
    assert files_of(tmp_path) == {}
    trainer.run([1])
    assert list(files_of(tmp_path)) == ["last.pt"]


@pytest.mark.parametrize("make", [
    lambda folder: JSONLLogger(folder / "log.jsonl"), lambda folder: CSVLogger(folder / "log.csv"),
    lambda folder: TensorboardLogger(str(folder)),
])  # fmt: skip
def test_loggers_write_elsewhere(trainer, tmp_path, make):
    with make(tmp_path) as logger:
        logger.attach_output_handler(
            trainer,
            Events.ITERATION_COMPLETED(every=50),
            tag="train",
            output_transform=lambda loss: {"loss": loss},
        )
        logger.attach_opt_params_handler(
            trainer, Events.EPOCH_COMPLETED, trainer.state.objects["optimizer"]
        )
        tracker, files = logger.tracker, files_of(tmp_path)
        trainer.dry_run([1, 2])
        assert logger.tracker is tracker
        assert files_of(tmp_path) == files
        broken = logger.attach_output_handler(
            trainer,
            Events.ITERATION_COMPLETED(every=50),
            tag="broken",
            output_transform=lambda loss: loss["nll"],
        )
        with pytest.raises(DryRunError, match=r"OutputHandler of ITERATION_COMPLETED: TypeError"):
            trainer.dry_run([1, 2])
        assert files_of(tmp_path) == files
        broken.remove()
        trainer.run([0] * 50)
        logger.flush()
    assert files_of(tmp_path) != files


class Printed:
    values: list = []  # noqa: RUF012

    def __init__(self, is_full=False):
        self.is_full = is_full

    def scalars(self, values, step):
        if self.is_full:
            raise OSError("the disk is full")
        type(self).values.append((step, dict(values)))

    def histogram(self, name, values, step):
        pass

    def close(self):
        pass


def test_what_a_run_would_only_warn_of_is_an_error_of_a_dry_run(trainer):
    logger = TrackerLogger(Printed(is_full=True))
    logger.attach_output_handler(
        trainer, Events.EPOCH_COMPLETED, tag="train", output_transform=lambda loss: loss
    )
    with pytest.raises(DryRunError, match="the disk is full"):
        trainer.dry_run([1, 2])
    assert logger._errors.last is None


def test_profilers(trainer, tmp_path):
    profiler = TorchProfiler(tmp_path, wait=0, warmup=1, active=1)
    profiler.attach(trainer)
    times = RunProfiler()
    times.attach(trainer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.dry_run([1, 2, 3], batches=3)
    assert files_of(tmp_path) == {}
    assert profiler.traces == []


def test_reading_back_is_distinguished_from_saving(trainer, tmp_path):
    holder = Holder("is refused")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, holder)
    Checkpoint.of(trainer, tmp_path)
    with pytest.raises(
        DryRunError, match="RunCheckpoint, reading back what it has written: KeyError"
    ):
        trainer.dry_run([1])


def test_each_of_several_checkpoints_is_read_back(trainer, tmp_path):
    holders = [Holder("is refused"), Holder(None)]
    for number, holder in enumerate(holders):
        saver = Checkpoint({"holder": holder}, tmp_path / str(number))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)
    with pytest.raises(DryRunError, match="Checkpoint, reading back what it has written: KeyError"):
        trainer.dry_run([1])
