"""The program of ``ignite demo``: trains on handwritten digits within a minute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import torch
from torch import nn

from ignite._core.optional import import_optional
from ignite.handlers import Preemption
from ignite.learner.learner import Learner

__all__ = ["demo"]


def make_net() -> nn.Module:
    """A small convolutional network for images of 8 x 8 pixels, shape (N, 64)."""
    return nn.Sequential(
        *(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 2 * 2, 10)),
    )


def demo(folder: Path, epochs: int, out: TextIO) -> int:
    """Trains on the digits that come with scikit-learn.

    Another call resumes a run that was stopped.

    Args:
        folder: folder of the run.
        epochs: number of epochs.
        out: stream to which the result is written.

    Returns:
        The exit code: 0, or 130 if Ctrl-C has stopped the run, or 1 if scikit-learn is missing.
    """
    try:
        digits = import_optional("sklearn.datasets", extra="demo").load_digits()
    except ModuleNotFoundError as error:
        sys.stderr.write(f"ignite demo: {error}\n")
        return 1
    torch.manual_seed(0)
    learner = Learner(
        make_net(),
        loss="cross_entropy",
        optimizer="adamw",
        lr=2e-3,
        metrics=["accuracy", "f1"],
        clip_grad_norm=5.0,
    )
    preemption = Preemption(raise_exit=False)
    preemption.attach(learner.trainer)
    history = learner.fit(
        (digits.data.astype("float32") / 16, digits.target), valid=0.2, epochs=epochs, batch_size=64,
        schedule="cosine", warmup=0.1, monitor="valid_accuracy", run_dir=folder, resume="latest", progress=True,
    )  # fmt: skip
    out.write(f"The task is {learner.task}.\n\n{history}\n\n")
    if preemption.received:
        out.write(
            f"Stopped after {learner.trainer.state.iteration} steps. Run it again to resume.\n"
        )
        return 128 + preemption.received
    best = history.best("valid_accuracy", "max")
    out.write(
        f"Best accuracy on {round(0.2 * len(digits.target))} held-out digits: "
        f"{best['valid_accuracy']:.4f} (epoch {best['epoch']})\n  best weights     "
        f"learner.load('{folder / 'checkpoints' / 'best.pt'}')\n  configuration    "
        f"{folder / 'run.json'}\n  all checkpoints  ignite doctor {folder / 'checkpoints'}\n  "
        f"curves           tensorboard --logdir {folder / 'tensorboard'}\n  program          "
        "ignite/learner/_demo.py; with engines and handlers: examples/digits.py\n"
    )
    return 0
