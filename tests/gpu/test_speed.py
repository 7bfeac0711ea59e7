"""Timings: the step, the waits of an epoch, and the cost of a checkpoint."""

import statistics

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ignite import Learner
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint, EMAHandler
from ignite.metrics import Accuracy, ConfusionMatrix, Precision, Recall
from support.device import DEVICE, HAS_CUDA, Waits, figure, needs_cuda, seconds, synchronize

NUM_STEPS = 300 if HAS_CUDA else 20


def make_model(width=256):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(128, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    ).to(DEVICE)


def make_batches(num):
    generator = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(64, 128, generator=generator), torch.randint(10, (64,), generator=generator))
        for _ in range(num)
    ]
    return [(x.pin_memory(), y.pin_memory()) for x, y in batches] if HAS_CUDA else batches


def keep_loss(x, y, y_pred, loss):
    return loss.detach()


def loop_by_hand(batches):
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def run():
        model.train()
        for x, y in batches:
            optimizer.zero_grad()
            x, y = x.to(DEVICE, non_blocking=True), y.to(DEVICE, non_blocking=True)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

    return run


def loop_of_the_engine(batches, attach=lambda trainer, model: None):
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    trainer = create_supervised_trainer(
        model,
        optimizer,
        F.cross_entropy,
        device=DEVICE,
        non_blocking=True,
        output_transform=keep_loss,
    )
    attach(trainer, model)
    return lambda: trainer.run(batches, max_epochs=1)


def attach_ema(trainer, model):
    EMAHandler(model).attach(trainer)


def test_a_step_of_the_engine_takes_the_time_of_the_step_by_hand():
    batches = make_batches(NUM_STEPS)
    loops = {
        "step by hand": loop_by_hand(batches),
        "step of the engine": loop_of_the_engine(batches),
        "step of the engine with EMAHandler": loop_of_the_engine(batches, attach_ema),
    }
    times = {name: [] for name in loops}
    for turn in range(6):
        for name, loop in loops.items():
            taken = seconds(loop)
            if turn:  # the first warms up
                times[name].append(taken)
    best = {name: min(values) / NUM_STEPS * 1e6 for name, values in times.items()}
    for name, value in best.items():
        figure(name, f"{value:.1f} µs", "1.02x" if name == "step of the engine" else "")
    ratio = best["step of the engine"] / best["step by hand"]
    figure("engine / by hand", f"{ratio:.3f}", "1.02x, fails above 1.15")
    assert not HAS_CUDA or ratio < 1.15


@needs_cuda
def test_the_host_waits_a_few_times_an_epoch_whatever_its_length():
    x, y = torch.randn(4096, 128), torch.randint(10, (4096,))
    counts = {}
    for batch_size in (512, 64):
        learner = Learner(
            make_model(),
            loss="cross_entropy",
            optimizer="adamw",
            lr=1e-3,
            metrics=["accuracy", "f1"],
        )
        learner.fit((x, y), epochs=1, batch_size=batch_size, progress=False)
        with Waits() as found:
            learner.fit((x, y), valid=0.25, epochs=2, batch_size=batch_size, progress=False)
        counts[batch_size] = len(found.waits)
        figure(f"waits of 2 epochs of fit, {3072 // batch_size} steps each", counts[batch_size])
    assert counts[512] == counts[64]


def test_metrics_on_the_device_cost_little_beside_a_step():
    output = torch.randn(256, 100, device=DEVICE), torch.randint(100, (256,), device=DEVICE)
    metrics = [Accuracy(), Precision(), Recall(), ConfusionMatrix(100)]

    def update():
        for metric in metrics:
            for _ in range(NUM_STEPS):
                metric.update(output)

    update()
    taken = seconds(update) / NUM_STEPS / len(metrics)
    argmax = seconds(lambda: [output[0].argmax(dim=1) for _ in range(NUM_STEPS)]) / NUM_STEPS
    figure("update of a metric, 256 by 100 scores", f"{taken * 1e6:.1f} µs")
    figure("one argmax of them", f"{argmax * 1e6:.1f} µs")


@pytest.mark.parametrize("num_megabytes", [256 if HAS_CUDA else 4])
def test_a_checkpoint_in_the_background_stalls_training_less_than_torch_save(
    tmp_path, num_megabytes
):
    width = int((num_megabytes * 2**20 / 4 / 3) ** 0.5)  # weights, and two moments of the optimizer
    model = nn.Linear(width, width, bias=False).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    trainer = create_supervised_trainer(
        model, optimizer, F.mse_loss, device=DEVICE, non_blocking=True, output_transform=keep_loss
    )
    checkpoint = Checkpoint.of(trainer, tmp_path, event=Events.ITERATION_COMPLETED(every=10))
    stalls, plain = [], []
    save = checkpoint.save

    def timed(*args, **kwargs):
        checkpoint._wait()  # the steps of this test are too short to write a file meanwhile
        stalls.append(seconds(lambda: save(*args, **kwargs)))

    checkpoint.save = timed
    x = torch.randn(8, width, device=DEVICE)
    trainer.run([(x, x)] * 40)
    for i in range(3):
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        plain.append(
            seconds(lambda i=i, state=state: torch.save(state, tmp_path / f"plain-{i}.pt"))
        )
    synchronize()
    if not stalls:
        pytest.fail("no checkpoint was saved through checkpoint.save")
    by_save, stall = statistics.median(plain), statistics.median(stalls[1:4])
    figure(f"torch.save of {num_megabytes} MiB", f"{by_save * 1e3:.1f} ms")
    figure("first save in the background, which allocates", f"{stalls[0] * 1e3:.1f} ms")
    figure("stall of a later save in the background", f"{stall * 1e3:.1f} ms", "0.3x")
    assert not HAS_CUDA or stall < by_save
