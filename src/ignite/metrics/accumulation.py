"""Metrics that accumulate whatever an engine puts out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics.metric import Metric, identity, reinit__is_reduced, sync_all_reduce

__all__ = ["Average", "VariableAccumulation"]


class VariableAccumulation(Metric):
    """Combines outputs one after the other, and counts them.

    Update with a number or a tensor. Numbers and tensors of shape () or (D,) are one example; tensors with more
    dimensions are a batch of shape (B, ...).

    Args:
        op: ``op(accumulated, output) -> accumulated``; begins with 0.
        output_transform: turns ``engine.state.output`` into the number or tensor.
        device: where to accumulate, in float64 (float32 on MPS).
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: ``op`` cannot be called; in ``update``, the output is neither a number nor a tensor.

    Example:
        >>> metric = VariableAccumulation(lambda total, x: total + x)
        >>> metric.update(1.5), metric.update(2.5)
        (None, None)
        >>> metric.compute()
        (tensor(4., dtype=torch.float64), 2)
    """

    required_output_keys = None
    _state_dict_all_req_keys = ("accumulator", "num_examples")

    def __init__(
        self,
        op: Callable[[Any, Any], Any],
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device = torch.device("cpu"),  # noqa: B008 - Ignite's signature
        skip_unrolling: bool = False,
    ) -> None:
        if not callable(op):
            raise TypeError(f"Argument op should be a callable, but given {type(op)}")
        self._op = op
        super().__init__(output_transform, device, skip_unrolling)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forgets all that was seen."""
        self.accumulator = torch.tensor(0.0, dtype=self._double_dtype, device=self._device)
        self.num_examples = 0

    @reinit__is_reduced
    def update(self, output: float | Tensor) -> None:
        """Takes in a number or a tensor."""
        if not isinstance(output, int | float | Tensor):
            raise TypeError(f"Output should be a number or torch.Tensor, but given {type(output)}")
        is_batch = isinstance(output, Tensor) and output.ndim > 1
        if isinstance(output, Tensor):
            output = output.detach().to(self._device, self._double_dtype)
        self.accumulator = self._op(self.accumulator, output)
        self.num_examples += len(output) if isinstance(output, Tensor) and is_batch else 1

    @sync_all_reduce("accumulator", "num_examples")
    def compute(self) -> tuple[Tensor, int]:
        """What was accumulated, and the number of examples."""
        return self.accumulator, self.num_examples


class Average(VariableAccumulation):
    """The mean of what an engine puts out.

    Update with a number or a tensor. Numbers and tensors of shape () or (D,) are one example; of tensors with more
    dimensions, the first one counts examples: (B, D) gives a mean of shape (D,).

    Args:
        output_transform: turns ``engine.state.output`` into the number or tensor.
        device: where to accumulate, in float64 (float32 on MPS).
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: in ``update``, the output is neither a number nor a tensor.
        NotComputableError: in ``compute``, nothing was seen.

    Example:
        >>> engine = __import__("ignite").engine.Engine(lambda engine, batch: batch)
        >>> Average().attach(engine, "mean")
        >>> engine.run([1.0, 2.0, 6.0]).metrics
        {'mean': 3.0}
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device = torch.device("cpu"),  # noqa: B008 - Ignite's signature
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(_add_examples, output_transform, device, skip_unrolling)

    @sync_all_reduce("accumulator", "num_examples")
    def compute(self) -> Any:
        """The mean, of the shape of an example."""
        if self.num_examples == 0:
            raise NotComputableError("Average must have at least one example before it can be computed.")
        return self.accumulator / self.num_examples


def _add_examples(total: Tensor, output: float | Tensor) -> Tensor:
    """``total``, of the shape of an example, and all examples of ``output``."""
    return total + (output.sum(dim=0) if isinstance(output, Tensor) and output.ndim > 1 else output)
