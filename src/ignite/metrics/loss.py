"""The mean of a loss function over all examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import as_loss_arguments, identity
from ignite.metrics._scratch import detached
from ignite.metrics._view import View
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["Loss"]


class Loss(View):
    """The mean of a loss over all examples seen: of the batches' mean losses, weighted by their sizes.

    Update with ``(y_pred, y)`` or ``(y_pred, y, kwargs)``, whatever ``loss_fn`` takes; or with a mapping that has
    ``y_pred``, ``y`` and, if there are some, ``criterion_kwargs``.

    Args:
        loss_fn: ``loss_fn(y_pred, y, **kwargs)``, the mean over the batch, a tensor of shape ().
        output_transform: turns ``engine.state.output`` into the above.
        batch_size: ``batch_size(y)``, the number of examples.
        device: where to accumulate, in float64 (float32 on MPS); by default, where the loss is.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, the loss is not a tensor of shape (). What was accumulated is unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = Loss(torch.nn.functional.mse_loss)
        >>> metric.update((torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 1.0])))  # 0, three times
        >>> metric.update((torch.tensor([0.0]), torch.tensor([2.0])))  # 4, once
        >>> metric.compute()
        1.0
    """

    higher_is_better = False

    required_output_keys = ("y_pred", "y", "criterion_kwargs")

    def __init__(
        self,
        loss_fn: Callable[..., Tensor],
        output_transform: Callable[[Any], Any] = identity,
        batch_size: Callable[[Any], int] = len,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self._loss_fn = loss_fn
        self._batch_size = batch_size
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Totals(_total_loss, (self._loss_fn, self._batch_size), device=self._accumulates_on)]

    def _value(self, totals: Totals) -> float:
        return totals.values[0].item() / totals.num_examples

    def _read_output(self, output: Any) -> Any:
        return as_loss_arguments(output, type(self).__name__)

    def _pick(self, output: Mapping[str, Any]) -> tuple[Any, ...]:
        return super()._pick({"criterion_kwargs": {}, **output})


def _total_loss(
    output: Sequence[Any], loss_fn: Callable[..., Tensor], batch_size: Callable[[Any], int]
) -> tuple[int, Tensor | float]:
    y_pred, y, *rest = output
    if isinstance(y_pred, Tensor) and torch.is_grad_enabled():
        y_pred = detached(y_pred)  # what the loss would track, nobody asks for
    loss = loss_fn(y_pred, y, **rest[0]) if rest else loss_fn(y_pred, y)
    if loss.ndim != 0:
        raise ValueError(
            "loss_fn did not return the average loss.: it should be a tensor of shape (), "
            f"but given one of shape {tuple(loss.shape)}"
        )
    # Tensor.__len__ is Python code, and slower than some losses.
    num_examples = y.shape[0] if batch_size is len and isinstance(y, Tensor) else batch_size(y)
    if not num_examples:
        return 0, 0.0  # nothing to average over gives NaN, which would spoil what was accumulated
    if loss.is_cpu:
        return num_examples, loss.item() * num_examples
    return num_examples, loss.detach().to(wide_dtype(loss)) * num_examples
