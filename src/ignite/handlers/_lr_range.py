"""A run with a growing learning rate, of which nothing is left afterwards but a curve."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from ignite import distributed as idist
from ignite._core.seeding import capture_random_state, restore_random_state
from ignite.engine import Engine, Events, together
from ignite.handlers._schedules import param_groups

__all__ = ["RangeTest", "everything_kept", "set_rates", "steepest_descent"]


@dataclass(eq=False)
class RangeTest:
    """The handlers that make a run a test."""

    decides_together: ClassVar[bool] = True

    optimizer: Optimizer
    starts: list[float]
    ends: list[float]
    is_exponential: bool
    num_iter: int | None
    output_transform: Callable[[Any], Any]
    smoothing: float
    limit: float
    """How many times the lowest loss is a divergence."""
    lrs: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: float = math.inf
    is_diverged: bool = False

    @contextlib.contextmanager
    def on(self, trainer: Engine[Any, Any]) -> Iterator[None]:
        handles = [
            trainer.add_event_handler(Events.STARTED, self._extend),
            trainer.add_event_handler(Events.ITERATION_STARTED, self._set_rate, priority=float("-inf")),
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._observe),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _extend(self, engine: Engine[Any, Any]) -> None:
        state = engine.state
        if self.num_iter is None:
            if state.max_iters is None and (state.epoch_length is None or state.max_epochs is None):
                raise ValueError("num_iter should be given, because the length of the data is not known")
            self.num_iter = state.max_iters or (state.epoch_length or 0) * (state.max_epochs or 0)
        elif state.max_iters is not None:
            state.max_iters = max(state.max_iters, self.num_iter)
        elif state.epoch_length is not None and state.max_epochs is not None:
            state.max_epochs = max(state.max_epochs, math.ceil(self.num_iter / state.epoch_length))

    def _set_rate(self) -> None:
        done, num_iter = len(self.losses), self.num_iter or 1
        rates = [
            start * (end / start) ** ((done + 1) / num_iter)
            if self.is_exponential
            else start + (end - start) * done / num_iter
            for start, end in zip(self.starts, self.ends, strict=True)
        ]
        set_rates(self.optimizer, rates)
        self.lrs.append(rates)

    def _observe(self, engine: Engine[Any, Any]) -> None:
        losses = self.losses
        loss = _as_number(self.output_transform(engine.state.output))
        if idist.get_world_size() > 1 and together.is_everywhere(engine, self):
            loss = float(idist.all_reduce(loss)) / idist.get_world_size()
        if losses:
            loss = self.smoothing * loss + (1 - self.smoothing) * losses[-1]
        losses.append(loss)
        self.best = min(self.best, loss) if math.isfinite(loss) else self.best
        if not math.isfinite(loss) or loss > self.limit * self.best:
            self.is_diverged = True
            engine.terminate()
        elif len(losses) == self.num_iter:
            engine.terminate()


@contextlib.contextmanager
def everything_kept(trainer: Engine[Any, Any], to_save: Mapping[str, Any]) -> Iterator[None]:
    """Restores the objects, the state of the trainer and the random generators at the end of the block."""
    states = {name: copy.deepcopy(one.state_dict()) for name, one in to_save.items()}
    random = capture_random_state()
    try:
        with trainer.state_kept():
            yield
    finally:
        for name, one in to_save.items():
            one.load_state_dict(states[name])
        restore_random_state(random)


def set_rates(optimizer: Optimizer, rates: list[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        param_groups.write(group, "lr", rate)


def _as_number(loss: Any) -> float:
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(
                "if output of the engine is torch.Tensor, then it should be 0d torch.Tensor or 1d torch.Tensor with 1 "
                f"element, but given shape {tuple(loss.shape)}: pick the loss with output_transform"
            )
        return float(loss.detach())
    if isinstance(loss, bool) or not isinstance(loss, int | float):
        raise TypeError(
            f"output of the engine should be of type float or 0d torch.Tensor, but given {type(loss).__name__}: pick "
            "the loss with output_transform"
        )
    return float(loss)


def steepest_descent(losses: Sequence[float]) -> int | None:
    """Where the loss falls most from the point before to the point after, among those before its minimum."""
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    lowest = finite.index(min(finite))
    before = torch.tensor(finite[: lowest + 1], dtype=torch.float64)
    if len(before) < 3:
        return None
    falls = torch.gradient(before)[0]
    return int(falls.argmin())
