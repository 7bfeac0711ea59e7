"""Calls a function when a score stops improving."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ignite.engine import Engine, Events
from ignite.handlers._patience import Patience, as_score

__all__ = ["NoImprovementHandler"]


class NoImprovementHandler:
    """Calls a function when a score stops improving; generalizes :class:`EarlyStopping`.

    After a call of ``stop_function``, the count restarts at zero; the best score is kept.

    Args:
        patience: number of consecutive scores without an improvement.
        score_function: ``f(engine)``, returns the score.
        stop_function: ``f(engine)``, called when patience has run out.
        pass_function: ``f(engine)``, called after every other score, if given.
        threshold: minimum change that counts as an improvement.
        cumulative: whether small improvements add up; see :class:`EarlyStopping`.
        threshold_mode: whether ``threshold`` is a number ("abs") or a fraction of the best score
            ("rel").
        mode: whether higher ("max") or lower ("min") is better.

    Raises:
        TypeError: a function is not callable; or, when called, the score is not a number.
        ValueError: another argument is out of range.

    State:
        ``counter`` and ``best_score``.

    Distributed:
        Attach it on all ranks, with the same score on each.

    Example:
        >>> evaluator = Engine(lambda engine, batch: batch)
        >>> handler = NoImprovementHandler(
        ...     2, lambda engine: engine.state.output, lambda engine: print("no better")
        ... )
        >>> handler.attach(evaluator)
        >>> for score in (0.5, 0.4, 0.5, 0.6, 0.7):
        ...     _ = evaluator.run([score])
        no better
    """

    def __init__(
        self,
        patience: int,
        score_function: Callable[[Engine[Any, Any]], float],
        stop_function: Callable[[Engine[Any, Any]], Any],
        pass_function: Callable[[Engine[Any, Any]], Any] | None = None,
        *,
        threshold: float = 0.0,
        cumulative: bool = False,
        threshold_mode: Literal["abs", "rel"] = "abs",
        mode: Literal["min", "max"] = "max",
    ) -> None:
        functions = {
            "score_function": score_function,
            "stop_function": stop_function,
            "pass_function": pass_function,
        }
        for name, function in functions.items():
            if not callable(function) and not (name == "pass_function" and function is None):
                raise TypeError(f"Argument {name} should be a function, but given {function!r}")
        self._score = score_function
        self._stop = stop_function
        self._pass = pass_function
        self._patience = Patience(patience, mode, threshold, threshold_mode, cumulative)

    @property
    def counter(self) -> int:
        """Number of scores since the last improvement or call of ``stop_function``."""
        return self._patience.waited

    @property
    def best_score(self) -> float | None:
        """The best score; None before the first score."""
        return self._patience.best

    def attach(self, engine: Engine[Any, Any], event: Any = Events.COMPLETED) -> None:
        """Adds a score of ``engine`` at ``event``."""
        engine.add_event_handler(event, self)

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Adds the score of ``engine``."""
        if self._patience.observe(as_score(self._score(engine))):
            self._patience.waited = 0
            self._stop(engine)
        elif self._pass is not None:
            self._pass(engine)

    def state_dict(self) -> dict[str, Any]:
        """Returns ``counter`` and ``best_score``."""
        return {"counter": self.counter, "best_score": self.best_score}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state.

        Raises:
            ValueError: a value is invalid. Nothing is changed.
        """
        counter, best = state_dict["counter"], state_dict["best_score"]
        if not isinstance(counter, int) or counter < 0 or (best is not None and math.isnan(best)):
            raise ValueError(
                "counter should be an integer of at least 0 and best_score not NaN, "
                f"but given {counter!r} and {best!r}"
            )
        self._patience.waited, self._patience.best = counter, best
