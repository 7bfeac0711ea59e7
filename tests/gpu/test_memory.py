"""Memory of the device: what a run holds, and that it is free afterwards, without the garbage collector."""

import contextlib
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ignite import Learner
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, EMAHandler
from ignite.metrics import ROC_AUC, Accuracy, ConfusionMatrix, Loss
from support.device import DEVICE, figure, memory_allocated, needs_cuda

WIDTH = 1024


class InStepError(Exception):
    pass


@pytest.fixture(autouse=True)
def without_garbage_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def make_model():
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4)).to(DEVICE)


def make_batches(num=6):
    return [(torch.randn(256, WIDTH), torch.randint(4, (256,))) for _ in range(num)]


def run_all(folder, step_fails=False):
    """A training with evaluation, metrics, averages and checkpoints; returns weak references to its parts."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def model_fn(model, x):
        y_pred = model(x)
        if step_fails and trainer_ref().state.iteration == 4:
            raise InStepError
        return y_pred

    trainer = create_supervised_trainer(
        model, optimizer, F.cross_entropy, device=DEVICE, non_blocking=True, model_fn=model_fn,
        clip_grad_norm=1.0,
    )  # fmt: skip
    trainer_ref = weakref.ref(trainer)
    metrics = {
        "accuracy": Accuracy(),
        "loss": Loss(F.cross_entropy),
        "matrix": ConfusionMatrix(4),
        "auc": ROC_AUC(output_transform=lambda output: (output[0][:, 0], (output[1] == 0).long())),
    }
    evaluator = create_supervised_evaluator(model, metrics, device=DEVICE)
    batches = make_batches()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(batches) and None)
    EMAHandler(model).attach(trainer)
    Checkpoint.of(trainer, folder, background=True)
    with contextlib.suppress(InStepError):
        trainer.run(batches, max_epochs=2)
    assert trainer.state.iteration == (4 if step_fails else 12)
    return [weakref.ref(each) for each in (trainer, evaluator, model, optimizer)]


@pytest.mark.parametrize("step_fails", [False, True], ids=["run", "exception"])
def test_after_a_run_all_memory_of_the_device_is_free(tmp_path, step_fails):
    run_all(tmp_path / "first")  # torch keeps a workspace
    before = memory_allocated()
    parts = run_all(tmp_path / "second", step_fails)
    assert [part() is None for part in parts] == [True] * 4
    assert memory_allocated() == before


def test_after_a_training_by_the_learner_all_memory_of_the_device_is_free(tmp_path):
    x, y = torch.randn(512, WIDTH), torch.randint(4, (512,))

    def train(folder):
        learner = Learner(
            make_model().cpu(),
            loss="cross_entropy",
            optimizer="adamw",
            lr=1e-3,
            metrics=["accuracy"],
        )
        learner.fit(
            (x, y), valid=0.25, epochs=2, batch_size=128, run_dir=tmp_path / folder, progress=False
        )
        return [weakref.ref(each) for each in (learner, learner.trainer, learner.model)]

    train("first")
    gc.collect()
    before = memory_allocated()
    assert [part() is None for part in train("second")] == [True] * 3
    assert memory_allocated() == before


def peak(function):
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@needs_cuda
def test_a_run_needs_no_more_memory_than_the_loop_by_hand():
    batches = make_batches()

    def by_hand():
        model = make_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for x, y in batches:
            optimizer.zero_grad()
            x, y = x.to(DEVICE), y.to(DEVICE)
            y_pred = model(x)
            loss = F.cross_entropy(y_pred, y)
            loss.backward()
            optimizer.step()

    def by_engine():
        model = make_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        create_supervised_trainer(model, optimizer, F.cross_entropy, device=DEVICE).run(batches)

    by_hand(), by_engine()
    expected, found = peak(by_hand), peak(by_engine)
    figure("peak memory by hand", f"{expected / 2**20:.1f} MiB")
    figure("peak memory of the engine", f"{found / 2**20:.1f} MiB", "1.02x")
    assert found <= 1.02 * expected


@needs_cuda
def test_a_batch_on_the_device_is_free_before_the_next_one_is_made():
    num_bytes = 64 << 20
    base = memory_allocated()
    held = []

    def data():
        for _ in range(4):
            held.append(memory_allocated() - base)
            yield torch.empty(num_bytes, dtype=torch.uint8, device=DEVICE)

    Engine(lambda engine, batch: None).run(data(), epoch_length=4)
    assert held == [0, 0, 0, 0]


def test_an_exception_that_is_handled_holds_no_batch():
    """Its traceback does, as long as somebody keeps it."""

    def step(engine, batch):
        raise InStepError

    before = memory_allocated()
    batch = torch.empty(64 << 20, dtype=torch.uint8, device=DEVICE)
    alive = weakref.ref(batch)
    data = iter([batch])
    del batch
    engine = Engine(step)
    with contextlib.suppress(InStepError):
        engine.run(data, epoch_length=1)
    engine.state.batch = None
    del engine, data
    assert alive() is None
    assert memory_allocated() == before
