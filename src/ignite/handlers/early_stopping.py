"""Early stopping: ends training when a score stops improving."""

import logging
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ignite import distributed as idist
from ignite._core.logs import tell
from ignite.base import ResettableHandler, Serializable
from ignite.engine import Engine, Events, together
from ignite.handlers._patience import Patience, as_score

__all__ = ["EarlyStopping"]


def _patience_attribute(name: str, doc: str) -> Any:
    def read(handler: "EarlyStopping") -> Any:
        return getattr(handler._patience, name)

    def write(handler: "EarlyStopping", value: Any) -> None:
        setattr(handler._patience, name, value)

    return property(read, write, doc=doc)


def _deprecated_alias(old: str, new: str) -> Any:
    def read(handler: "EarlyStopping") -> Any:
        _warn_of(old, new)
        return getattr(handler, new)

    def write(handler: "EarlyStopping", value: Any) -> None:
        _warn_of(old, new)
        setattr(handler, new, value)

    return property(read, write, doc=f"Deprecated: ``{new}``.")


def _warn_of(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is deprecated. Please use {new!r} instead.", DeprecationWarning, stacklevel=3
    )


class EarlyStopping(Serializable, ResettableHandler):
    """Terminates ``trainer`` after ``patience`` consecutive scores without an improvement.

    Call it, or attach it, once per score: usually at the end of each run of the evaluator. NaN is
    never an improvement.

    Args:
        patience: number of scores without improvement after which training stops, at least 1.
            Counts *scores*, not epochs: with validation every 5 epochs, ``patience=3`` waits 15
            epochs.
        score_function: returns the score, given the engine that this handler is attached to.
        trainer: the engine to terminate, after the current event; see :meth:`Engine.terminate`.
        threshold: minimum change that counts as an improvement, at least 0.
        cumulative: whether improvements below ``threshold`` add up: the best score changes only
            when a score exceeds it by more than ``threshold``. Otherwise it follows every better
            score.
        threshold_mode: whether ``threshold`` is in units of the score ("abs") or a fraction of the
            absolute value of the best score ("rel").
        mode: whether a higher ("max") or a lower ("min") score is better.
        min_delta: deprecated, ``threshold``.
        min_delta_mode: deprecated, ``threshold_mode``.
        cumulative_delta: deprecated, ``cumulative``.
        min_epochs: the first epoch in which ``trainer`` may be stopped. Earlier scores count, too.

    Raises:
        TypeError: ``score_function`` cannot be called, or ``trainer`` is not an engine; or, when
            called, the score is not a number.
        ValueError: another argument is out of range.

    State:
        ``counter``, ``best_score`` and ``threshold_mode``. Save the handler with the trainer, or a
        resumed run restarts the count. A loaded state survives the reset at the start of the next
        run.

    Distributed:
        Attached on all ranks, it stops all of them when one has run out of patience; each call
        exchanges this through the store of the process group. Attached on some ranks only, each of
        them decides alone, and the others would wait for it: return the score that all have.

    Example:
        >>> trainer = Engine(lambda engine, batch: None)
        >>> evaluator = Engine(lambda engine, batch: None)
        >>> losses = iter([0.9, 0.5, 0.6, 0.7, 0.4])
        >>> _ = trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
        >>> stopper = EarlyStopping(2, lambda engine: next(losses), trainer, mode="min")
        >>> stopper.attach(evaluator)
        >>> trainer.run([0], max_epochs=5).epoch, stopper.best_score
        (4, 0.5)
    """

    decides_together = True
    _state_dict_all_req_keys = ("counter", "best_score")

    def __init__(  # noqa: PLR0913 - Ignite's signature
        self,
        patience: int,
        score_function: Callable[[Engine[Any, Any]], float],
        trainer: Engine[Any, Any],
        threshold: float = 0.0,
        cumulative: bool = False,
        threshold_mode: Literal["abs", "rel"] = "abs",
        mode: Literal["min", "max"] = "max",
        min_delta: float | None = None,
        min_delta_mode: Literal["abs", "rel"] | None = None,
        cumulative_delta: bool | None = None,
        *,
        min_epochs: int = 0,
    ) -> None:
        if not callable(score_function):
            raise TypeError(
                f"Argument score_function should be a function, but given {score_function!r}"
            )
        if not isinstance(trainer, Engine):
            raise TypeError(
                "Argument trainer should be an instance of Engine, "
                f"but given a {type(trainer).__name__}"
            )
        if min_delta is not None:
            _warn_of("min_delta", "threshold")
            threshold = min_delta
        if min_delta_mode is not None:
            _warn_of("min_delta_mode", "threshold_mode")
            threshold_mode = min_delta_mode
        if cumulative_delta is not None:
            _warn_of("cumulative_delta", "cumulative")
            cumulative = cumulative_delta

        self.score_function = score_function
        self.trainer = trainer
        self.min_epochs = min_epochs
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self._patience = Patience(patience, mode, threshold, threshold_mode, cumulative)
        self._is_loaded = False
        """Whether a state was loaded, and no score was added since."""

    patience = _patience_attribute(
        "limit", "Number of scores without improvement before training stops."
    )
    threshold = _patience_attribute("threshold", "Minimum change that counts as an improvement.")
    threshold_mode = _patience_attribute("threshold_mode", "Unit of the threshold: 'abs' or 'rel'.")
    cumulative = _patience_attribute(
        "cumulative", "Whether improvements below the threshold add up."
    )
    mode = _patience_attribute(
        "mode", "Whether a higher ('max') or a lower ('min') score is better."
    )
    counter = _patience_attribute("waited", "Number of scores since the last improvement.")
    best_score = _patience_attribute("best", "The best score; None before the first score.")

    min_delta = _deprecated_alias("min_delta", "threshold")
    min_delta_mode = _deprecated_alias("min_delta_mode", "threshold_mode")
    cumulative_delta = _deprecated_alias("cumulative_delta", "cumulative")

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Adds the score of ``engine``; terminates the trainer when patience has run out."""
        score = as_score(self.score_function(engine))
        self._is_loaded = False
        has_run_out = self._patience.observe(score)
        self.logger.debug(
            "score %g, best %s, waited %d of %d",
            score,
            self.best_score,
            self.counter,
            self.patience,
        )
        is_due = has_run_out and self.trainer.state.epoch >= self.min_epochs
        if has_run_out and not is_due:
            self.logger.debug(
                "epoch %d of at least %d: not stopping", self.trainer.state.epoch, self.min_epochs
            )
        if not (
            is_due if idist.get_world_size() == 1 else together.any_process(engine, self, is_due)
        ):
            return
        tell(
            self.logger,
            idist.get_rank(),
            "EarlyStopping: Stop training. No improvement in %d scores%s",
            self.counter if is_due else self.patience,
            "" if is_due else " on another rank",
        )
        self.trainer.terminate()

    def reset(self, engine: Engine[Any, Any] | None = None) -> None:
        """Forgets all scores.

        Args:
            engine: the engine that fires ``reset_event``. Its first call after a state was loaded
                has no effect.
        """
        was_loaded, self._is_loaded = self._is_loaded, False
        if engine is None or not was_loaded:
            self._patience.reset()

    def attach(
        self,
        engine: Engine[Any, Any],
        event: Any = Events.COMPLETED,
        reset_engine: Engine[Any, Any] | None = None,
        reset_event: Any = Events.STARTED,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Adds a score at ``event`` of ``engine``; resets at ``reset_event`` of ``reset_engine``.

        Args:
            engine: the engine that is scored, usually the evaluator.
            event: when to add a score.
            reset_engine: the engine of ``reset_event``; by default the trainer. (Ignite uses
                ``engine``: an evaluator starts once per score, so that training would never stop.)
            reset_event: when to reset. The first one after loading a state is ignored.
            *args: passed to the handler at each call, for subclasses.
            **kwargs: passed as keyword arguments.
        """
        engine.add_event_handler(event, self, *args, **kwargs)
        (reset_engine or self.trainer).add_event_handler(reset_event, self.reset)

    def state_dict(self) -> "OrderedDict[str, Any]":
        """Returns ``counter``, ``best_score`` and ``threshold_mode``."""
        return OrderedDict(
            counter=self.counter, best_score=self.best_score, threshold_mode=self.threshold_mode
        )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state.

        Raises:
            TypeError: ``state_dict`` is not a mapping, or a value is not a number.
            ValueError: a key is missing, or a value is invalid. Nothing is changed.
        """
        super().load_state_dict(state_dict)
        counter, best = state_dict["counter"], state_dict["best_score"]
        threshold_mode = state_dict.get("threshold_mode", self.threshold_mode)
        if isinstance(counter, bool) or not isinstance(counter, int) or counter < 0:
            raise ValueError(f"counter should be an integer, at least 0, but given {counter!r}")
        if threshold_mode not in ("abs", "rel"):
            raise ValueError(
                f"threshold_mode should be either 'abs' or 'rel', but given {threshold_mode!r}"
            )
        # Ignite may have saved NaN as the best score.
        best = None if best is None or math.isnan(best) else float(best)
        self.counter, self.best_score, self.threshold_mode = counter, best, threshold_mode
        self._is_loaded = True
