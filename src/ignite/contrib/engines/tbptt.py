"""Truncated backpropagation through time, for recurrent models on long sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ignite._core.trees import apply_to_tensor
from ignite.engine import (
    BackpropEvents,
    Engine,
    EventEnum,
    Events,
    _prepare_batch,
    create_supervised_trainer,
)

__all__ = ["Tbptt_Events", "create_supervised_tbptt_trainer"]


class Tbptt_Events(EventEnum):  # noqa: N801 - Ignite's name
    """Events within an iteration, for each chunk of the sequence."""

    TIME_ITERATION_STARTED = "time_iteration_started"
    """Fired before training on a chunk."""
    TIME_ITERATION_COMPLETED = "time_iteration_completed"
    """Fired after training on a chunk; ``state.output`` is its loss.

    ``Checkpoint.of`` supports this event.
    """


def create_supervised_tbptt_trainer(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], torch.Tensor] | torch.nn.Module,
    tbtt_step: int,
    dim: int = 0,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    *,
    amp_mode: str | None = None,
    scaler: Any = False,
    gradient_accumulation_steps: int = 1,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    amp_dtype: str | torch.dtype | None = None,
) -> Engine[Any, Any]:
    """Creates an engine that trains on chunks of a sequence, and passes on the hidden state.

    Gradients do not flow between chunks. Each chunk is a step of
    :func:`~ignite.engine.create_supervised_trainer`, with its
    :class:`~ignite.engine.BackpropEvents`. ``Checkpoint.of`` saves the model, optimizer, scaler,
    accumulated gradients and, between two chunks, the hidden state and the rest of the sequence.

    Args:
        model: called as ``model(x)`` for the first chunk and ``model(x, hidden)`` for the others;
            returns ``(y_pred, hidden)``, where ``hidden`` is a tensor or a nested container of
            tensors.
        optimizer: the optimizer.
        loss_fn: ``loss_fn(y_pred, y)``, returns a tensor with one element, or a
            :class:`~ignite.engine.CountedLoss`.
        tbtt_step: number of time steps per chunk, at least 1; the last chunk may be shorter.
        dim: the time dimension of ``x`` and ``y``.
        device: the device to move chunks to; None does not move them.
        non_blocking: whether copies from pinned memory are asynchronous.
        prepare_batch: ``prepare_batch((x, y), device=device, non_blocking=non_blocking)``, returns
            ``(x, y)``; called for each chunk.
        amp_mode: "amp" for autocast, None for full precision.
        scaler: with "amp", a ``GradScaler``, or True to create one as ``trainer.state.scaler``.
        gradient_accumulation_steps: number of chunks per optimizer step. The last chunk of a
            sequence always ends with a step.
        clip_grad_norm: maximum norm of all gradients.
        clip_grad_value: maximum absolute value of a gradient.
        amp_dtype: dtype of autocast; by default PyTorch's (float16 on CUDA, bfloat16 on CPU).

    Returns:
        An engine with :class:`Tbptt_Events`; its output is the mean loss of the chunks.

    Raises:
        ValueError: ``tbtt_step`` is less than 1, or another argument is out of range; or, during
            the run, the lengths of ``x`` and ``y`` differ.

    References:
        Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
        Network Trajectories", 1990, https://doi.org/10.1162/neco.1990.2.4.490
    """
    if tbtt_step < 1:
        raise ValueError(f"tbtt_step should be at least 1, but given {tbtt_step}")
    hidden = _Hidden()
    chunk_trainer: Engine[Any, Any] = create_supervised_trainer(
        model,
        optimizer,
        loss_fn,
        device,
        prepare_batch=_unchanged,
        amp_mode=amp_mode,
        scaler=scaler,
        gradient_accumulation_steps=gradient_accumulation_steps,
        model_fn=hidden.call,
        clip_grad_norm=clip_grad_norm,
        clip_grad_value=clip_grad_value,
        amp_dtype=amp_dtype,
    )
    step = _SequenceStep(
        chunk_trainer.step_function,
        hidden,
        tbtt_step,
        dim,
        lambda chunk: prepare_batch(chunk, device=device, non_blocking=non_blocking),
    )
    trainer: Engine[Any, Any] = Engine(step)
    trainer.register_events(*Tbptt_Events)
    trainer.register_events(*BackpropEvents)
    if hasattr(chunk_trainer.state, "scaler"):
        trainer.state.scaler = chunk_trainer.state.scaler
    # Runs first, because a run that was saved between two chunks must first finish the sequence.
    trainer.add_event_handler(Events.ITERATION_COMPLETED, step.finish, priority=float("inf"))
    return trainer


def _unchanged(batch: Any, **kwargs: Any) -> Any:
    return batch


class _Hidden:
    """The hidden state, which one chunk passes to the next."""

    def __init__(self) -> None:
        self.value: Any = None

    def call(self, model: Any, x: Any) -> Any:
        """Returns the output of the model for a chunk; stores the detached hidden state."""
        y_pred, hidden = model(x) if self.value is None else model(x, self.value)
        self.value = apply_to_tensor(hidden, torch.Tensor.detach)
        return y_pred


class _SequenceStep:
    """Step function that trains on the chunks of a sequence."""

    resumes_within = (Tbptt_Events.TIME_ITERATION_COMPLETED,)
    """Events at which ``Checkpoint.of`` may save the run; ``finish`` completes the iteration."""

    def __init__(
        self,
        step: Any,
        hidden: _Hidden,
        size: int,
        dim: int,
        prepare: Callable[[Any], tuple[Any, Any]],
    ) -> None:
        self._step = step
        self._hidden = hidden
        self._size = size
        self._dim = dim
        self._prepare = prepare
        self._rest: list[Any] = []
        """Remaining chunks of the current sequence."""
        self._losses: list[float] = []
        """Losses of the completed chunks."""
        self._is_inside = self._is_loaded = False

    def __call__(self, engine: Engine[Any, Any], batch: tuple[torch.Tensor, torch.Tensor]) -> Any:
        _check_lengths(*batch, self._dim)
        self._rest = list(
            zip(*(part.split(self._size, dim=self._dim) for part in batch), strict=True)
        )
        self._losses, self._hidden.value, self._is_loaded = [], None, False
        return self._train(engine)

    def finish(self, engine: Engine[Any, Any]) -> None:
        """Trains on the rest of a sequence, if the run was saved between two chunks."""
        if self._is_loaded:
            self._is_loaded = False
            engine.state.output = self._train(engine)
            engine.last_event_name = Events.ITERATION_COMPLETED

    def _train(self, engine: Engine[Any, Any]) -> Any:
        self._is_inside = True
        try:
            while self._rest:
                chunk = self._prepare(self._rest.pop(0))
                engine.fire_event(Tbptt_Events.TIME_ITERATION_STARTED)
                self._step.ends_window = not self._rest
                if self._losses:
                    self._step.stay_in_iteration()
                loss = self._step(engine, chunk)
                if loss is None:  # a handler skipped the iteration
                    return None
                engine.state.output = loss
                self._losses.append(loss)
                engine.fire_event(Tbptt_Events.TIME_ITERATION_COMPLETED)
            return sum(self._losses) / len(self._losses)
        finally:
            self._is_inside, self._hidden.value = False, None

    def parts(self) -> dict[str, Any]:
        """Returns the objects to save with a run, by name."""
        return {**self._step.parts(), "sequence": self}

    @property
    def num_accumulated(self) -> int:
        """Number of chunks whose gradients are accumulated."""
        return int(self._step.num_accumulated)

    def state_dict(self) -> dict[str, Any]:
        """Returns the hidden state, the losses and the remaining chunks, if between two chunks."""
        if not self._is_inside:
            return {"is_inside": False}
        rest = [list(chunk) for chunk in self._rest]
        return {
            "is_inside": True,
            "rest": rest,
            "losses": list(self._losses),
            "hidden": self._hidden.value,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state; the rest of its sequence is trained on in :meth:`finish`."""
        self._is_loaded = state_dict["is_inside"]
        if self._is_loaded:
            self._rest = [tuple(chunk) for chunk in state_dict["rest"]]
            self._losses = list(state_dict["losses"])
            self._hidden.value = state_dict["hidden"]


def _check_lengths(x: torch.Tensor, y: torch.Tensor, dim: int) -> None:
    if x.shape[dim] != y.shape[dim]:
        raise ValueError(
            f"x and y should have the same length in dimension {dim}, "
            f"but given shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
