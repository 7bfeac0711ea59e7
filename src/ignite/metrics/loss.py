"""The mean of a loss function over all examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._host_arrays import detached
from ignite.metrics._outputs import as_loss_arguments, identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["Loss"]


class Loss(View):
    """The mean of a loss over all examples seen: of the batches' mean losses, weighted by their sizes.

    Update with ``(y_pred, y)`` or ``(y_pred, y, kwargs)``, whatever ``loss_fn`` takes; or with a
    mapping that has ``y_pred``, ``y`` and, if there are some, ``criterion_kwargs``.

    Args:
        loss_fn: ``loss_fn(y_pred, y, **kwargs)``, the mean over the batch, a tensor of shape ().
        output_transform: turns ``engine.state.output`` into the above.
        batch_size: ``batch_size(y)``, the number of examples, or whatever the loss is a mean over:
            of a loss with ``ignore_index``, ``lambda y: (y != ignore_index).sum()``. By default,
            the length of targets, also of those in a tuple or mapping. A batch whose targets are
            all ignored adds nothing.
        device: where to accumulate, in float64 (float32 on MPS); by default, where the loss is.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, the loss is not a tensor of shape (), or targets in a container
            do not tell the number of examples. What was accumulated is unharmed.
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
    num_examples = _num_examples(y_pred, y) if batch_size is len else int(batch_size(y))
    if not num_examples or _ignores_all(loss, y, loss_fn, rest):
        return 0, 0.0  # nothing to average over gives NaN, which would spoil what was accumulated
    if loss.is_cpu:
        return num_examples, loss.item() * num_examples
    return num_examples, loss.detach().to(wide_dtype(loss)) * num_examples


def _num_examples(y_pred: Any, y: Any) -> int:
    """How many examples a batch has: the length of tensors, also of all those in a tuple, a list or a mapping.

    Raises:
        ValueError: a container does not tell.
    """
    if isinstance(y, Tensor):
        return y.shape[0]  # Tensor.__len__ is Python code, and slower than some losses
    if not isinstance(y, tuple | list | Mapping):
        return len(y)
    lengths = {_length(item) for item in (y.values() if isinstance(y, Mapping) else y)}
    common = lengths.pop() if len(lengths) == 1 else None
    of_y_pred = _length(y_pred) if isinstance(y_pred, Tensor) else None
    if isinstance(y, list) and (common in (None, len(y)) or of_y_pred == len(y)):
        return len(y)  # one item for each example
    if common is not None and not isinstance(y, list):
        return common
    raise ValueError(
        f"batch_size should tell how many examples a {type(y).__name__} of {len(y)} targets has, but none is given: "
        "give Loss(..., batch_size=...), such as lambda y: len(y[0])"
    )


def _length(item: Any) -> int | None:
    if isinstance(item, Tensor):
        return item.shape[0] if item.ndim else None
    return len(item) if isinstance(item, Sized) and not isinstance(item, Mapping | str) else None


def _ignores_all(
    loss: Tensor, y: Any, loss_fn: Callable[..., Tensor], kwargs: Sequence[Any]
) -> bool:
    """Whether the loss is NaN because it ignores each target; looked at where looking costs nothing."""
    if not loss.is_cpu or not isinstance(y, Tensor) or y.is_floating_point() or not loss.isnan():
        return False
    given = {**getattr(loss_fn, "keywords", {}), **(kwargs[0] if kwargs else {})}
    index = given.get("ignore_index", getattr(loss_fn, "ignore_index", -100))
    return bool((y == index).all())
