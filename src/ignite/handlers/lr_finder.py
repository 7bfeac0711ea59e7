"""The learning rate range test: which rates make the loss fall, and from which on it diverges."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from ignite._core.optional import import_optional
from ignite.engine import Engine
from ignite.handlers._lr_range import RangeTest, everything_kept, set_rates, steepest_descent

__all__ = ["FastaiLRFinder"]


class FastaiLRFinder:
    """Trains for some iterations with a growing learning rate, and suggests one.

    It runs within a ``with`` block, after which everything is as it was: the objects in ``to_save``, the trainer, and
    the random state of the program, also after an error. Schedules that are attached to the trainer are overruled.
    The loss is read in each iteration, which waits for the device.

    Example::

        finder = FastaiLRFinder()
        with finder.attach(trainer, to_save={"model": model, "optimizer": optimizer}) as training:
            training.run(loader)
        finder.plot()
        finder.apply_suggested_lr(optimizer)
        trainer.run(loader, max_epochs=10)

    Distributed:
        Attached on every process, the mean of their losses decides, in one collective an iteration. Attached on some
        only, their own losses do.

    References:
        Smith, "Cyclical learning rates for training neural networks", 2017, https://arxiv.org/abs/1506.01186
    """

    def __init__(self) -> None:
        self._lrs: list[list[float]] = []
        self._losses: list[float] = []

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
        """Makes the runs of ``trainer`` in the block a range test.

        Args:
            trainer: a usual trainer.
            to_save: what training changes, by name, with the optimizer as ``"optimizer"``.
            output_transform: picks the loss, a number or a tensor of one element, from ``trainer.state.output``.
            num_iter: iterations; by default those that ``run`` is asked for. A longer test runs for more epochs.
            start_lr: the rate to begin near, or one for each parameter group; by default the optimizer's.
            end_lr: the rate of the last iteration, likewise.
            step_mode: "exp" multiplies by the same factor each time, "linear" adds the same amount.
            smooth_f: the weight of the newest loss in the smoothed one, in [0, 1); the first is taken as it is.
            diverge_th: the test ends when the loss is this many times the lowest so far, or no number.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: or the wrong value.
        """
        optimizer = _check(to_save, num_iter, step_mode, smooth_f, diverge_th)
        starts = _rates(start_lr, [float(group["lr"]) for group in optimizer.param_groups], "start_lr")
        ends = _rates(end_lr, [10.0] * len(starts), "end_lr")
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            raise ValueError(f"start_lr must be less than end_lr, but given {starts} and {ends}")
        is_exponential = step_mode == "exp"
        test = RangeTest(
            optimizer, starts, ends, is_exponential, num_iter, output_transform, smoothing=smooth_f, limit=diverge_th
        )
        self._lrs, self._losses = test.lrs, test.losses
        with everything_kept(trainer, to_save), test.on(trainer):
            yield trainer
        if not test.is_diverged:
            warnings.warn(
                "Run completed without loss diverging, increase end_lr, decrease diverge_th or look at "
                "lr_finder.plot()",
                stacklevel=3,
            )

    def get_results(self) -> dict[str, list[Any]]:
        """``{"lr": [...], "loss": [...]}`` of each iteration; rates are lists if there are several parameter groups."""
        return {"lr": [rates if len(rates) > 1 else rates[0] for rates in self._lrs], "loss": list(self._losses)}

    def lr_suggestion(self) -> Any:
        """The rate at which the loss fell most steeply, before its minimum; a list for several parameter groups.

        Raises:
            RuntimeError: the test has not been run, or its curve has no such place.
        """
        if not self._losses:
            raise RuntimeError("learning rate finder didn't run yet so lr_suggestion can't be returned")
        place = steepest_descent(self._losses)
        if place is None:
            raise RuntimeError(
                "FastaiLRFinder got unexpected curve shape, the curve should be somehow U-shaped, please decrease "
                "start_lr or increase end_lr to resolve this issue"
            )
        rates = self._lrs[place]
        return rates if len(rates) > 1 else rates[0]

    def apply_suggested_lr(self, optimizer: Optimizer) -> None:
        """Gives an optimizer the suggested rate.

        Raises:
            RuntimeError: the same as :meth:`lr_suggestion`, or the number of parameter groups is another one.
        """
        suggestion = self.lr_suggestion()
        rates = suggestion if isinstance(suggestion, list) else [suggestion]
        if len(rates) != len(optimizer.param_groups):
            raise RuntimeError(
                f"The number of parameter groups does not match: {len(rates)} in the test, and "
                f"{len(optimizer.param_groups)} in the optimizer"
            )
        set_rates(optimizer, rates)

    def plot(
        self,
        skip_start: int = 10,
        skip_end: int = 5,
        log_lr: bool = True,
        display_suggestion: bool = True,
        ax: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        """Draws the loss over the rate of the first parameter group.

        Args:
            skip_start: iterations to leave out at the beginning.
            skip_end: and at the end.
            log_lr: whether the axis of rates is logarithmic.
            display_suggestion: whether to mark the suggestion.
            ax: axes of matplotlib to draw into; new ones by default.
            **kwargs: for ``ax.plot``.

        Returns:
            The axes.

        Raises:
            ValueError: a skip is negative.
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
        place = steepest_descent(self._losses) if display_suggestion else None
        if place is not None:
            axes.scatter(
                rates[place], self._losses[place], color="red", zorder=3, label=f"suggested {rates[place]:.3g}"
            )
            axes.legend()
        if log_lr:
            axes.set_xscale("log")
        axes.set_xlabel("Learning rate")
        axes.set_ylabel("Loss")
        return axes


def _check(to_save: Any, num_iter: Any, step_mode: str, smooth_f: float, diverge_th: float) -> Optimizer:
    if not isinstance(to_save, Mapping):
        raise TypeError(f"Argument to_save should be a mapping, but given {type(to_save).__name__}")
    for one in to_save.values():
        for method in ("state_dict", "load_state_dict"):
            if not hasattr(one, method):
                raise TypeError(f"Object {type(one)} should have `{method}` method")
    if "optimizer" not in to_save:
        raise ValueError(f"Mapping to_save should contain 'optimizer' key, but given {list(to_save)}")
    if not isinstance(to_save["optimizer"], Optimizer):
        raise TypeError(
            f"Object to_save['optimizer'] should be torch optimizer, but given {type(to_save['optimizer'])}"
        )
    if not 0 <= smooth_f < 1:
        raise ValueError(f"smooth_f is outside the range [0, 1): {smooth_f}")
    if not diverge_th > 1:
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
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * len(default)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise TypeError(f"{name} should be a float or list of floats, but given {given!r}")
    if len(values) != len(default):
        raise ValueError(
            f"Number of values of {name} should be equal to optimizer values, {len(default)}, but given {len(values)}"
        )
    if any(not 0 < value < math.inf for value in values):
        raise ValueError(f"{name} should be positive and finite, but given {given!r}")
    return [float(value) for value in values]
