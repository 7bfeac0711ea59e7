"""The score of a saved run: where it comes from, and whether it is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ignite.engine import Engine

AnyEngine = Engine[Any, Any]


class Score:
    """Score of a run, read from a metric or computed by a function.

    Args:
        source: the name of a metric of the trainer, or of an engine that runs in its handlers; a
            function of the trainer; or None for no score.
        mode: whether a higher ("max") or a lower ("min") score is better.

    Raises:
        TypeError: ``source`` has another type.
        ValueError: ``mode`` is unknown.
    """

    def __init__(
        self, source: str | Callable[[AnyEngine], float] | None, mode: Literal["max", "min"]
    ) -> None:
        if not (source is None or isinstance(source, str) or callable(source)):
            raise TypeError(
                f"score should be the name of a metric, a function or None, but given {source!r}"
            )
        if mode not in ("max", "min"):
            raise ValueError(f"mode should be 'max' or 'min', but given {mode!r}")
        self.source = source
        self.mode = mode
        self.name = source if isinstance(source, str) else getattr(source, "__name__", None)
        self._last_value: Any = None

    def of(self, trainer: AnyEngine, engines: Mapping[str, AnyEngine]) -> float | None:
        """Returns the current score; None without a new one, such as between two evaluations."""
        if self.source is None:
            return None
        source = self.source
        value = (
            self._look_up(source, trainer, engines) if isinstance(source, str) else source(trainer)
        )
        return None if value is None else float(value)

    def _look_up(self, name: str, trainer: AnyEngine, engines: Mapping[str, AnyEngine]) -> Any:
        # Evaluators first: the trainer may have a metric of the same name on the training batches.
        for engine in sorted(engines.values(), key=lambda one: one is trainer):
            value = engine.state.metrics.get(name)
            if value is None:
                continue
            is_fresh = value is not self._last_value
            if engine is not trainer:
                is_fresh = engine.last_run_ended_at == trainer.state.iteration
            self._last_value = value
            return value if is_fresh else None
        return None
