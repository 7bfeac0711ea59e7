"""Keep a NaN or a jump of the loss from the weights: leave the step out, go back to the last good state, or raise."""

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
from ignite.handlers._last_good import LastGood
from ignite.handlers._spikes import SpikeDetector
from ignite.storage import Note, open_place, save

__all__ = ["SpikeGuard"]

_MAX_FILES = 100
_FIRST, _LAST = math.inf, -math.inf  # priorities among the handlers of an event


class SpikeGuard(Serializable):
    """Looks at each loss before the optimizer steps, and acts if it is NaN, infinite, or far above those before it.

    Far above means more than ``threshold`` robust standard deviations above the median of the last good losses. For
    trainers made by ``create_supervised_trainer``, the gradients are looked at, too: a NaN or infinity among them is an
    incident. With a gradient scaler they are not, because leaving out such steps is its business. Losses are
    looked at as they are before scaling.

    Each incident is logged as a warning, with the loss and what is done:

    - "skip": what remains of the iteration is left out; under gradient accumulation the batch adds nothing to its
      window. Weights and optimizer stay as they are. The forward pass has been done, however: running statistics, as
      of batch normalization, have seen the batch.
    - "rollback": ``objects`` are put back to the last copy in memory that a good loss has followed, and the run goes on
      with the *next* batch, its counters as they are. The random number generators go back with them, if the copy is of
      the same epoch; then the run is what it would have been without the batches in between.
    - "raise": FloatingPointError, before anything is changed.

    Looking at a loss waits for its device: the price of acting in time. With ``attach(..., check_every=n)`` it is paid
    in each n-th iteration only; what reaches the weights in between is undone by "rollback" alone.

    Args:
        objects: for "rollback", what goes back, by name: model, optimizer, scaler, averages, and schedulers if they are
            to go back as well. Two copies of their states are kept on the host.
        policy: what to do.
        window: how many good losses to compare with. The first 20 (or ``window``) are only asked to be finite.
        threshold: robust standard deviations above the median; infinity to look for NaN and infinity only.
        every: for "rollback", iterations between two copies.
        max_in_a_row: how many incidents to put up with in a row, before FloatingPointError is raised. A row ends with a
            good loss; for "rollback", with a new copy that is known to be good.
        folder: where to save each batch that was bad, with ``loss`` (or the largest gradient), ``iteration`` and
            ``epoch``, to look into; the first 100 of them. Not the folder of the checkpoints.
            ``torch.load(file, weights_only=True)`` reads them.
        output_transform: picks the loss from ``engine.state.output``, for engines with a step function of their own.

    Raises:
        ValueError: an argument is out of range, or "rollback" has no objects.
        FloatingPointError: during the run, under "raise", or when there are too many incidents in a row. With
            "rollback" the objects are back at the copy by then.

    State:
        The window and the counts, not the copies: a resumed run begins with one of what it has loaded.

    Distributed:
        Attach it on every process. One bad loss anywhere counts for all: they take the same decision in the same
        iteration, with one collective for each look. Only those save the batch that had the bad loss.

    Example:
        >>> from ignite.engine import create_supervised_trainer
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
        >>> guard = SpikeGuard({"model": model, "optimizer": optimizer}, policy="rollback", every=10)
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
            raise ValueError(f"policy should be 'skip', 'rollback' or 'raise', but given {policy!r}")
        if policy == "rollback" and not objects:
            raise ValueError(f"objects should be what goes back, such as model and optimizer, but given {objects!r}")
        for name, number in (("every", every), ("max_in_a_row", max_in_a_row)):
            if number < 1:
                raise ValueError(f"{name} should be at least 1, but given {number}")
        self.policy = policy
        self.every = every
        self.max_in_a_row = max_in_a_row
        self.folder = folder
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self.num_in_a_row = 0
        """Incidents in the row at hand."""
        self.num_skipped = 0
        """Iterations that were left out, in all; for engines with events around the backward pass."""
        self.num_rollbacks = 0
        """How often the objects were put back, in all."""
        self._output_transform = output_transform
        self._detector = SpikeDetector(window, threshold, min(20, window))
        self._last_good = LastGood({**(objects or {}), "losses of the guard": self._detector})
        self._counted_from = 0
        self._num_saved = 0

    def attach(self, engine: Engine[Any, Any], *, check_every: int = 1) -> None:
        """Guards ``engine``.

        Args:
            engine: one made by ``create_supervised_trainer``; or any other, for "rollback" and "raise": its loss is
                looked at when its iteration is completed.
            check_every: look at each so many-th loss only.

        Raises:
            ValueError: the step of ``engine`` cannot be left out in time.
        """
        if isinstance(engine.step_function, TrainingStep):
            engine.register_events(*BackpropEvents)
            loss_is_known = _each(BackpropEvents.BACKWARD_STARTED, check_every)
            gradients_are_final = _each(BackpropEvents.OPTIM_STEP_STARTED, check_every)
            engine.add_event_handler(loss_is_known, self._check_loss, priority=_FIRST)
            engine.add_event_handler(gradients_are_final, self._check_gradients, priority=_FIRST)
        elif self.policy == "skip":
            raise ValueError(
                "policy should be 'rollback' or 'raise' for an engine whose step was not made by "
                "create_supervised_trainer: its optimizer has stepped when the loss is known, but given 'skip'. Or do "
                "not attach the guard, and write in the step, before the backward pass: "
                "if guard.check(engine, loss): return"
            )
        else:
            is_completed = _each(Events.ITERATION_COMPLETED, check_every)
            engine.add_event_handler(is_completed, self._check_output, priority=_FIRST)
        if self.policy == "rollback":
            engine.add_event_handler(Events.STARTED, self._last_good.forget, priority=_FIRST)
            engine.add_event_handler(Events.ITERATION_STARTED, self._copy_first, priority=_LAST)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._copy_if_due, priority=_LAST)

    def check(self, engine: Engine[Any, Any], loss: Tensor | float) -> bool:
        """Looks at a loss, and acts. For step functions of one's own, between loss and backward pass.

        Args:
            engine: the one whose step this is.
            loss: a number, or a tensor of one element.

        Returns:
            Whether the loss is bad, and the step function should return.
        """
        value = float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
        is_bad_here = self._detector.is_spike(value)
        if not idist.all_reduce(int(is_bad_here), "MAX"):
            self._detector.accept(value)
            if self._last_good.confirm() or self.policy != "rollback":
                self.num_in_a_row = 0
            return False
        score = self._detector.score(value)
        words = f"the loss is {value:g}"
        if math.isfinite(score):
            words += f", {score:.1f} robust standard deviations above the median {self._detector.center:g}"
        self._act(engine, words, value, is_bad_here)
        return True

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]  # a plain dictionary will do
        """The counts, and the window of good losses."""
        counts = {name: getattr(self, name) for name in ("num_in_a_row", "num_skipped", "num_rollbacks")}
        return counts | self._detector.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on with counts and a window that were saved.

        Raises:
            TypeError: it is not a mapping.
            ValueError: a key is missing, or a value is impossible. Nothing is changed.
        """
        super().load_state_dict(state_dict)
        counts = {name: state_dict[name] for name in ("num_in_a_row", "num_skipped", "num_rollbacks")}
        for name, count in counts.items():
            if not isinstance(count, int) or count < 0:
                raise ValueError(f"{name} should be an integer, at least 0, but given {count!r}")
        self._detector.load_state_dict(state_dict)
        for name, count in counts.items():
            setattr(self, name, count)

    def _check_loss(self, engine: Engine[Any, Any]) -> None:
        self.check(engine, engine.step_function.loss)  # type: ignore[attr-defined]  # seen to when attached

    def _check_output(self, engine: Engine[Any, Any]) -> None:
        self.check(engine, self._output_transform(engine.state.output))

    def _check_gradients(self, engine: Engine[Any, Any]) -> None:
        step: Any = engine.step_function
        scaler = getattr(step.precision, "scaler", None)
        if scaler is not None and scaler.is_enabled():
            return
        gradients = [p.grad for group in step.optimizer.param_groups for p in group["params"] if p.grad is not None]
        dense = [grad.coalesce().values() if grad.is_sparse else grad for grad in gradients]
        filled = [grad for grad in dense if grad.numel() > 0]
        largest = float(torch.nn.utils.get_total_norm(filled, norm_type=math.inf))  # NaN if there is one
        is_bad_here = not math.isfinite(largest)
        if idist.all_reduce(int(is_bad_here), "MAX"):
            self._act(engine, f"the largest gradient is {largest:g}", largest, is_bad_here)

    def _act(self, engine: Engine[Any, Any], words: str, value: float, is_bad_here: bool) -> None:
        self.num_in_a_row += 1
        words = f"iteration {engine.state.iteration}: {words}" + (
            "" if is_bad_here else "; it is bad in another process"
        )
        if self.folder is not None and is_bad_here:
            self._save_batch(engine, value)
        if self.policy == "rollback":
            words += self._roll_back(engine)
        if self.policy == "raise":
            raise FloatingPointError(words)
        if self.num_in_a_row > self.max_in_a_row:
            raise FloatingPointError(
                f"{words}. These are {self.num_in_a_row} incidents in a row, more than max_in_a_row={self.max_in_a_row}"
            )
        self.logger.warning(
            "%s. The batch is left out (%d in a row, at most %d)", words, self.num_in_a_row, self.max_in_a_row
        )
        if engine.last_event_name != Events.ITERATION_COMPLETED:
            self.num_skipped += 1
            engine.skip_iteration()

    def _roll_back(self, engine: Engine[Any, Any]) -> str:
        state, step = engine.state, engine.step_function
        moment = self._last_good.put_back(state.epoch)
        self._counted_from = state.iteration
        self.num_rollbacks += 1
        if isinstance(step, TrainingStep):
            step.num_accumulated = 0  # gradients of weights that are no more
        return f"; back to iteration {moment.iteration}"

    def _copy_first(self, engine: Engine[Any, Any]) -> None:
        if self._last_good.good is None:
            self._copy(engine, engine.state.iteration - 1)

    def _copy_if_due(self, engine: Engine[Any, Any]) -> None:
        if engine.state.iteration - self._counted_from >= self.every:
            self._copy(engine, engine.state.iteration)

    def _copy(self, engine: Engine[Any, Any], iteration: int) -> None:
        self._last_good.take(iteration, engine.state.epoch)
        self._counted_from = iteration

    def _save_batch(self, engine: Engine[Any, Any], value: float) -> None:
        state, rank = engine.state, idist.get_rank()
        if self._num_saved >= _MAX_FILES or self.folder is None:
            return
        self._num_saved += 1
        name = f"batch_{state.iteration}" + (f"_rank_{rank}" if idist.get_world_size() > 1 else "") + ".pt"
        content = {"batch": state.batch, "loss": value, "iteration": state.iteration, "epoch": state.epoch}
        try:
            save(open_place(self.folder), name, content, Note(step=state.iteration, epoch=state.epoch, family="batch"))
        except (OSError, TypeError) as error:  # a full disk, a batch of the user's own class: no reason to end a run
            self.logger.warning("The batch of iteration %d could not be saved: %s", state.iteration, error)


def _each(event: Any, every: int) -> Any:
    """A filter makes an engine save how often the event was fired: none where none is needed."""
    return event if every == 1 else event(every=every)
