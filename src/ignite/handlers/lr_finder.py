"""Learning rate range test: finds the learning rates at which the loss falls and diverges."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from ignite import distributed as idist
from ignite._core.old_arguments import OldOrder, takes_old
from ignite._core.optional import import_optional
from ignite._core.rng import capture_random_state, restore_random_state
from ignite.engine import Engine, Events, together
from ignite.handlers._schedules import param_groups

__all__ = ["FastaiLRFinder"]


class FastaiLRFinder:
    """Trains for some iterations with an increasing learning rate, and suggests a learning rate.

    Use it in a ``with`` block, which restores the objects in ``to_save``, the trainer and the
    random state on exit, also after an error. Overrides schedulers that are attached to the
    trainer. Reads the loss in each iteration, which synchronizes with the device.

    Example::

        finder = FastaiLRFinder()
        with finder.attach(trainer, to_save={"model": model, "optimizer": optimizer}) as training:
            training.run(loader)
        finder.plot()
        finder.apply_suggested_lr(optimizer)
        trainer.run(loader, max_epochs=10)

    Distributed:
        Attached on all ranks, it uses the mean of their losses, with one collective per iteration.
        Attached on some ranks only, each uses its own loss.

    References:
        Smith, "Cyclical learning rates for training neural networks", 2017,
        https://arxiv.org/abs/1506.01186
    """

    def __init__(self) -> None:
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self._lrs: list[list[float]] = []
        self._losses: list[float] = []

    @property
    def _history(self) -> dict[str, list[Any]]:
        """The results so far, for programs that read this name of Ignite."""
        return self.get_results() if self._losses else {}

    @takes_old(
        OldOrder(
            "trainer to_save output_transform num_iter end_lr step_mode smooth_f diverge_th",
            lambda values: len(values) > 5 and isinstance(values[5], str),
        )
    )
    @contextlib.contextmanager
    def attach(  # noqa: PLR0913 - Ignite's signature
        self,
        trainer: Engine[Any, Any],
        to_save: Mapping[str, Any],
        output_transform: Callable[[Any], Any] = lambda output: output,
        num_iter: int | None = None,
        start_lr: float | list[float] | None = None,
        end_lr: float | list[float] | None = 10.0,
        step_mode: str = "exp",
        smooth_f: float = 0.05,
        diverge_th: float = 5.0,
    ) -> Iterator[Engine[Any, Any]]:
        """Turns runs of ``trainer`` within the block into a range test.

        Args:
            trainer: the trainer.
            to_save: the objects that training changes, by name; the optimizer is ``"optimizer"``.
            output_transform: selects the loss, a number or a tensor with one element, from
                ``trainer.state.output``.
            num_iter: number of iterations from the first learning rate to the last; by default
                those of the call of ``run``. A larger number extends the run by further epochs; in
                a longer run, one more iteration follows, as in Ignite, with a rate above ``end_lr``.
            start_lr: the initial learning rate, or one per parameter group; by default those of the
                optimizer.
            end_lr: the learning rate of the last iteration, or one per parameter group.
            step_mode: "exp" increases the learning rate exponentially, "linear" linearly.
            smooth_f: weight of the latest loss in the smoothed loss, in [0, 1).
            diverge_th: the test ends when the loss exceeds the lowest loss times this factor, or is
                not finite. At least 1.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: an argument is out of range.
        """
        optimizer = _check(to_save, num_iter, step_mode, smooth_f, diverge_th)
        starts = _rates(
            start_lr, [float(group["lr"]) for group in optimizer.param_groups], "start_lr"
        )
        ends = _rates(end_lr, [10.0] * len(starts), "end_lr")
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            raise ValueError(f"start_lr must be less than end_lr, but given {starts} and {ends}")
        is_exponential = step_mode == "exp"
        test = _RangeTest(
            optimizer,
            starts,
            ends,
            is_exponential,
            num_iter,
            output_transform,
            smoothing=smooth_f,
            limit=diverge_th,
        )
        self._lrs, self._losses = test.lrs, test.losses
        with _restored(trainer, to_save), test.on(trainer):
            yield trainer
        if not test.is_diverged:
            warnings.warn(
                "Run completed without loss diverging, increase end_lr, decrease diverge_th or look"
                " at lr_finder.plot()",
                stacklevel=3,
            )

    def get_results(self) -> dict[str, list[Any]]:
        """Returns ``{"lr": [...], "loss": [...]}`` with one value per iteration.

        With several parameter groups, each learning rate is a list.
        """
        return {
            "lr": [rates if len(rates) > 1 else rates[0] for rates in self._lrs],
            "loss": list(self._losses),
        }

    def lr_suggestion(self) -> Any:
        """Returns the learning rate with the steepest fall of the loss before its minimum.

        With several parameter groups, it is a list.

        Raises:
            RuntimeError: the test has not been run, or the loss has fewer than three values up to
                its minimum.
        """
        if not self._losses:
            raise RuntimeError(
                "learning rate finder didn't run yet so lr_suggestion can't be returned"
            )
        steepest = _steepest_descent(self._losses)
        if steepest is None:
            raise RuntimeError(
                "FastaiLRFinder got unexpected curve shape, the curve should be somehow U-shaped, "
                "please decrease start_lr or increase end_lr to resolve this issue"
            )
        rates = self._lrs[steepest]
        return rates if len(rates) > 1 else rates[0]

    def apply_suggested_lr(self, optimizer: Optimizer) -> None:
        """Sets the suggested learning rate in an optimizer.

        Raises:
            RuntimeError: see :meth:`lr_suggestion`; or the number of parameter groups differs.
        """
        suggestion = self.lr_suggestion()
        rates = suggestion if isinstance(suggestion, list) else [suggestion]
        if len(rates) != len(optimizer.param_groups):
            raise RuntimeError(
                f"The number of parameter groups does not match: {len(rates)} in the test and "
                f"{len(optimizer.param_groups)} in the optimizer"
            )
        _set_rates(optimizer, rates)

    def plot(
        self,
        skip_start: int = 10,
        skip_end: int = 5,
        log_lr: bool = True,
        display_suggestion: bool = True,
        ax: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        """Plots the loss over the learning rate of the first parameter group.

        Args:
            skip_start: number of iterations to skip at the start.
            skip_end: number of iterations to skip at the end.
            log_lr: whether the learning rate axis is logarithmic.
            display_suggestion: whether to mark the suggested learning rate.
            ax: matplotlib axes; by default, new ones are created.
            **kwargs: passed to ``ax.plot``.

        Returns:
            The axes.

        Raises:
            ValueError: ``skip_start`` or ``skip_end`` is negative.
            RuntimeError: the test has not been run.
            ModuleNotFoundError: matplotlib is not installed.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        for name, skip in (("skip_start", skip_start), ("skip_end", skip_end)):
            if skip < 0:
                raise ValueError(f"{name} cannot be negative, but given {skip}")
        if not self._losses:
            raise RuntimeError("learning rate finder didn't run yet so results can't be plotted")
        axes = pyplot.subplots()[1] if ax is None else ax
        stop = len(self._losses) - skip_end
        rates = [rates[0] for rates in self._lrs]
        axes.plot(rates[skip_start:stop], self._losses[skip_start:stop], **kwargs)
        steepest = _steepest_descent(self._losses) if display_suggestion else None
        if steepest is not None:
            axes.scatter(
                rates[steepest],
                self._losses[steepest],
                color="red",
                zorder=3,
                label=f"suggested {rates[steepest]:.3g}",
            )
            axes.legend()
        if log_lr:
            axes.set_xscale("log")
        axes.set_xlabel("Learning rate")
        axes.set_ylabel("Loss")
        return axes


def _check(
    to_save: Any, num_iter: Any, step_mode: str, smooth_f: float, diverge_th: float
) -> Optimizer:
    if not isinstance(to_save, Mapping):
        raise TypeError(f"Argument to_save should be a mapping, but given {type(to_save).__name__}")
    for one in to_save.values():
        for method in ("state_dict", "load_state_dict"):
            if not hasattr(one, method):
                raise TypeError(f"Object {type(one)} should have `{method}` method")
    if "optimizer" not in to_save:
        raise ValueError(
            f"Mapping to_save should contain 'optimizer' key, but given {list(to_save)}"
        )
    if not isinstance(to_save["optimizer"], Optimizer):
        raise TypeError(
            "Object to_save['optimizer'] should be torch optimizer, "
            f"but given {type(to_save['optimizer'])}"
        )
    if not 0 <= smooth_f < 1:
        raise ValueError(f"smooth_f is outside the range [0, 1): {smooth_f}")
    if not diverge_th >= 1:
        raise ValueError(f"diverge_th should be larger than 1, but given {diverge_th}")
    if step_mode not in ("exp", "linear"):
        raise ValueError(f"step_mode should be 'exp' or 'linear', but given {step_mode!r}")
    if num_iter is not None and (not isinstance(num_iter, int) or isinstance(num_iter, bool)):
        raise TypeError(f"if provided, num_iter should be an integer, but given {num_iter!r}")
    if num_iter is not None and num_iter < 1:
        raise ValueError(f"if provided, num_iter should be positive, but given {num_iter}")
    optimizer: Optimizer = to_save["optimizer"]
    return optimizer


def _rates(given: Any, default: list[float], name: str) -> list[float]:
    if given is None:
        return default
    values = (
        list(given)
        if isinstance(given, Sequence) and not isinstance(given, str)
        else [given] * len(default)
    )
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise TypeError(f"{name} should be a float or list of floats, but given {given!r}")
    if len(values) != len(default):
        raise ValueError(
            f"Number of values of {name} should be equal to optimizer values, {len(default)}, "
            f"but given {len(values)}"
        )
    if any(not 0 < value < math.inf for value in values):
        raise ValueError(f"{name} should be positive and finite, but given {given!r}")
    return [float(value) for value in values]


@dataclass(eq=False)
class _RangeTest:
    """Handlers that turn a run into a range test."""

    decides_together: ClassVar[bool] = True

    optimizer: Optimizer
    starts: list[float]
    ends: list[float]
    is_exponential: bool
    num_iter: int | None
    output_transform: Callable[[Any], Any]
    smoothing: float
    limit: float
    """A loss above this multiple of the lowest loss counts as divergence."""
    lrs: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: float = math.inf
    is_diverged: bool = False
    num_extra: int = 0
    """Iterations after the last planned one: one if the run is longer, as in Ignite."""

    @contextlib.contextmanager
    def on(self, trainer: Engine[Any, Any]) -> Iterator[None]:
        handles = [
            trainer.add_event_handler(Events.STARTED, self._extend),
            trainer.add_event_handler(
                Events.ITERATION_STARTED, self._set_rate, priority=float("-inf")
            ),
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._observe),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _extend(self, engine: Engine[Any, Any]) -> None:
        state = engine.state
        planned = state.max_iters or (state.epoch_length or 0) * (state.max_epochs or 0)
        self.num_extra = int(self.num_iter is not None and planned > self.num_iter)
        if self.num_iter is None:
            if state.max_iters is None and (state.epoch_length is None or state.max_epochs is None):
                raise ValueError(
                    "num_iter should be given if the data has no known length, but given None"
                )
            self.num_iter = planned
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
        _set_rates(self.optimizer, rates)
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
        elif len(losses) == (self.num_iter or 0) + self.num_extra:
            engine.terminate()


@contextlib.contextmanager
def _restored(trainer: Engine[Any, Any], to_save: Mapping[str, Any]) -> Iterator[None]:
    """Restores the trainer, the objects and the random state after the block."""
    states = {name: copy.deepcopy(one.state_dict()) for name, one in to_save.items()}
    random = capture_random_state()
    try:
        with trainer.state_kept():
            yield
    finally:
        for name, one in to_save.items():
            one.load_state_dict(states[name])
        restore_random_state(random)


def _set_rates(optimizer: Optimizer, rates: list[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        param_groups.write(group, "lr", rate)


def _as_number(loss: Any) -> float:
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(
                "if output of the engine is torch.Tensor, then it should be 0d torch.Tensor or 1d "
                f"torch.Tensor with 1 element, but given shape {tuple(loss.shape)}: select the "
                "loss with output_transform"
            )
        return float(loss.detach())
    if isinstance(loss, bool) or not isinstance(loss, int | float):
        raise TypeError(
            "output of the engine should be of type float or 0d torch.Tensor, "
            f"but given {type(loss).__name__}: select the loss with output_transform"
        )
    return float(loss)


def _steepest_descent(losses: Sequence[float]) -> int | None:
    """Returns the index of the steepest fall of the loss before its minimum.

    Uses central differences; None if there are fewer than three points.
    """
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    lowest = finite.index(min(finite))
    before = torch.tensor(finite[: lowest + 1], dtype=torch.float64)
    if len(before) < 3:
        return None
    falls = torch.gradient(before)[0]
    return int(falls.argmin())
