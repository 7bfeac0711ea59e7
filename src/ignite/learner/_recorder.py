"""What is written down while a learner trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ignite._core import clock
from ignite.engine import Engine
from ignite.learner.history import History

__all__ = ["Recorder", "loss_of"]

_MAX_PENDING = 4096


def loss_of(output: Any) -> Any:
    """The loss in what a step returns: a number, a tensor of one element, or the entry "loss"; else None."""
    if isinstance(output, Tensor):  # the usual case: an abstract class takes its time to say no
        if output.numel() != 1:
            return None
        return output.detach() if output.requires_grad else output
    if isinstance(output, Mapping):
        return loss_of(output.get("loss"))
    return output if isinstance(output, int | float) else None


class Recorder:
    """Fills a history: losses stay on an accelerator until the epoch is over, or some thousand have come together.

    Attributes:
        history: what is being filled.
    """

    def __init__(self) -> None:
        self._watch = clock.Stopwatch()
        self.begin(History(), None)

    def begin(self, history: History, evaluator: Engine[Any, Any] | None) -> None:
        """A training begins.

        Args:
            history: to be filled.
            evaluator: runs in each epoch, before this; or None.
        """
        self.history = history
        self._evaluator = evaluator
        self._pending: list[Any] = []
        self._num_before = 0

    def begin_epoch(self, engine: Engine[Any, Any]) -> None:
        """An epoch begins, or the rest of one."""
        self._watch.restart()
        self._num_before = len(self.history.steps)

    def note_step(self, engine: Engine[Any, Any]) -> None:
        """A step is over, and its loss is in what it returned, if anywhere."""
        loss = loss_of(engine.state.output)
        if loss is not None:
            self.note(loss)

    def note(self, loss: Any) -> None:
        """The loss of a step: a number, or a tensor of one element that needs no gradient."""
        if isinstance(loss, Tensor) and loss.is_cpu:
            loss = loss.item()  # nobody waits for it, and many small tensors scatter the memory of the large ones
        self._pending.append(loss)
        if len(self._pending) >= _MAX_PENDING:
            self._settle()

    def end_epoch(self, engine: Engine[Any, Any]) -> None:
        """Adds a row."""
        self._settle()
        losses = self.history.steps[self._num_before :]
        row: dict[str, Any] = {"epoch": engine.state.epoch}
        if losses:
            row["loss"] = math.fsum(losses) / len(losses)
        if self._evaluator is not None:
            found = self._evaluator.state.metrics
            row |= {f"valid_{name}": value for name, value in numbers_in(found).items()}
        self.history.add({**row, "seconds": round(self._watch.elapsed(), 3)})

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        tensors = [loss.reshape(()) for loss in pending if isinstance(loss, Tensor)]
        if tensors:
            device = tensors[0].device
            read = iter(torch.stack([loss.to(device) for loss in tensors]).tolist())  # waits for the device once
            pending = [next(read) if isinstance(loss, Tensor) else loss for loss in pending]
        self.history.steps += map(float, pending)

    def state_dict(self) -> dict[str, Any]:
        """The history, and where in it the epoch at hand began."""
        self._settle()
        return {"history": self.history.state_dict(), "num_before": self._num_before}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from what was saved."""
        self._pending = []
        self.history.load_state_dict(state_dict["history"])
        self._num_before = state_dict["num_before"]


def numbers_in(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of the metrics that are single numbers."""
    found = {}
    for name, value in metrics.items():
        if (isinstance(value, Tensor) and value.numel() == 1) or isinstance(value, int | float):
            found[name] = float(value)
    return found
