"""A run that is stopped anywhere, created again and resumed ends as if it had never been stopped."""

import contextlib
import json
import logging
import os
import random
import signal
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ignite import storage
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.exceptions import CheckpointError
from ignite.handlers import Checkpoint, EarlyStopping, Preemption
from ignite.metrics import Accuracy, Average, Loss, RunningAverage
from ignite.utils import manual_seed
from support.effort import diagonal, slow_but
from support.garbage import no_garbage_collection


class Noisy(Dataset):
    """Eleven samples and random augmentation from three generators."""

    def __init__(self):
        generator = torch.Generator().manual_seed(5)
        self.x, self.y = torch.randn(11, 4, generator=generator), torch.arange(11) % 3

    def __len__(self):
        return 11

    def __getitem__(self, i):
        noise = torch.rand(4) + random.random() + np.random.rand()
        return self.x[i] + 0.1 * noise, self.y[i], i


class Run:
    """Everything that a program makes before it calls ``run``: made anew for each life of it."""

    def __init__(
        self, folder, *, event=Events.ITERATION_COMPLETED, num_workers=0, background=True, **options
    ):
        manual_seed(3)
        self.model = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.seen, self.scores = [], []
        self.trainer = create_supervised_trainer(
            self.model, self.optimizer, nn.CrossEntropyLoss(), prepare_batch=self.prepare, **options
        )
        self.evaluator = create_supervised_evaluator(
            self.model, metrics={"accuracy": Accuracy(), "nll": Loss(nn.CrossEntropyLoss())},
            prepare_batch=lambda batch, device, non_blocking: batch[:2],
        )  # fmt: skip
        scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, gamma=0.9)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: scheduler.step())
        RunningAverage(output_transform=float).attach(self.trainer, "running")
        Average(output_transform=float).attach(self.trainer, "mean")
        self.loader = DataLoader(Noisy(), batch_size=3, shuffle=True, num_workers=num_workers)
        self.valid = DataLoader(Noisy(), batch_size=5)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.validate)
        self.stopper = EarlyStopping(
            50, lambda engine: engine.state.metrics["accuracy"], self.trainer
        )
        self.evaluator.add_event_handler(Events.COMPLETED, self.stopper)
        self.checkpoint = None
        if folder is not None:
            self.checkpoint = Checkpoint.of(
                self.trainer, folder, event=event, background=background
            )

    def prepare(self, batch, device, non_blocking):
        self.seen.append(batch[2].tolist())
        return batch[:2]

    def validate(self, engine, draws=True):
        if draws:  # handlers may draw, too
            random.random()
        self.evaluator.run(self.valid)
        self.scores.append(
            (engine.state.epoch, dict(self.evaluator.state.metrics), dict(engine.state.metrics))
        )

    def run(self, **options):
        self.trainer.run(self.loader, max_epochs=3, **options)
        return self

    def digest(self):
        window = getattr(self.trainer._process_function, "num_accumulated", None)
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "stopper": dict(self.stopper.state_dict()),
            "random": (random.random(), np.random.rand(), torch.rand(1).item()),
            "window": window,
        }


def assert_same(a, b, path=""):
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b or a != a, path


class Killed(BaseException):
    """Nothing catches this."""


def kill_at(trainer, iteration, event=Events.ITERATION_COMPLETED):
    def kill():
        raise Killed

    trainer.add_event_handler(event(once=iteration), kill, priority=-1e9)


def final_of(run):
    run.run()
    return run.digest(), run.seen, run.scores


@pytest.mark.parametrize("stopped_at", slow_but(range(1, 12), 1, 4, 6, 8, 11))
def test_a_run_stopped_after_any_iteration_is_resumed_exactly(tmp_path, stopped_at):
    expected, seen, scores = final_of(Run(tmp_path / "whole"))
    first = Run(tmp_path / "cut", background=False)
    kill_at(first.trainer, stopped_at + 1, Events.ITERATION_STARTED)
    with pytest.raises(Killed):
        first.run()
    second = Run(tmp_path / "cut", background=False)
    random.seed(99)  # the new process is in another state
    torch.manual_seed(99)
    np.random.seed(99)
    second.run(resume="latest")
    assert first.seen[:stopped_at] + second.seen == seen
    assert scores == [score for score in first.scores if score not in second.scores] + second.scores
    assert_same(second.digest(), expected)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(
    "options", [{"gradient_accumulation_steps": 3}, {"amp_mode": "amp", "device": "cpu"}]
)
def test_windows_and_mixed_precision_are_resumed_exactly(tmp_path, options):
    expected, seen, _ = final_of(Run(tmp_path / "whole", **options))
    for stopped_at in (2, 5, 6):
        first = Run(tmp_path / str(stopped_at), **options)
        kill_at(first.trainer, stopped_at + 1, Events.ITERATION_STARTED)
        with pytest.raises(Killed):
            first.run()
        second = Run(tmp_path / str(stopped_at), **options).run(resume="latest")
        assert first.seen[:stopped_at] + second.seen == seen
        assert_same(second.digest(), expected)


def test_the_number_of_workers_changes_nothing(tmp_path):
    expected, seen, _ = final_of(Run(tmp_path / "whole"))
    first = Run(tmp_path / "cut", num_workers=2)
    kill_at(first.trainer, 7, Events.ITERATION_STARTED)
    with pytest.raises(Killed):
        first.run()
    second = Run(tmp_path / "cut", num_workers=1).run(resume="latest")
    assert first.seen[:6] + second.seen == seen
    assert_same(second.digest(), expected)


def test_checkpoints_of_epochs_lose_the_epoch_at_hand_and_are_exact(tmp_path):
    expected, seen, scores = final_of(Run(tmp_path / "whole", event=Events.EPOCH_COMPLETED))
    first = Run(tmp_path / "cut", event=Events.EPOCH_COMPLETED)
    kill_at(first.trainer, 7)
    with pytest.raises(Killed):
        first.run()
    second = Run(tmp_path / "cut", event=Events.EPOCH_COMPLETED).run(resume="latest")
    assert second.seen == seen[4:]
    assert first.scores + second.scores == scores
    assert_same(second.digest(), expected)


def test_saving_changes_nothing(tmp_path):
    with_it = final_of(Run(tmp_path / "a", event=Events.ITERATION_COMPLETED))
    seldom = final_of(Run(tmp_path / "b", event=Events.EPOCH_COMPLETED))
    assert_same(with_it, seldom)


def test_a_finished_run_does_nothing_and_reports_it(tmp_path, caplog):
    Run(tmp_path).run()
    again = Run(tmp_path)
    with caplog.at_level(logging.INFO):
        again.run(resume="latest")
    assert again.seen == []
    assert again.trainer.state.iteration == 12
    assert "Nothing to run: the loaded state is finished" in caplog.text


@pytest.mark.parametrize("skip_completed", [False, True])
def test_a_run_that_was_stopped_early_is_finished_unless_more_is_asked_for(
    tmp_path, skip_completed
):
    first = Run(tmp_path)
    first.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=5), lambda engine: engine.terminate(skip_completed)
    )
    first.run()
    assert Run(tmp_path).run(resume="latest").seen == []
    more = Run(tmp_path)
    more.trainer.run(more.loader, max_epochs=4, resume="latest")
    assert more.trainer.state.epoch == 4


def test_without_a_checkpoint_the_run_begins_at_the_beginning(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert len(Run(tmp_path).run(resume="latest").seen) == 12
    assert "No checkpoint to resume from" in caplog.text


def test_a_run_that_begins_refuses_a_folder_with_another_run(tmp_path):
    Run(tmp_path).run()
    with pytest.raises(
        ValueError, match="should be empty when a new run starts, .* resume='latest'"
    ):
        Run(tmp_path).run()


def test_two_programs_do_not_write_to_the_same_folder(tmp_path):
    first, second = Run(tmp_path), Run(tmp_path)
    first.trainer.add_event_handler(Events.EPOCH_STARTED(once=1), lambda: second.run())
    with pytest.raises(CheckpointError, match="lock|in use"):
        first.run()


def test_stable_names_and_the_index_say_what_is_where(tmp_path):
    run = Run(None)
    run.checkpoint = Checkpoint.of(
        run.trainer, tmp_path, score="nll", mode="min", n_saved=1, keep_last=2
    )
    run.run()
    names = sorted(path.name for path in tmp_path.glob("*.pt") if not path.is_symlink())
    scores = {f"checkpoint_{4 * epoch:08d}.pt": metrics["nll"] for epoch, metrics, _ in run.scores}
    best = min(scores, key=scores.get)
    assert set(names) == {best, *list(scores)[-2:]}
    assert (tmp_path / "best.pt").resolve().name == best
    assert (tmp_path / "last.pt").resolve().name == "checkpoint_00000012.pt"
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["best"] == best
    assert {row["file"]: row["score"] for row in index["checkpoints"]} == {
        name: scores[name] for name in names
    }
    assert next(row["rank"] for row in index["checkpoints"] if row["file"] == best) == 1


def test_a_score_between_two_evaluations_is_none(tmp_path):
    run = Run(None)
    run.checkpoint = Checkpoint.of(
        run.trainer,
        tmp_path,
        event=Events.ITERATION_COMPLETED | Events.EPOCH_COMPLETED,
        score="accuracy",
        keep_last=99,
    )
    run.run()
    found = {one.note.step: one.note.score for one in storage.scan(storage.open_place(tmp_path))}
    assert [step for step, score in sorted(found.items()) if score is not None] == [4, 8, 12]


def test_the_best_is_resumed_and_what_comes_after_it_counts_as_newer(tmp_path):
    first = Run(None)
    scores = iter([0.9, 0.1, 0.2])
    Checkpoint.of(first.trainer, tmp_path, score=lambda trainer: next(scores, 0.2), keep_last=2)
    first.run()
    second = Run(None)
    later = iter([0.3, 0.4])
    checkpoint = Checkpoint.of(
        second.trainer, tmp_path, score=lambda trainer: next(later, 0.5), keep_last=2
    )
    second.trainer.run(second.loader, max_epochs=2, resume="best")
    assert checkpoint.last_checkpoint == tmp_path / "checkpoint_00000008.pt"
    third = Run(None)
    Checkpoint.of(third.trainer, tmp_path)
    third.run(resume="latest")
    assert len(third.seen) == 4, (
        "the two epochs of the second program are known, not the three of the first"
    )


def test_a_damaged_checkpoint_is_left_out_and_the_one_before_it_resumed(tmp_path, caplog):
    expected, _, _ = final_of(Run(tmp_path / "whole"))
    first = Run(None)
    Checkpoint.of(
        first.trainer,
        tmp_path / "cut",
        event=Events.ITERATION_COMPLETED,
        keep_last=3,
        background=False,
    )
    kill_at(first.trainer, 8, Events.ITERATION_STARTED)
    with pytest.raises(Killed):
        first.run()
    newest = tmp_path / "cut" / "checkpoint_00000007.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    second = Run(tmp_path / "cut").run(resume="latest")
    assert "checkpoint_00000007.pt" in caplog.text
    assert_same(second.digest(), expected)


def test_a_table_lists_what_was_restored_and_what_was_not(tmp_path, caplog):
    Run(tmp_path).run()
    other = Run(None)

    class Extra(Average):
        """Not in the checkpoint."""

    Extra(output_transform=float).attach(other.trainer, "extra")
    Checkpoint.of(other.trainer, tmp_path, patience=other.stopper)
    with caplog.at_level(logging.INFO):
        other.run(resume="latest")
    text = caplog.text
    assert "Extra.extra" in text
    assert "NOT RESTORED: not in the checkpoint" in text
    assert "stopper" in text
    assert "NOT RESTORED: in the checkpoint, but not in this program" in text


def test_what_does_not_fit_changes_nothing(tmp_path):
    Run(tmp_path).run()
    other = Run(None)
    other.model[3] = nn.Linear(8, 5)
    before = {name: value.clone() for name, value in other.model.state_dict().items()}
    Checkpoint.of(other.trainer, tmp_path)
    with pytest.raises(CheckpointError, match="3.weight"):
        other.run(resume="latest")
    assert_same(dict(other.model.state_dict()), before)
    assert other.trainer.state.iteration == 0


@pytest.mark.parametrize("event", [Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_STARTED])
def test_events_at_which_a_run_cannot_be_resumed_are_refused(tmp_path, event):
    with pytest.raises(
        ValueError, match="event should be ITERATION_COMPLETED or EPOCH_COMPLETED, .* resumed"
    ):
        Checkpoint.of(Engine(lambda engine, batch: None), tmp_path, event=event)


def test_it_runs_after_all_other_handlers(tmp_path):
    engine, order = Engine(lambda engine, batch: None), []
    checkpoint = Checkpoint.of(engine, tmp_path)
    checkpoint._write = lambda states, note: order.append("checkpoint")
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: order.append("added later"))
    engine.run([1])
    assert order[:2] == ["added later", "checkpoint"]


def test_a_trainer_has_one(tmp_path):
    engine = Engine(lambda engine, batch: None)
    Checkpoint.of(engine, tmp_path)
    with pytest.raises(RuntimeError, match="should have one Checkpoint.of"):
        Checkpoint.of(engine, tmp_path)


def test_everything_that_is_written_is_safe_to_load(tmp_path):
    Run(tmp_path).run()
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert {
        "trainer",
        "model",
        "optimizer",
        "data",
        "random",
        "stopper",
        "RunningAverage.running",
    } <= set(state)


def test_an_object_store_does_as_well(tmp_path):
    expected, seen, scores = final_of(Run(tmp_path / "whole", event=Events.EPOCH_COMPLETED))
    url = f"memory://{tmp_path.name}"
    first = Run(None)
    Checkpoint.of(first.trainer, url, score="nll", mode="min", keep_last=2)
    kill_at(first.trainer, 10)
    with pytest.raises(Killed):
        first.run()
    names = storage.open_place(url).names()
    assert {"index.json", "checkpoint_00000004.pt", "checkpoint_00000008.pt"} == set(names)
    second = Run(None)
    checkpoint = Checkpoint.of(second.trainer, url, score="nll", mode="min", keep_last=2)
    second.run(resume="latest")
    assert second.seen == seen[8:]
    assert_same(second.digest(), expected)
    best = min(range(3), key=lambda i: scores[i][1]["nll"])
    assert checkpoint.best_checkpoint.endswith(
        f"{tmp_path.name}/checkpoint_{4 * (best + 1):08d}.pt"
    )
    assert "://" in checkpoint.best_checkpoint
    Checkpoint.load_objects({"model": second.model}, checkpoint.best_checkpoint)
    third = Run(None)
    Checkpoint.of(third.trainer, url)
    third.trainer.run(third.loader, max_epochs=3, resume="best")
    assert third.seen == seen[4 * (best + 1) :]


@pytest.mark.parametrize("event", [Events.ITERATION_COMPLETED(every=3), Events.EPOCH_COMPLETED])
def test_an_evaluation_that_a_signal_has_cut_off_is_done_again_and_all_is_as_without(
    tmp_path, event
):
    def make(folder, cut):
        run = Run(None)
        run.order = []
        run.trainer.remove_event_handler(run.validate, Events.EPOCH_COMPLETED)
        run.trainer.add_event_handler(
            event, lambda engine: run.order.append(("before", torch.rand(1).item()))
        )
        run.trainer.add_event_handler(event, run.validate, draws=False)
        run.trainer.add_event_handler(
            event, lambda engine: run.order.append(("after", engine.state.output))
        )
        Checkpoint.of(run.trainer, folder, event=Events.EPOCH_COMPLETED)
        Preemption().attach(run.trainer)

        def strike(engine):
            torch.rand(1)
            if cut and run.trainer.state.iteration >= 6:
                os.kill(os.getpid(), signal.SIGTERM)

        run.evaluator.add_event_handler(Events.ITERATION_COMPLETED(once=2), strike)
        return run

    expected, seen, scores = final_of(whole := make(tmp_path / "whole", cut=False))
    first = make(tmp_path / "cut", cut=True)
    with pytest.raises(SystemExit):
        first.run()
    second = make(tmp_path / "cut", cut=False)
    torch.manual_seed(99)
    second.run(resume="latest")
    assert first.seen + second.seen == seen
    assert first.scores + second.scores == scores
    assert first.order + second.order == whole.order
    assert_same(second.digest(), expected)


def test_a_trainer_that_is_deleted_frees_its_model_without_the_garbage_collector(tmp_path):
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())
    checkpoint = Checkpoint.of(trainer, tmp_path, model=model)
    Preemption().attach(trainer)
    data = [(torch.ones(2, 4), torch.tensor([0, 1]))]
    trainer.run(data, max_epochs=2, resume="latest")
    with no_garbage_collection():
        freed = weakref.ref(trainer)
        del trainer
        assert freed() is None
        assert checkpoint.last_checkpoint == tmp_path / "checkpoint_00000002.pt"
        with pytest.raises(RuntimeError, match="its trainer has been deleted"):
            checkpoint.save()
        freed = weakref.ref(model)
        del model, optimizer, checkpoint
        assert freed() is None


def run_with_set_data(folder, stop, set_at, how, max_epochs=3):
    """A run whose data a handler exchanges; the batches that it has seen."""
    seen = []
    engine = Engine(lambda engine, batch: seen.append(batch))

    def exchange(engine):
        other = [10, 20, 30, 40]
        if how == "set_data":
            engine.set_data(other)
        elif how == "the same":
            engine.set_data(data)
        else:
            engine.state.dataloader, engine._dataloader_iter = other, iter(other)

    data = [1, 2, 3, 4]
    if set_at is not None:
        engine.add_event_handler(set_at, exchange)
    Checkpoint.of(engine, folder, event=Events.ITERATION_COMPLETED, background=False)
    if stop is not None:
        engine.add_event_handler(Events.ITERATION_STARTED(once=stop), lambda: 1 / 0)
    with contextlib.suppress(ZeroDivisionError):
        engine.run(data, max_epochs=max_epochs, resume="latest")
    return seen


@pytest.mark.parametrize(("stop", "how"), diagonal(range(2, 13), ["set_data", "the same"]))
def test_data_that_are_set_when_the_run_starts_are_gone_on_with(tmp_path, stop, how):
    whole = run_with_set_data(tmp_path / "whole", None, Events.STARTED, how)
    parts = run_with_set_data(tmp_path / "cut", stop, Events.STARTED, how)
    parts += run_with_set_data(tmp_path / "cut", None, Events.STARTED, how)
    assert parts == whole == ([10, 20, 30, 40] if how == "set_data" else [1, 2, 3, 4]) * 3


@pytest.mark.parametrize("how", ["set_data", "by hand"])
@pytest.mark.parametrize(
    "event",
    [Events.EPOCH_STARTED(once=2), Events.ITERATION_COMPLETED(once=2), Events.ITERATION_STARTED(once=5),
     Events.EPOCH_COMPLETED(once=1), Events.GET_BATCH_STARTED(once=3), Events.GET_BATCH_COMPLETED(once=6)],
)  # fmt: skip
def test_data_that_are_exchanged_later_are_refused_when_the_run_is_saved(tmp_path, event, how):
    with pytest.raises(
        ValueError,
        match="data of a saved run should be passed to run.* but they were replaced later",
    ):
        run_with_set_data(tmp_path, None, event, how)


def test_data_that_are_not_set_again_are_refused_when_the_run_is_resumed(tmp_path):
    run_with_set_data(tmp_path / "a", 6, Events.STARTED, "set_data")
    with pytest.raises(
        CheckpointError,
        match="set_data.. should be called in a handler of STARTED.* it was called there and was not called here",
    ):
        run_with_set_data(tmp_path / "a", None, None, "set_data")
    run_with_set_data(tmp_path / "b", 6, None, "set_data")
    with pytest.raises(
        CheckpointError,
        match="set_data.. should be called in a handler of STARTED.* it was not called there and was called here",
    ):
        run_with_set_data(tmp_path / "b", None, Events.STARTED, "set_data")
