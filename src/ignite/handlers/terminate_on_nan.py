"""Termination on NaN or infinite outputs."""

import cmath
import logging
import numbers
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite._core.trees import map_leaves
from ignite.engine import Engine, together

__all__ = ["TerminateOnNan"]


class TerminateOnNan:
    """Terminates an engine if its output contains NaN or infinity.

    Add it to ``Events.ITERATION_COMPLETED``. By then, the weights have already been updated;
    :class:`SpikeGuard` acts before the update. Each call synchronizes with the device of the
    tensors once.

    Args:
        output_transform: selects the values to check from ``engine.state.output``: a number, a
            tensor, or containers of these. Strings are ignored.

    Raises:
        TypeError: when called, the output contains a value of another type, such as None.

    Distributed:
        Added on all ranks, they stop in the same iteration if the output of one is not finite; each
        call exchanges this through the store of the process group. Added on some ranks only, each
        of them decides alone.

    Example:
        >>> from ignite.engine import Events
        >>> trainer = Engine(lambda engine, batch: 1.0 if batch < 3 else float("nan"))
        >>> _ = trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
        >>> trainer.run([1, 2, 3, 4, 5]).iteration
        3
    """

    decides_together = True

    def __init__(self, output_transform: Callable[[Any], Any] = lambda output: output) -> None:
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self._output_transform = output_transform

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Checks the output of ``engine``."""
        is_here = not _is_finite(self._output_transform(engine.state.output))
        if not together.any_process(engine, self, is_here):
            return
        where = "" if is_here else " on another rank"
        self.logger.warning(
            "%s: the output of iteration %d%s contains NaN or Inf. Stop training",
            type(self).__name__,
            engine.state.iteration,
            where,
        )
        engine.terminate()


def _is_finite(output: Any) -> bool:
    leaves: list[Any] = []
    try:
        map_leaves(output, (numbers.Number, Tensor), leaves.append)
    except TypeError as error:
        error.add_note("in TerminateOnNan: select the numbers of the output with output_transform")
        raise
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if not all(
        isinstance(leaf, Tensor | numbers.Rational) or cmath.isfinite(leaf) for leaf in leaves
    ):
        return False
    verdicts = [torch.isfinite(tensor).all() for tensor in tensors]
    return all(_on_host(verdicts))


def _on_host(verdicts: list[Tensor]) -> list[bool]:
    """Returns whether all are true, for each device; synchronizes with it once."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for verdict in verdicts:
        by_device.setdefault(verdict.device, []).append(verdict)
    return [bool(torch.stack(group).all()) for group in by_device.values()]
