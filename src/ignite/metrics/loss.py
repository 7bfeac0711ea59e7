"""The mean of a loss function over all examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics.metric import Metric, identity, reinit__is_reduced, sync_all_reduce

__all__ = ["Loss"]


class Loss(Metric):
    """The mean of a loss over all examples seen: of the batches' mean losses, weighted by their sizes.

    Update with ``(y_pred, y)`` or ``(y_pred, y, kwargs)``, whatever ``loss_fn`` takes; or with a mapping that has
    ``y_pred``, ``y`` and, if there are some, ``criterion_kwargs``.

    Args:
        loss_fn: ``loss_fn(y_pred, y, **kwargs)``, the mean over the batch, a tensor of shape ().
        output_transform: turns ``engine.state.output`` into the above.
        batch_size: ``batch_size(y)``, the number of examples.
        device: where to accumulate, in float64 (float32 on MPS).
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

    required_output_keys = ("y_pred", "y", "criterion_kwargs")
    _state_dict_all_req_keys = ("_sum", "_num_examples")

    def __init__(
        self,
        loss_fn: Callable[..., Tensor],
        output_transform: Callable[[Any], Any] = identity,
        batch_size: Callable[[Any], int] = len,
        device: str | torch.device = torch.device("cpu"),  # noqa: B008 - Ignite's signature
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(output_transform, device, skip_unrolling)
        self._loss_fn = loss_fn
        self._batch_size = batch_size

    @reinit__is_reduced
    def reset(self) -> None:
        """Forgets all that was seen."""
        self._sum = torch.tensor(0.0, dtype=self._double_dtype, device=self._device)
        self._num_examples = 0

    @reinit__is_reduced
    def update(self, output: Sequence[Any]) -> None:
        """Takes in ``(y_pred, y)`` or ``(y_pred, y, kwargs)``."""
        y_pred, y, *rest = output
        loss = self._loss_fn(y_pred, y, **(rest[0] if rest else {})).detach()
        if loss.ndim != 0:
            raise ValueError(
                "loss_fn did not return the average loss.: it should be a tensor of shape (), "
                f"but given one of shape {tuple(loss.shape)}"
            )
        num_examples = self._batch_size(y)
        self._sum += loss.to(self._device, self._double_dtype) * num_examples
        self._num_examples += num_examples

    @sync_all_reduce("_sum", "_num_examples")
    def compute(self) -> float:
        """The mean loss."""
        if self._num_examples == 0:
            raise NotComputableError("Loss must have at least one example before it can be computed.")
        return self._sum.item() / self._num_examples

    def _pick(self, output: Mapping[str, Any]) -> tuple[Any, ...]:
        return super()._pick({"criterion_kwargs": {}, **output})
