"""Protection against NaN and loss spikes: skips the step, rolls back, or raises."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ignite import distributed as idist
from ignite.base import Serializable, Stateful
from ignite.engine import BackpropEvents, Engine, Events
from ignite.engine.extension import TrainingStep
from ignite.handlers._guards.spikes import RollbackStates, SpikeDetector
from ignite.storage import Note, open_place, save

__all__ = ["SpikeGuard"]

_MAX_FILES = 100
_FIRST, _LAST = math.inf, -math.inf  # priorities among the handlers of an event


class SpikeGuard(Serializable):
    """Checks each loss before the optimizer step, and acts if it is NaN, infinite or a spike.

    A spike is more than ``threshold`` robust standard deviations above the median of the last good
    losses. For trainers of ``create_supervised_trainer``, gradients are checked for NaN and
    infinity, too, except with a gradient scaler, which skips such steps itself. Losses are checked
    before scaling.

    Each incident is logged as a warning, with the loss and the action:

    - "skip": the rest of the iteration is skipped; with gradient accumulation, the batch
      contributes nothing. Weights and optimizer do not change. The forward pass has already run, so
      running statistics, as of batch normalization, include the batch.
    - "rollback": ``objects`` are restored from the last copy that a good loss has confirmed, and
      the run continues with the *next* batch; its counters are unchanged. If the copy is from the
      same epoch, the random state is restored, too: the run continues as if the batches in between
      did not exist.
    - "raise": raises FloatingPointError before anything changes.

    Each check synchronizes with the device. With ``attach(..., check_every=n)``, only every n-th
    iteration is checked; only "rollback" undoes what reaches the weights in between.

    Args:
        objects: for "rollback", the objects to restore, by name: model, optimizer, scaler, averages
            and, if wanted, schedulers. Two copies of their states are kept in host memory.
        policy: the action.
        window: number of good losses to compare with. The first 20 (or ``window``) only have to be
            finite.
        threshold: robust standard deviations above the median; inf checks for NaN and infinity
            only.
        every: for "rollback", number of iterations between copies.
        max_in_a_row: maximum number of consecutive incidents; one more raises FloatingPointError. A
            good loss resets the count; for "rollback", a new confirmed copy does.
        folder: if given, the first 100 bad batches are saved here for inspection, with ``loss`` (or
            the largest gradient), ``iteration`` and ``epoch``. Must differ from the checkpoint
            folder. Read them with ``torch.load(file, weights_only=True)``.
        output_transform: selects the loss from ``engine.state.output``, for engines with a custom
            step function.

    Raises:
        ValueError: an argument is out of range, or "rollback" has no objects.
        FloatingPointError: during the run, with "raise", or after too many consecutive incidents.
            With "rollback", the objects are restored first.

    State:
        The window and the counts, not the copies: a resumed run starts with a copy of the loaded
        state.

    Distributed:
        Attach it on all ranks. A bad loss on one rank counts for all: they act in the same
        iteration, with one collective per check. Only ranks with a bad loss save the batch.

    Example:
        >>> from ignite.engine import create_supervised_trainer
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
        >>> objects = {"model": model, "optimizer": optimizer}
        >>> guard = SpikeGuard(objects, policy="rollback", every=10)
        >>> guard.attach(trainer)
        >>> good, bad = torch.ones(2, 1), torch.full((2, 1), float("nan"))
        >>> trainer.run([(good, good), (bad, good), (good, good)]).iteration, guard.num_rollbacks
        (3, 1)
        >>> bool(model.weight.isfinite())
        True
    """

    needs_all_processes = "SpikeGuard"
    _state_dict_all_req_keys = ("num_in_a_row", "num_skipped", "num_rollbacks", "losses")

    def __init__(
        self,
        objects: Mapping[str, Stateful] | None = None,
        *,
        policy: Literal["skip", "rollback", "raise"] = "skip",
        window: int = 100,
        threshold: float = 8.0,
        every: int = 100,
        max_in_a_row: int = 10,
        folder: str | Path | None = None,
        output_transform: Callable[[Any], Any] = lambda output: output,
    ) -> None:
        if policy not in ("skip", "rollback", "raise"):
            raise ValueError(
                f"policy should be 'skip', 'rollback' or 'raise', but given {policy!r}"
            )
        if policy == "rollback" and not objects:
            raise ValueError(
                "objects should be the objects to restore, such as model and optimizer, "
                f"but given {objects!r}"
            )
        for name, number in (("every", every), ("max_in_a_row", max_in_a_row)):
            if number < 1:
                raise ValueError(f"{name} should be at least 1, but given {number}")
        self.policy = policy
        self.every = every
        self.max_in_a_row = max_in_a_row
        self.folder = folder
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self.num_in_a_row = 0
        """Number of consecutive incidents."""
        self.num_skipped = 0
        """Total number of skipped iterations; for engines with events around the backward pass."""
        self.num_rollbacks = 0
        """Total number of rollbacks."""
        self._output_transform = output_transform
        self._detector = SpikeDetector(window, threshold, min(20, window))
        self._rollback = RollbackStates({**(objects or {}), "losses of the guard": self._detector})
        self._counted_from = 0
        self._num_saved = 0

    def attach(self, engine: Engine[Any, Any], *, check_every: int = 1) -> None:
        """Guards ``engine``.

        Args:
            engine: a trainer of ``create_supervised_trainer``; for "rollback" and "raise", also any
                other engine, whose loss is checked at the end of the iteration.
            check_every: check only every n-th loss.

        Raises:
            ValueError: the step of ``engine`` cannot be skipped in time.
        """
        if isinstance(engine.step_function, TrainingStep):
            engine.register_events(*BackpropEvents)
            loss_is_known = _filtered(BackpropEvents.BACKWARD_STARTED, check_every)
            gradients_are_final = _filtered(BackpropEvents.OPTIM_STEP_STARTED, check_every)
            engine.add_event_handler(loss_is_known, self._check_loss, priority=_FIRST)
            engine.add_event_handler(gradients_are_final, self._check_gradients, priority=_FIRST)
        elif self.policy == "skip":
            raise ValueError(
                "policy should be 'rollback' or 'raise' for an engine with a custom step function, "
                "but given 'skip': the optimizer has already stepped when the loss is known. "
                "To skip, do not attach the guard, but call it in the step function before the "
                "backward pass: if guard.check(engine, loss): return"
            )
        else:
            is_completed = _filtered(Events.ITERATION_COMPLETED, check_every)
            engine.add_event_handler(is_completed, self._check_output, priority=_FIRST)
        if self.policy == "rollback":
            engine.add_event_handler(Events.STARTED, self._rollback.clear, priority=_FIRST)
            engine.add_event_handler(
                Events.ITERATION_STARTED, self._copy_initial_state, priority=_LAST
            )
            engine.add_event_handler(
                Events.ITERATION_COMPLETED, self._copy_state_if_due, priority=_LAST
            )

    def check(self, engine: Engine[Any, Any], loss: Tensor | float) -> bool:
        """Checks a loss, and acts. For custom step functions, between loss and backward pass.

        Args:
            engine: the engine of this step.
            loss: a number, or a tensor with one element.

        Returns:
            Whether the loss is bad; the step function should then return.
        """
        value = float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
        is_bad_here = self._detector.is_spike(value)
        if not idist.all_reduce(int(is_bad_here), "MAX"):
            self._detector.accept(value)
            if self._rollback.confirm() or self.policy != "rollback":
                self.num_in_a_row = 0
            return False
        score = self._detector.score(value)
        message = f"the loss is {value:g}"
        if math.isfinite(score):
            message += (
                f", {score:.1f} robust standard deviations above the median "
                f"{self._detector.center:g}"
            )
        self._handle_incident(engine, message, value, is_bad_here)
        return True

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]  # not an OrderedDict
        """Returns the counts and the window of good losses."""
        counts = {
            name: getattr(self, name) for name in ("num_in_a_row", "num_skipped", "num_rollbacks")
        }
        return counts | self._detector.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores saved counts and losses.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: a key is missing, or a value is invalid. Nothing is changed.
        """
        super().load_state_dict(state_dict)
        counts = {
            name: state_dict[name] for name in ("num_in_a_row", "num_skipped", "num_rollbacks")
        }
        for name, count in counts.items():
            if not isinstance(count, int) or count < 0:
                raise ValueError(f"{name} should be an integer, at least 0, but given {count!r}")
        self._detector.load_state_dict(state_dict)
        for name, count in counts.items():
            setattr(self, name, count)

    def _check_loss(self, engine: Engine[Any, Any]) -> None:
        self.check(engine, engine.step_function.loss)  # type: ignore[attr-defined]

    def _check_output(self, engine: Engine[Any, Any]) -> None:
        self.check(engine, self._output_transform(engine.state.output))

    def _check_gradients(self, engine: Engine[Any, Any]) -> None:
        step: Any = engine.step_function
        scaler = getattr(step.precision, "scaler", None)
        if scaler is not None and scaler.is_enabled():
            return
        gradients = [
            p.grad
            for group in step.optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        dense = [grad.coalesce().values() if grad.is_sparse else grad for grad in gradients]
        filled = [grad for grad in dense if grad.numel() > 0]
        largest = float(torch.nn.utils.get_total_norm(filled, norm_type=math.inf))
        is_bad_here = not math.isfinite(largest)
        if idist.all_reduce(int(is_bad_here), "MAX"):
            self._handle_incident(
                engine, f"the largest gradient is {largest:g}", largest, is_bad_here
            )

    def _handle_incident(
        self, engine: Engine[Any, Any], message: str, value: float, is_bad_here: bool
    ) -> None:
        self.num_in_a_row += 1
        message = f"iteration {engine.state.iteration}: {message}" + (
            "" if is_bad_here else "; it is bad on another rank"
        )
        if self.folder is not None and is_bad_here:
            self._save_batch(engine, value)
        if self.policy == "rollback":
            message += self._roll_back(engine)
        if self.policy == "raise":
            raise FloatingPointError(message)
        if self.num_in_a_row > self.max_in_a_row:
            raise FloatingPointError(
                f"{message}. These are {self.num_in_a_row} consecutive incidents, more than "
                f"max_in_a_row={self.max_in_a_row}"
            )
        self.logger.warning(
            "%s. The batch is skipped (%d in a row, at most %d)",
            message,
            self.num_in_a_row,
            self.max_in_a_row,
        )
        if engine.last_event_name != Events.ITERATION_COMPLETED:
            self.num_skipped += 1
            engine.skip_iteration()

    def _roll_back(self, engine: Engine[Any, Any]) -> str:
        state, step = engine.state, engine.step_function
        saved = self._rollback.restore(state.epoch)
        self._counted_from = state.iteration
        self.num_rollbacks += 1
        if isinstance(step, TrainingStep):
            step.num_accumulated = 0  # gradients of weights that were rolled back
        return f"; rolled back to iteration {saved.iteration}"

    def _copy_initial_state(self, engine: Engine[Any, Any]) -> None:
        if self._rollback.good is None:
            self._copy_state(engine, engine.state.iteration - 1)

    def _copy_state_if_due(self, engine: Engine[Any, Any]) -> None:
        if engine.state.iteration - self._counted_from >= self.every:
            self._copy_state(engine, engine.state.iteration)

    def _copy_state(self, engine: Engine[Any, Any], iteration: int) -> None:
        self._rollback.capture(iteration, engine.state.epoch)
        self._counted_from = iteration

    def _save_batch(self, engine: Engine[Any, Any], value: float) -> None:
        state, rank = engine.state, idist.get_rank()
        if self._num_saved >= _MAX_FILES or self.folder is None:
            return
        self._num_saved += 1
        name = (
            f"batch_{state.iteration}"
            + (f"_rank_{rank}" if idist.get_world_size() > 1 else "")
            + ".pt"
        )
        content = {
            "batch": state.batch,
            "loss": value,
            "iteration": state.iteration,
            "epoch": state.epoch,
        }
        try:
            save(
                open_place(self.folder),
                name,
                content,
                Note(step=state.iteration, epoch=state.epoch, family="batch"),
            )
        except (OSError, TypeError) as error:
            # A full disk or a custom batch class must not end the run.
            self.logger.warning("Cannot save the batch of iteration %d: %s", state.iteration, error)


def _filtered(event: Any, every: int) -> Any:
    """Filters an event, unless ``every`` is 1: a filter adds a counter to the engine."""
    return event if every == 1 else event(every=every)
