"""The best value of a metric so far, and its epoch."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal, Self

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics.metric import Metric
from ignite.metrics.metrics_lambda import MetricsLambda

__all__ = ["Best"]


class Best(MetricsLambda):
    """Best value of a metric over all spans so far, usually epochs.

    Attaching this metric also updates ``metric``. NaN is never the best value; of equal values, the
    first one is. ``reset`` keeps the best value, :meth:`forget` clears it.

    Args:
        metric: the metric to track. Its value must be a number.
        mode: whether higher ("max") or lower ("min") is better. By default, taken from
            ``metric.higher_is_better``.

    Attributes:
        best: the best value; None before the first.
        epoch: the engine's epoch of the best value; None before the first.

    Raises:
        TypeError: ``metric`` is not a metric.
        ValueError: ``mode`` is invalid, or not given while ``metric.higher_is_better`` is None.
        NotComputableError: in ``compute``, all values so far are NaN.

    State:
        The best value, its epoch, and the state of the metric.

    Example:
        >>> from ignite.metrics import Average
        >>> from ignite.engine import Engine
        >>> engine = Engine(lambda engine, batch: batch * (3 - engine.state.epoch) ** 2)
        >>> best = Best(Average(), mode="min")
        >>> best.attach(engine, "best")
        >>> engine.run([1.0], max_epochs=4).metrics, best.epoch
        ({'best': 0.0}, 3)
    """

    def __init__(self, metric: Metric, mode: Literal["min", "max"] | None = None) -> None:
        if not isinstance(metric, Metric):
            raise TypeError(f"metric should be a Metric, but given {type(metric)}")
        if mode is None and metric.higher_is_better is not None:
            mode = "max" if metric.higher_is_better else "min"
        if mode not in ("min", "max"):
            raise ValueError(
                f"mode should be 'min' or 'max', as {type(metric).__name__} does not say whether higher is better, "
                "but given None"
                if mode is None
                else f"mode should be 'min' or 'max', but given {mode!r}"
            )
        self.mode = mode
        self.forget()
        super().__init__(float, metric)
        self.higher_is_better = mode == "max"

    def forget(self) -> None:
        """Clears the best value."""
        self.best: float | None = None
        self.epoch: int | None = None

    def compute(self) -> float:
        """Returns the best value, including the metric's current one."""
        best = self._best_with(super().compute())
        if best is None:
            raise NotComputableError(
                "Best must have at least one value that is a number before it can be computed."
            )
        return best

    def _best_with(self, value: float) -> float | None:
        if math.isnan(value) or (
            self.best is not None
            and (value <= self.best if self.mode == "max" else value >= self.best)
        ):
            return self.best
        return value

    def _on_computed(self, engine: Engine[Any, Any]) -> None:
        best = self.compute()
        if best != self.best:
            self.best, self.epoch = best, engine.state.epoch
        super()._on_computed(engine)

    def _fresh_copy(self) -> Self:
        instance = super()._fresh_copy()
        instance.forget()
        return instance

    def _state(self) -> OrderedDict[str, Any]:
        return OrderedDict(best=self.best, epoch=self.epoch, metric=super()._state())

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        if states:
            self.best, self.epoch = states[0]["best"], states[0]["epoch"]
        super()._set_state([state["metric"] for state in states])
