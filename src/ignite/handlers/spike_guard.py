"""Protection against NaN and loss spikes: skips the step, rolls back, or raises."""

import copy
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ignite import distributed as idist
from ignite._core.rng import RandomState, capture_random_state, restore_random_state
from ignite.base import Serializable, Stateful
from ignite.engine import BackpropEvents, Engine, Events
from ignite.engine.extension import TrainingStep
from ignite.storage import Note, open_place, save
from ignite.storage.snapshot import Snapshot, decode_objects

__all__ = [
    "SpikeGuard",
]

# Factors to the standard deviation of a normal distribution.
_FROM_MEDIAN_DEVIATION = 1.4826  # from the median absolute deviation
_FROM_MEAN_DEVIATION = 1.2533  # from the mean absolute deviation
_SMALLEST_SCALE = 0.01  # lower limit of the standard deviation, as a fraction of the median


class SpikeDetector:
    """Detects losses that are far above the last good ones.

    The score of a loss is its distance above the median of the window, in robust standard
    deviations: ``(x - median) / (1.4826 * MAD)``, where MAD is the median absolute deviation. If
    more than half of the window is the same number, the mean absolute deviation takes its place.
    The standard deviation is at least 1 % of the median. In a window of zeros, every finite loss
    scores 0.

    NaN and infinity are always spikes. A loss below the median never is.

    Args:
        window: number of recent good losses to compare with.
        threshold: a loss with a higher score is a spike; infinity detects NaN and infinity only.
        min_samples: number of losses needed for a comparison; before, every finite loss scores 0.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> detector = SpikeDetector(min_samples=3)
        >>> for loss in (1.0, 1.1, 0.9):
        ...     detector.accept(loss)
        >>> detector.is_spike(2.5), detector.is_spike(2.0), detector.is_spike(float("nan"))
        (True, False, True)
    """

    def __init__(self, window: int = 100, threshold: float = 8.0, min_samples: int = 20) -> None:
        if window < 2:
            raise ValueError(f"window should be at least 2, but given {window}")
        if not threshold > 0:
            raise ValueError(f"threshold should be greater than 0, but given {threshold}")
        if not 2 <= min_samples <= window:
            raise ValueError(
                f"min_samples should be from 2 to window={window}, but given {min_samples}"
            )
        self.threshold = threshold
        self.min_samples = min_samples
        self._losses: deque[float] = deque(maxlen=window)

    def score(self, loss: float) -> float:
        """Returns the distance of ``loss`` above the median, in robust standard deviations.

        Returns inf for NaN and infinity.
        """
        if not math.isfinite(loss):
            return math.inf
        if len(self._losses) < self.min_samples:
            return 0.0
        center = median(self._losses)
        distances = [abs(known - center) for known in self._losses]
        spread = _FROM_MEDIAN_DEVIATION * median(distances) or _FROM_MEAN_DEVIATION * fmean(
            distances
        )
        scale = max(spread, _SMALLEST_SCALE * abs(center))
        return (loss - center) / scale if scale > 0 else 0.0

    def is_spike(self, loss: float) -> bool:
        """Whether ``loss`` is NaN, infinite or far above the good losses. Changes nothing."""
        return not math.isfinite(loss) or self.score(loss) > self.threshold

    def accept(self, loss: float) -> None:
        """Adds a good loss to the window."""
        self._losses.append(loss)

    @property
    def center(self) -> float:
        """The median of the window; NaN while it is empty."""
        return median(self._losses) if self._losses else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Returns the losses of the window."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the window; keeps the newest losses of a longer one.

        Raises:
            ValueError: the losses are not a list of finite numbers. Nothing is changed.
        """
        losses: Sequence[Any] = state_dict["losses"]
        are_numbers = isinstance(losses, list | tuple) and all(
            isinstance(loss, int | float) for loss in losses
        )
        if not are_numbers or not all(map(math.isfinite, losses)):
            raise ValueError(f"losses should be a list of finite numbers, but given {losses!r}")
        self._losses = deque(map(float, losses), maxlen=self._losses.maxlen)


class SavedState(NamedTuple):
    """States of objects between two iterations."""

    iteration: int
    """The last completed iteration."""
    epoch: int
    states: Mapping[str, Any]
    random: RandomState


class RollbackStates:
    """Copies of objects in host memory: the last good copy, and a newer unconfirmed one.

    A copy taken after an iteration holds weights that no loss was computed with yet. The previous
    copy is kept until the new one is confirmed.

    Args:
        objects: the objects to copy and restore.
    """

    def __init__(self, objects: Mapping[str, Stateful]) -> None:
        self._objects = dict(objects)
        self._snapshot = Snapshot()
        self.good: SavedState | None = None
        self.newest: SavedState | None = None

    def capture(self, iteration: int, epoch: int) -> None:
        """Copies the states of all objects and the random state. The first copy counts as good.

        Raises:
            TypeError: the state of an object cannot be copied; the message names the place.
        """
        self.newest = None  # its memory is reused
        states = self._snapshot.take(
            {name: one.state_dict() for name, one in self._objects.items()}
        )
        saved = SavedState(iteration, epoch, states, capture_random_state())
        if self.good is None:
            self.good = saved
        else:
            self.newest = saved

    def confirm(self) -> bool:
        """Marks the newest copy as good. Returns whether there was an unconfirmed copy."""
        if self.newest is None:
            return False
        self.good, self.newest = self.newest, None
        return True

    def restore(self, epoch: int) -> SavedState:
        """Restores all objects from the good copy, and drops a newer one.

        The random state is restored, too, unless a new epoch has started since: its sample order
        may depend on the random state, and would be drawn again.
        """
        if self.good is None:
            raise RuntimeError(
                "Cannot roll back: no copy has been taken. Attach the guard to the engine"
            )
        self.newest = None
        for name, one in self._objects.items():
            # Optimizers keep the tensors that they load, and would modify the copy.
            one.load_state_dict(decode_objects(copy.deepcopy(self.good.states[name])))
        if self.good.epoch == epoch:
            restore_random_state(self.good.random)
        return self.good

    def clear(self) -> None:
        """Drops all copies."""
        self.good = self.newest = None


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
