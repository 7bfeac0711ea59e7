"""A program of a user, for type checkers: ``scripts/check`` runs mypy on it, an integration test pyright.

Both report a wrong ``assert_type``, and an ``ignore`` without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import torch
from torch import Tensor, nn

import ignite
import ignite.distributed as idist
from ignite import History, Learner, metrics
from ignite.engine import (
    Engine,
    Events,
    State,
    create_supervised_evaluator,
    create_supervised_trainer,
)
from ignite.handlers import Checkpoint, EarlyStopping, TensorboardLogger, trackers
from ignite.metrics import Accuracy, Metric, RunningAverage


class Sum(Metric):
    """A metric of the user."""

    def reset(self) -> None:
        self._total = 0.0

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        self._total += output[0].sum().item()

    def compute(self) -> float:
        return self._total


class Lines:
    """A tracker of the user."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        self.lines.append(f"{step} {dict(values)}")

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        self.lines.append(f"{step} {name}")

    def close(self) -> None:
        pass


class CountedState(State):
    """A state with attributes of the user that have types."""

    num_tokens: int


def with_engines(folder: Path) -> list[str]:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy(), "sum": Sum()})
    assert_type(trainer, Engine[Any, Any])
    assert_type(trainer.state, State)
    assert_type(trainer.state.epoch, int)
    assert_type(trainer.state.epoch_length, int | None)
    assert_type(trainer.state.metrics, dict[str, Any])
    trainer.state.num_seen = 0  # the user's own
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
    data = [(torch.randn(4, 2), torch.tensor([0, 1, 0, 1])) for _ in range(3)]

    @trainer.on(Events.ITERATION_COMPLETED(every=2) | Events.EPOCH_COMPLETED)
    def count(engine: Engine) -> None:
        engine.state.num_seen += len(engine.state.batch[0])

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        assert_type(evaluator.run(data), State)

    stopping = EarlyStopping(3, lambda engine: float(engine.state.metrics["accuracy"]), trainer)
    evaluator.add_event_handler(Events.COMPLETED, stopping)
    saver = Checkpoint.of(trainer, folder / "checkpoints")
    trainer.logger.info("checkpoints: %s", saver.last_checkpoint)
    tracker = Lines()
    logger = trackers.TrackerLogger(tracker)
    logger.attach_output_handler(trainer, Events.EPOCH_COMPLETED, "train", metric_names=["loss"])
    with TensorboardLogger(folder / "events") as board:
        assert_type(board, TensorboardLogger)
        trainer.run(data, max_epochs=2, resume="latest")
    trainer.run(data, max_epoch=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    return tracker.lines


def with_learner() -> History:
    assert_type(ignite.Learner, type[Learner])
    learner = Learner(nn.Linear(2, 2), "cross_entropy", lr=0.1, metrics=["accuracy"])
    x = torch.randn(16, 2)
    history = learner.fit((x, (x[:, 0] > 0).long()), valid=0.25, epochs=2, progress=False)
    assert_type(history, History)
    assert_type(learner.trainer, Engine[Any, Any])
    assert_type(learner.evaluate((x, (x[:, 0] > 0).long())), dict[str, Any])
    learner.fit((x, x), epochs="2")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    return history


def other_names() -> None:
    assert_type(metrics.Accuracy(), Accuracy)
    assert_type(idist.get_rank(), int)
    state = CountedState(num_tokens=3)
    assert_type(state.num_tokens, int)
    engine: Engine[Tensor, float] = Engine(lambda engine, batch: batch.sum().item())
    assert_type(engine, Engine[Tensor, float])
