"""What is written down while a learner trains."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ignite import distributed as idist
from ignite._core import clock
from ignite.engine import Engine
from ignite.learner._loss import num_samples
from ignite.learner.history import History

__all__ = ["Recorder", "loss_of", "numbers_in", "values_in"]

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

    def begin(self, history: History, evaluator: Engine[Any, Any] | None, measured: Collection[str] = ()) -> None:
        """A training begins.

        Args:
            history: to be filled.
            evaluator: runs in each epoch, before this; or None.
            measured: names of metrics of the trainer, over the batches that it trains on.
        """
        self.history = history
        self._evaluator = evaluator
        self._measured = measured
        self._pending: list[Any] = []
        self._num_before = 0
        self._sums: list[tuple[float, float]] = []
        self._is_open = False
        self._has_stepped = False

    def __getstate__(self) -> dict[str, Any]:
        """For copies: without the evaluator, which is of one training."""
        return {**vars(self), "_evaluator": None}

    @property
    def has_trained(self) -> bool:
        """Whether a step was done since the training began."""
        return self._has_stepped or bool(self._pending or self.history.steps or self.history.epochs)

    def begin_epoch(self, engine: Engine[Any, Any]) -> None:
        """An epoch begins, or the rest of one."""
        self._watch.restart()
        self._num_before = len(self.history.steps)
        self._sums = []
        self._is_open, self._has_stepped = True, False

    def note_step(self, engine: Engine[Any, Any]) -> None:
        """A step is over, and its loss, taken for a mean over the samples, is in what it returned, if anywhere."""
        self._has_stepped = True
        loss = loss_of(engine.state.output)
        if loss is not None:
            self.note(loss, num_samples(engine.state.batch))

    def note(self, loss: Any, num_counted: Any = 1, is_sum: bool = False) -> None:
        """The loss of a step.

        Args:
            loss: a number, or a tensor of one element that needs no gradient.
            num_counted: how many elements it is the mean of, a number or a tensor of one element.
            is_sum: whether it is their sum.
        """
        if isinstance(loss, Tensor) and loss.is_cpu:
            loss = loss.item()  # nobody waits for it, and many small tensors scatter the memory of the large ones
        self._pending.append((loss, num_counted, is_sum))
        if len(self._pending) >= _MAX_PENDING:
            self._settle()

    def end_epoch(self, engine: Engine[Any, Any]) -> None:
        """Adds a row. On several processes, all of them have to call it."""
        found = {name: engine.state.metrics[name] for name in self._measured if name in engine.state.metrics}
        row = self._row(engine, is_shared=True) | numbers_in(found)
        if self._evaluator is not None:
            found = self._evaluator.state.metrics
            row |= {f"valid_{name}": value for name, value in numbers_in(found).items()}
        self._close(row)

    def end_early(self, engine: Engine[Any, Any]) -> None:
        """Adds a row of the steps of an epoch that is broken off. If the run goes on, the whole epoch replaces it.

        The loss is that of this process: the others may have failed.
        """
        row = self._row(engine, is_shared=False)
        if self._is_open and (self._has_stepped or "loss" in row):
            self._close(row)

    def _row(self, engine: Engine[Any, Any], is_shared: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"epoch": engine.state.epoch}
        self._settle()
        sums = self._sums
        if is_shared and idist.get_world_size() > 1:
            sums = [pair for pairs in idist.all_gather(sums) for pair in pairs]
        if sums:
            num_counted = math.fsum(count for _, count in sums)
            row["loss"] = math.fsum(total for total, _ in sums) / num_counted if num_counted else math.nan
        return row

    def _close(self, row: dict[str, Any]) -> None:
        if self.history.epochs and self.history.epochs[-1]["epoch"] == row["epoch"]:
            self.history.epochs.pop()
        self.history.add({**row, "seconds": round(self._watch.elapsed(), 3)})
        self._is_open = False

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        read = iter(_read([one for loss, count, _ in pending for one in (loss, count) if isinstance(one, Tensor)]))
        for loss, count, is_sum in pending:
            loss = next(read) if isinstance(loss, Tensor) else float(loss)
            count = next(read) if isinstance(count, Tensor) else count
            self.history.steps.append(loss)
            self._sums.append((loss if is_sum else loss * count, count))

    def state_dict(self) -> dict[str, Any]:
        """The history, where in it the epoch at hand began, and what its loss is made of, on this process.

        No collective: a state is also taken on one process alone. Of an epoch that several processes resume in its
        midst, the loss has what the first one had before, and what all have after it.
        """
        self._settle()
        sums = [list(pair) for pair in self._sums]
        return {"history": self.history.state_dict(), "num_before": self._num_before, "sums": sums}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from what was saved."""
        self._pending = []
        self.history.load_state_dict(state_dict["history"])
        self._num_before = state_dict["num_before"]
        steps = self.history.steps[self._num_before :]
        sums = state_dict.get("sums", [(loss, 1) for loss in steps])  # files of earlier versions have none
        self._sums = [(total, count) for total, count in sums] if idist.get_rank() == 0 else []


def _read(tensors: list[Tensor]) -> list[float]:
    """Their values; waits for the device once."""
    if not tensors:
        return []
    device = tensors[0].device
    wide = torch.float32 if device.type == "mps" else torch.float64
    values: list[float] = torch.stack([tensor.reshape(()).to(device, wide) for tensor in tensors]).tolist()
    return values


def numbers_in(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of the metrics that are single numbers."""
    return {name: float(value) for name, value in metrics.items() if _is_number(value)}


def values_in(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """All metrics: single numbers as such, and what has a value for each class, say, as it is."""
    return {name: float(value) if _is_number(value) else value for name, value in metrics.items()}


def _is_number(value: Any) -> bool:
    if isinstance(value, numbers.Real):
        return True
    return getattr(value, "ndim", None) is not None and math.prod(value.shape) == 1  # of torch, or of numpy
