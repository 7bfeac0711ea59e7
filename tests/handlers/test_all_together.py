"""All handlers that a program may have at once, stopped anywhere and continued: all positions agree."""

import csv
import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import (
    Checkpoint,
    CosineAnnealingScheduler,
    CSVLogger,
    EarlyStopping,
    EMAHandler,
    EpochOutputStore,
    JSONLLogger,
    LambdaStateScheduler,
    LRScheduler,
    NoImprovementHandler,
    ParamGroupScheduler,
    PiecewiseLinear,
    ProgressBar,
    ReduceLROnPlateauScheduler,
    RunProfiler,
    SpikeGuard,
    SWAHandler,
    create_lr_scheduler_with_warmup,
    global_step_from_engine,
)
from ignite.metrics import Loss, MeanSquaredError, RunningAverage
from ignite.testing import Run, assert_resume_is_exact

EPOCH_LENGTH = 4
NUM_EPOCHS = 3


class Lines:
    """What is in the files of the loggers, without the time of day."""

    def __init__(self, folder):
        self.folder = folder

    def state_dict(self):
        found = {}
        for path in sorted(self.folder.glob("log.*")):
            text = path.read_text()
            if path.suffix == ".csv":
                rows = list(csv.DictReader(text.splitlines()))
            else:
                rows = [json.loads(line) for line in text.splitlines()[1:]]
            found[path.name] = [
                {name: value for name, value in row.items() if name != "time"} for row in rows
            ]
        return found

    def load_state_dict(self, state):
        raise AssertionError("files are not written by a checkpoint")


def make_run(folder, save_at):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
    groups = [
        {"params": model[0].parameters()},
        {"params": model[3].parameters()},
        {"params": model[1].parameters()},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    x = torch.randn(30, 3)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8, shuffle=True)
    trainer = create_supervised_trainer(
        model, optimizer, nn.MSELoss(), gradient_accumulation_steps=2
    )
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "running")
    ema, swa = (
        EMAHandler(model, momentum=0.3, momentum_warmup=0.9, warmup_iters=5),
        SWAHandler(model),
    )
    ema.attach(trainer)
    swa.attach(trainer)
    evaluator = create_supervised_evaluator(
        ema.ema_model, metrics={"mse": MeanSquaredError(), "loss": Loss(nn.MSELoss())}
    )

    warmup = create_lr_scheduler_with_warmup(
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), 0.0, 3
    )
    momentum = ParamGroupScheduler(
        [
            CosineAnnealingScheduler(optimizer, "momentum", 0.9, 0.5, 5, param_group_index=0),
            PiecewiseLinear(optimizer, "momentum", [(2, 0.9), (9, 0.1)], param_group_index=1),
        ]
    )
    trainer.add_event_handler(Events.ITERATION_STARTED, warmup)
    trainer.add_event_handler(Events.ITERATION_STARTED, momentum)
    LambdaStateScheduler(lambda event: 1 / event, "temperature", create_new=True).attach(trainer)
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    decay = LRScheduler(torch.optim.lr_scheduler.StepLR(other, 2))
    trainer.add_event_handler(Events.EPOCH_STARTED, decay)
    plateau = ReduceLROnPlateauScheduler(
        optimizer, "mse", trainer, param_group_index=2, patience=0, factor=0.5
    )
    evaluator.add_event_handler(Events.COMPLETED, plateau)

    score = lambda engine: -engine.state.metrics["mse"]  # noqa: E731
    stopper = EarlyStopping(patience=4, score_function=score, trainer=trainer)
    evaluator.add_event_handler(Events.COMPLETED, stopper)
    stalls = []
    evaluator.add_event_handler(
        Events.COMPLETED,
        NoImprovementHandler(1, score, lambda engine: stalls.append(engine.state.iteration)),
    )
    SpikeGuard(window=4, threshold=1e6).attach(trainer)
    store = EpochOutputStore()
    store.attach(trainer, "losses")
    RunProfiler().attach(trainer)
    ProgressBar().attach(trainer, output_transform=lambda loss: {"loss": loss})

    loggers = [JSONLLogger(folder / "log.jsonl"), CSVLogger(folder / "log.csv")]
    for logger in loggers:
        logger.attach_output_handler(
            trainer,
            Events.ITERATION_COMPLETED,
            tag="train",
            output_transform=lambda loss: {"loss": loss},
        )
        logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED, optimizer)
        logger.attach_output_handler(
            evaluator,
            Events.COMPLETED,
            tag="valid",
            metric_names="all",
            global_step_transform=global_step_from_engine(trainer),
        )
        trainer.add_event_handler(Events.COMPLETED, logger.close)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(loader))
    Checkpoint.of(
        trainer,
        folder,
        event=Events.ITERATION_COMPLETED(every=save_at),
        background=False,
        other=other,
    )
    objects = {
        "model": model,
        "optimizer": optimizer,
        "ema": ema,
        "swa": swa,
        "stopper": stopper,
        "files": Lines(folder),
    }
    objects |= {
        "files": Lines(folder),
        "warmup": warmup,
        "momentum": momentum,
        "decay": decay,
        "plateau": plateau,
        "evaluator": evaluator,
    }
    return Run(trainer, loader, objects, max_epochs=NUM_EPOCHS)


@pytest.mark.parametrize("save_at", [1, 3])
def test_stopped_anywhere_and_gone_on_with(save_at, capsys):
    points = range(
        save_at, EPOCH_LENGTH * NUM_EPOCHS + 1
    )  # before, there is no checkpoint, and files are appended to
    resumptions = assert_resume_is_exact(lambda folder: make_run(folder, save_at), at=points)
    assert resumptions == [(point, point - point % save_at) for point in points]
