"""Frequency: the number of items processed per second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ignite._core.clock import Stopwatch
from ignite.distributed.fused_reduction import Part, combine
from ignite.distributed.utils import get_world_size
from ignite.engine import Engine, Events
from ignite.metrics._outputs import identity
from ignite.metrics._usage import MetricUsage
from ignite.metrics.metric import Metric, reinit__is_reduced

__all__ = ["Frequency"]


class Frequency(Metric):
    """Number of items processed per second, by all processes together.

    It is the number of items of all processes, divided by the mean of their times. Time is measured
    from the start of the epoch, or from ``reset``, to the last update.

    Update with the number of items of an iteration.

    Args:
        output_transform: turns ``engine.state.output`` into the number of items.
        device: ignored; accepted for compatibility.
        skip_unrolling: see :class:`Metric`.

    Example:
        >>> from ignite.engine import Engine
        >>> engine = Engine(lambda engine, batch: batch)
        >>> Frequency(output_transform=len).attach(engine, "items_per_second")
        >>> engine.run([[1, 2], [3, 4]]).metrics["items_per_second"] > 0
        True
    """

    required_output_keys = None

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self._timer = Stopwatch()
        super().__init__(output_transform, device, skip_unrolling)

    @reinit__is_reduced
    def reset(self) -> None:
        """Sets the number of items and the time to zero."""
        self._timer.restart()
        self._num_items = 0
        self._elapsed = 0.0

    @reinit__is_reduced
    def update(self, output: int) -> None:
        """Adds the number of items of an iteration."""
        self._num_items += output
        self._elapsed = self._timer.elapsed()

    def compute(self) -> float:
        """Returns the number of items per second; 0 before the first update."""
        num_items, elapsed = combine([Part("SUM", self._num_items), Part("SUM", self._elapsed)])
        return float(num_items / elapsed * get_world_size()) if elapsed > 0 else 0.0

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Puts the value into ``engine.state.metrics``, rounded down to an integer."""
        engine.state.metrics[name] = int(self.compute())

    def attach(
        self, engine: Engine[Any, Any], name: str, event_name: Any = Events.ITERATION_COMPLETED
    ) -> None:
        """Attaches the metric to ``engine``, which puts its value into ``state.metrics[name]``.

        Args:
            engine: the engine whose outputs update the metric.
            name: key of the value in ``engine.state.metrics``.
            event_name: event at which to compute the value. The start of an epoch resets it.
        """
        super().attach(
            engine, name, MetricUsage(Events.EPOCH_STARTED, event_name, Events.ITERATION_COMPLETED)
        )

    def detach(self, engine: Engine[Any, Any], usage: str | MetricUsage | None = None) -> None:
        """Detaches the metric from ``engine``, for all events."""
        for metric in (self, *self._instances_by_span.pop(engine, {}).values()):
            if engine in metric._attachments:
                Metric.detach(metric, engine, metric._attachments[engine].usage)

    def is_attached(self, engine: Engine[Any, Any], usage: str | MetricUsage | None = None) -> bool:
        """Returns whether the metric is attached to ``engine``, at any event."""
        return engine in self._attachments and super().is_attached(
            engine, self._attachments[engine].usage
        )
