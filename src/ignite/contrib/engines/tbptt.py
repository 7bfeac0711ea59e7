"""Training of recurrent models on long sequences: truncated back-propagation through time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ignite._core.tensors import apply_to_tensor
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
    """Moments within an iteration: one chunk of the sequence."""

    TIME_ITERATION_STARTED = "time_iteration_started"
    """A chunk is about to be trained on."""
    TIME_ITERATION_COMPLETED = "time_iteration_completed"
    """A chunk has been trained on; ``state.output`` is its loss.

    ``Checkpoint.of`` can save a run here.
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
    """Makes an engine that trains on a sequence in chunks, and carries the hidden state from one to the next.

    Gradients do not flow from chunk to chunk. Each chunk is a step as of
    :func:`~ignite.engine.create_supervised_trainer`, with its :class:`~ignite.engine.BackpropEvents`. What a saved run
    needs is found: model, optimizer, scaler, gradients of a window that is not full, and, between
    two chunks, the hidden state and the rest of the sequence.

    Args:
        model: called as ``model(x)`` on the first chunk and ``model(x, hidden)`` on the others;
            returns ``(y_pred, hidden)``, where ``hidden`` is a tensor or a nested container of
            tensors.
        optimizer: updates the model's parameters.
        loss_fn: ``loss_fn(y_pred, y)``, a tensor of one element, or a
            :class:`~ignite.engine.CountedLoss`.
        tbtt_step: time steps in a chunk, at least 1; the last chunk takes what is left.
        dim: the dimension of time in ``x`` and ``y``.
        device: where to move the chunks; None leaves them.
        non_blocking: return before a copy from pinned memory has ended.
        prepare_batch: ``prepare_batch((x, y), device=device, non_blocking=non_blocking) -> (x,
            y)``, for each chunk.
        amp_mode: "amp" for autocast, None for full precision.
        scaler: for "amp": a ``GradScaler``, or True to have one made and put at
            ``trainer.state.scaler``.
        gradient_accumulation_steps: chunks between two steps of the optimizer. A sequence that ends
            in the middle of such a window ends with a step.
        clip_grad_norm: the largest norm of all gradients together.
        clip_grad_value: the largest absolute value of a single gradient.
        amp_dtype: what autocast computes in; by default torch's choice (float16 on CUDA, bfloat16
            on CPU).

    Returns:
        An engine that knows :class:`Tbptt_Events`; its output is the mean loss of the chunks.

    Raises:
        ValueError: ``tbtt_step`` is less than 1, or another argument is out of range; or, in the
            run, ``x`` and ``y`` are not equally long.

    References:
        Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
        Network Trajectories", 1990, https://doi.org/10.1162/neco.1990.2.4.490
    """
    if tbtt_step < 1:
        raise ValueError(f"tbtt_step should be at least 1, but given {tbtt_step}")
    hidden = _Hidden()
    of_chunks: Engine[Any, Any] = create_supervised_trainer(
        model, optimizer, loss_fn, device, prepare_batch=_as_it_is, amp_mode=amp_mode, scaler=scaler,
        gradient_accumulation_steps=gradient_accumulation_steps, model_fn=hidden.call, clip_grad_norm=clip_grad_norm,
        clip_grad_value=clip_grad_value, amp_dtype=amp_dtype,
    )  # fmt: skip
    step = _SequenceStep(
        of_chunks.step_function,
        hidden,
        tbtt_step,
        dim,
        lambda chunk: prepare_batch(chunk, device=device, non_blocking=non_blocking),
    )
    trainer: Engine[Any, Any] = Engine(step)
    trainer.register_events(*Tbptt_Events)
    trainer.register_events(*BackpropEvents)
    if hasattr(of_chunks.state, "scaler"):
        trainer.state.scaler = of_chunks.state.scaler  # type: ignore[attr-defined]
    # Before all others: a run that was saved between two chunks has yet to be trained on the rest
    # of the sequence.
    trainer.add_event_handler(Events.ITERATION_COMPLETED, step.finish, priority=float("inf"))
    return trainer


def _as_it_is(batch: Any, **kwargs: Any) -> Any:
    return batch


class _Hidden:
    """The hidden state that one chunk hands to the next."""

    def __init__(self) -> None:
        self.value: Any = None

    def call(self, model: Any, x: Any) -> Any:
        """The model's output for a chunk; keeps the hidden state, cut off from the graph."""
        y_pred, hidden = model(x) if self.value is None else model(x, self.value)
        self.value = apply_to_tensor(hidden, torch.Tensor.detach)
        return y_pred


class _SequenceStep:
    """Trains on the chunks of a sequence, one after the other."""

    resumes_within = (Tbptt_Events.TIME_ITERATION_COMPLETED,)
    """Events in an iteration at which ``Checkpoint.of`` may save the run: ``finish`` completes the iteration."""

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
        """Chunks that are left of the sequence at hand."""
        self._losses: list[float] = []
        """Of the chunks that are done."""
        self._is_inside = self._is_loaded = False

    def __call__(self, engine: Engine[Any, Any], batch: tuple[torch.Tensor, torch.Tensor]) -> Any:
        _check_lengths(*batch, self._dim)
        self._rest = list(
            zip(*(part.split(self._size, dim=self._dim) for part in batch), strict=True)
        )
        self._losses, self._hidden.value, self._is_loaded = [], None, False
        return self._train(engine)

    def finish(self, engine: Engine[Any, Any]) -> None:
        """Trains on the rest of a sequence, if the run was saved in the midst of it."""
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
                if loss is None:  # a handler leaves the iteration out
                    return None
                engine.state.output = loss
                self._losses.append(loss)
                engine.fire_event(Tbptt_Events.TIME_ITERATION_COMPLETED)
            return sum(self._losses) / len(self._losses)
        finally:
            self._is_inside, self._hidden.value = False, None

    def parts(self) -> dict[str, Any]:
        """What belongs to a run and has a state, by name."""
        return {**self._step.parts(), "sequence": self}

    @property
    def num_accumulated(self) -> int:
        """Chunks in the window so far."""
        return int(self._step.num_accumulated)

    def state_dict(self) -> dict[str, Any]:
        """Between two chunks, the hidden state, the losses so far and the rest of the sequence; else nothing."""
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
        """Goes on with the rest of a sequence, at the end of the iteration that it belongs to."""
        self._is_loaded = state_dict["is_inside"]
        if self._is_loaded:
            self._rest = [tuple(chunk) for chunk in state_dict["rest"]]
            self._losses = list(state_dict["losses"])
            self._hidden.value = state_dict["hidden"]


def _check_lengths(x: torch.Tensor, y: torch.Tensor, dim: int) -> None:
    if x.shape[dim] != y.shape[dim]:
        raise ValueError(
            f"x and y should be equally long in dimension {dim}, but given shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
