"""Training of recurrent models on long sequences: truncated back-propagation through time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ignite._core.tensors import apply_to_tensor
from ignite.engine import Engine, EventEnum
from ignite.engine._steps import _prepare_batch

__all__ = ["Tbptt_Events", "create_supervised_tbptt_trainer"]


class Tbptt_Events(EventEnum):  # noqa: N801 - Ignite's name
    """Moments within an iteration: one chunk of the sequence."""

    TIME_ITERATION_STARTED = "time_iteration_started"
    """A chunk is about to be trained on."""
    TIME_ITERATION_COMPLETED = "time_iteration_completed"
    """A chunk has been trained on; ``state.output`` is its loss."""


def create_supervised_tbptt_trainer(
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], torch.Tensor] | torch.nn.Module,
    tbtt_step: int,
    dim: int = 0,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
) -> Engine[Any, Any]:
    """Makes an engine that trains on a sequence in chunks, and carries the hidden state from one to the next.

    Gradients do not flow from chunk to chunk; the optimizer steps after each.

    Args:
        model: called as ``model(x)`` on the first chunk and ``model(x, hidden)`` on the others; returns
            ``(y_pred, hidden)``, where ``hidden`` is a tensor or a nested container of tensors.
        optimizer: updates the model's parameters.
        loss_fn: ``loss_fn(y_pred, y)``, a tensor of one element.
        tbtt_step: time steps in a chunk, at least 1; the last chunk takes what is left.
        dim: the dimension of time in ``x`` and ``y``.
        device: where to move the chunks; None leaves them.
        non_blocking: return before a copy from pinned memory has ended.
        prepare_batch: ``prepare_batch((x, y), device=device, non_blocking=non_blocking) -> (x, y)``, for each chunk.

    Returns:
        An engine that knows :class:`Tbptt_Events`; its output is the mean loss of the chunks.

    Raises:
        ValueError: ``tbtt_step`` is less than 1; or, in the run, ``x`` and ``y`` are not equally long.

    References:
        Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
        Trajectories", 1990, https://doi.org/10.1162/neco.1990.2.4.490
    """
    if tbtt_step < 1:
        raise ValueError(f"tbtt_step should be at least 1, but given {tbtt_step}")

    def step(engine: Engine[Any, Any], batch: tuple[torch.Tensor, torch.Tensor]) -> float:
        losses: list[float] = []
        hidden: Any = None
        _check_lengths(*batch, dim)
        for chunk in zip(*(part.split(tbtt_step, dim=dim) for part in batch), strict=True):
            x, y = prepare_batch(chunk, device=device, non_blocking=non_blocking)
            engine.fire_event(Tbptt_Events.TIME_ITERATION_STARTED)
            model.train()
            optimizer.zero_grad()
            if hidden is None:
                y_pred, hidden = model(x)
            else:
                y_pred, hidden = model(x, apply_to_tensor(hidden, torch.Tensor.detach))
            loss = loss_fn(y_pred, y)
            loss.backward()
            optimizer.step()
            engine.state.output = loss.item()
            losses.append(engine.state.output)
            engine.fire_event(Tbptt_Events.TIME_ITERATION_COMPLETED)
        return sum(losses) / len(losses)

    trainer: Engine[Any, Any] = Engine(step)
    trainer.register_events(*Tbptt_Events)
    return trainer


def _check_lengths(x: torch.Tensor, y: torch.Tensor, dim: int) -> None:
    if x.shape[dim] != y.shape[dim]:
        raise ValueError(
            f"x and y should be equally long in dimension {dim}, but given shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
