"""A training run with objects of all kinds that have a state, to be killed, stopped and resumed."""

import json
import os
import random
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ignite.data import seeded
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, EarlyStopping
from ignite.metrics import Accuracy, Average, Loss, RunningAverage

NUM_SAMPLES, BATCH_SIZE = 96, 8
EPOCH_LENGTH = NUM_SAMPLES // BATCH_SIZE
ACCUMULATION = 5
"""Batches in a window; 12 in an epoch are 5, 5 and 2."""


@dataclass(frozen=True)
class Plan:
    """How a run is made. What it computes depends on ``precision``, ``max_epochs`` and ``is_seeded`` only."""

    precision: str = "bfloat16"
    max_epochs: int = 3
    num_workers: int = 0
    save_every: int = 3
    background: bool = True
    is_seeded: bool = True


class Augmented(Dataset):
    """Samples that are changed at random, with the generators of python, numpy and torch."""

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(NUM_SAMPLES, 8, generator=generator)
        self.y = (self.x.sum(1) > 0).long() + (self.x[:, 0] > 1).long()

    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, index):
        on_fetch(index)
        x = self.x[index] * np.random.uniform(0.9, 1.1) + 0.1 * torch.randn(8)
        return (-x if random.random() < 0.1 else x).float(), self.y[index], index


def on_fetch(index):
    """Called for each sample; tests put something else here."""


class Log:
    """A file with a line for each iteration and epoch; lines of a killed process stay."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, key, value):
        os.write(self._file, (json.dumps([key, value]) + "\n").encode())


def read_log(path):
    return [tuple(json.loads(line)) for line in Path(path).read_text().splitlines()]


@dataclass
class Training:
    trainer: Engine
    evaluator: Engine
    loader: DataLoader
    objects: dict
    max_epochs: int

    def run(self, resume="latest"):
        return self.trainer.run(self.loader, max_epochs=self.max_epochs, resume=resume)


def make_model():
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16),
        torch.nn.BatchNorm1d(16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(16, 3),
    )


def make_training(folder, plan, log=None):
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    scaler = torch.amp.GradScaler(
        "cpu", init_scale=2.0**24, growth_interval=4
    )  # the first steps overflow
    precision = {
        "float32": {},
        "bfloat16": {"amp_mode": "amp", "amp_dtype": "bfloat16"},
        "float16": {"amp_mode": "amp", "amp_dtype": "float16", "scaler": scaler},
    }[plan.precision]
    trainer = create_supervised_trainer(
        model, optimizer, torch.nn.functional.cross_entropy, gradient_accumulation_steps=ACCUMULATION,
        prepare_batch=lambda batch, device, non_blocking: batch[:2], clip_grad_norm=1.0,
        output_transform=lambda x, y, y_pred, loss: {"loss": loss.item(), "y_pred": y_pred.float(), "y": y},
        **precision,
    )  # fmt: skip
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.9)

    @trainer.on(Events.ITERATION_COMPLETED)
    def step_schedules(engine):
        scheduler.step()
        ema.update_parameters(model)

    Average(output_transform=lambda output: output["loss"]).attach(trainer, "mean_loss")
    Accuracy(output_transform=lambda output: (output["y_pred"], output["y"])).attach(
        trainer, "accuracy"
    )
    RunningAverage(output_transform=lambda output: output["loss"], alpha=0.9).attach(
        trainer, "running_loss"
    )
    evaluator = attach_evaluation(trainer, model, plateau)
    if log is not None:
        attach_log(trainer, evaluator, log)
    event = Events.ITERATION_COMPLETED(every=plan.save_every) | Events.EPOCH_COMPLETED
    Checkpoint.of(
        trainer,
        folder,
        event=event,
        score="val_loss",
        mode="min",
        keep_last=2,
        background=plan.background,
        ema=ema,
    )
    dataset = seeded(Augmented(), seed=5) if plan.is_seeded else Augmented()
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=plan.num_workers)
    objects = {
        "model": model, "optimizer": optimizer, "scheduler": scheduler, "plateau": plateau, "ema": ema,
        "scaler": scaler, "evaluator": evaluator,
    }  # fmt: skip
    return Training(trainer, evaluator, loader, objects, plan.max_epochs)


def attach_evaluation(trainer, model, plateau):
    metrics = {"val_loss": Loss(torch.nn.functional.cross_entropy), "val_accuracy": Accuracy()}
    evaluator = create_supervised_evaluator(model, metrics)
    stopping = EarlyStopping(
        patience=1000,
        score_function=lambda engine: -engine.state.metrics["val_loss"],
        trainer=trainer,
        threshold=0.01,
    )
    evaluator.add_event_handler(Events.COMPLETED, stopping)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(24, 8, generator=generator)
    data = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=8)

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate(engine):
        plateau.step(evaluator.run(data).metrics["val_loss"])

    return evaluator


def attach_log(trainer, evaluator, log):
    @trainer.on(Events.STARTED)
    def start(engine):
        log.add("start", engine.state.iteration)

    @trainer.on(Events.ITERATION_COMPLETED)
    def iteration(engine):
        state = engine.state
        value = [
            state.epoch,
            state.batch[2].tolist(),
            state.output["loss"].hex(),
            state.metrics["running_loss"].hex(),
        ]
        log.add(state.iteration, value)

    @trainer.on(Events.EPOCH_COMPLETED)
    def epoch(engine):
        metrics = engine.state.metrics | evaluator.state.metrics
        log.add(
            f"epoch {engine.state.epoch}",
            {name: float(value).hex() for name, value in metrics.items()},
        )


def warm_up(folder):
    """Runs once what is imported when it is first used, so that forked processes need not. Leaves no thread behind."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for precision in ("bfloat16", "float16"):
            make_training(folder / precision, Plan(precision, max_epochs=1, background=False)).run()
    assert len(os.listdir("/proc/self/task")) == 1
