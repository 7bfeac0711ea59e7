"""How many items are processed per second."""

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
    """How many items are processed per second: those of all processes, by the mean of their times.

    Update with the number of items. The time counts from the start of the epoch, or from ``reset``.

    Args:
        output_transform: turns ``engine.state.output`` into the number of items of an iteration.
        device: without effect; kept for programs that give it.
        skip_unrolling: see :class:`Metric`.

    Example:
        >>> engine = __import__("ignite").engine.Engine(lambda engine, batch: batch)
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
        """Begins at zero items and seconds."""
        self._timer.restart()
        self._num_items = 0
        self._elapsed = 0.0

    @reinit__is_reduced
    def update(self, output: int) -> None:
        """Takes in the number of items of an iteration."""
        self._num_items += output
        self._elapsed = self._timer.elapsed()

    def compute(self) -> float:
        """Items per second; 0 before any time has passed."""
        num_items, elapsed = combine([Part("SUM", self._num_items), Part("SUM", self._elapsed)])
        return float(num_items / elapsed * get_world_size()) if elapsed > 0 else 0.0

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Puts the value into ``engine.state.metrics``, as an integer."""
        engine.state.metrics[name] = int(self.compute())

    def attach(
        self, engine: Engine[Any, Any], name: str, event_name: Any = Events.ITERATION_COMPLETED
    ) -> None:
        """Lets ``engine`` feed the metric, and put its value into ``engine.state.metrics[name]``.

        Args:
            engine: gives the outputs.
            name: under which the value is found.
            event_name: when to compute it; epochs begin at zero.
        """
        super().attach(
            engine, name, MetricUsage(Events.EPOCH_STARTED, event_name, Events.ITERATION_COMPLETED)
        )

    def detach(self, engine: Engine[Any, Any], usage: str | MetricUsage | None = None) -> None:
        """Ends what ``attach`` has begun, at whatever event."""
        for metric in (self, *self._instances_by_span.pop(engine, {}).values()):
            if engine in metric._attachments:
                Metric.detach(metric, engine, metric._attachments[engine].usage)

    def is_attached(self, engine: Engine[Any, Any], usage: str | MetricUsage | None = None) -> bool:
        """Whether ``engine`` computes the metric, at whatever event."""
        return engine in self._attachments and super().is_attached(
            engine, self._attachments[engine].usage
        )
