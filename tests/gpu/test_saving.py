"""Snapshots, checkpoints in the background, and exact resuming with the random state of the device."""

import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ignite._core.rng import capture_random_state, manual_seed, restore_random_state
from ignite.data import ArrayLoader
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint, EMAHandler
from ignite.storage import Snapshot
from ignite.testing import Run, assert_resume_is_exact
from support.device import DEVICE, HAS_CUDA, memory_allocated, needs_cuda


def test_the_random_state_of_the_device_is_part_of_the_random_state():
    manual_seed(5)
    first = torch.rand(4, device=DEVICE)
    state = capture_random_state()
    second = torch.rand(4, device=DEVICE)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True, map_location=DEVICE))
    assert torch.equal(torch.rand(4, device=DEVICE), second)
    manual_seed(5)
    assert torch.equal(torch.rand(4, device=DEVICE), first)
    if HAS_CUDA:
        assert len(state["accelerator"]["cuda"]) == torch.cuda.device_count()


def make_run(folder):
    """Dropout and noise draw from the generator of the device."""
    manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 3)).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    options = {"amp_mode": "amp", "scaler": True} if HAS_CUDA else {}
    trainer = create_supervised_trainer(
        model,
        optimizer,
        lambda y_pred, y: F.cross_entropy(y_pred + 0.1 * torch.randn_like(y_pred), y),
        device=DEVICE,
        non_blocking=True,
        gradient_accumulation_steps=2,
        **options,
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: scheduler.step())
    ema = EMAHandler(model, momentum=0.1)
    ema.attach(trainer)
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(20, 6, generator=generator), torch.randint(3, (20,), generator=generator)
    data = ArrayLoader((x, y), 4, shuffle=True, pin_memory=True, prefetch=1)
    objects = {"model": model, "optimizer": optimizer, "ema": ema}
    return Run(trainer, data, objects, max_epochs=2)


@pytest.mark.filterwarnings("ignore::UserWarning")  # the scheduler steps before the optimizer does
def test_a_resumed_run_is_bit_identical_on_the_device():
    found = assert_resume_is_exact(make_run, at=[1, 4, 7])
    assert [one.resumed_at for one in found] == [1, 4, 7]


def big_state(num_bytes=64 << 20):
    whole = torch.arange(num_bytes // 8, dtype=torch.float64, device=DEVICE)
    return {
        "whole": whole,
        "tied": whole,
        "part": whole[10:1000].reshape(99, 10).t(),
        "half": torch.ones(1001, dtype=torch.float16, device=DEVICE),
        "flag": torch.tensor([True, False], device=DEVICE),
        "host": torch.arange(5),
        "number": 3,
    }


def test_a_snapshot_is_the_state_of_its_time_on_the_host():
    state, snapshot = big_state(), Snapshot()
    expected = {
        name: value.cpu().clone() if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }
    copy = snapshot.take(state)
    for value in (state["whole"], state["half"]):
        value.zero_()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert copy[name].device.type == "cpu"
            assert torch.equal(copy[name], value), name
    assert copy["tied"].data_ptr() == copy["whole"].data_ptr()


def test_a_held_snapshot_is_never_overwritten_and_a_free_one_is_used_again():
    state, snapshot = {"x": torch.full((1 << 20,), 1.0, device=DEVICE)}, Snapshot()
    held = snapshot.take(state)
    place = held["x"].data_ptr()
    state["x"].fill_(2.0)
    other = snapshot.take(state)
    assert held["x"].unique().tolist() == [1.0]
    assert other["x"].unique().tolist() == [2.0]
    assert other["x"].data_ptr() != place
    del held
    state["x"].fill_(3.0)
    again = snapshot.take(state)
    assert again["x"].data_ptr() == place
    assert other["x"].unique().tolist() == [2.0]


@needs_cuda
def test_a_snapshot_takes_no_memory_of_the_device_and_page_locked_memory_of_the_host():
    state, snapshot = big_state(), Snapshot()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = memory_allocated()
    copies = [snapshot.take(state) for _ in range(3)]
    assert memory_allocated() == before
    assert torch.cuda.max_memory_allocated() - before < 1 << 20
    assert copies[0]["whole"].is_pinned()


@needs_cuda
def test_a_snapshot_of_work_on_another_stream_is_complete():
    stream = torch.cuda.Stream(DEVICE)
    x = torch.zeros(1 << 20, device=DEVICE)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        x += 7
        copy = Snapshot().take({"x": x})
    assert copy["x"].unique().tolist() == [7.0]


@pytest.mark.parametrize("background", [True, False])
def test_a_checkpoint_holds_the_weights_of_its_iteration_while_training_continues(
    tmp_path, background
):
    model = nn.Linear(512, 512).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer = create_supervised_trainer(model, optimizer, F.mse_loss, device=DEVICE)
    weights = {}
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: weights.update(
            {engine.state.iteration: model.weight.detach().cpu().clone()}
        ),
    )
    Checkpoint.of(
        trainer, tmp_path, event=Events.ITERATION_COMPLETED(every=2), keep_last=5,
        background=background,
    )  # fmt: skip
    trainer.run([(torch.randn(4, 512), torch.randn(4, 512)) for _ in range(8)])
    files = sorted(tmp_path.glob("checkpoint_*.pt"))
    assert len(files) == 4
    for file in files:
        saved = torch.load(file, weights_only=True)
        assert saved["model"]["weight"].device.type == "cpu"
        assert torch.equal(saved["model"]["weight"], weights[saved["trainer"]["iteration"]])
