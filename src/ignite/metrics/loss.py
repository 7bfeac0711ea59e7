"""Loss: the mean of a loss function over all examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import as_loss_arguments, identity
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["Loss"]


class Loss(View):
    r"""Mean of a loss function over all examples.

    .. math:: \frac{\sum_b n_b \ell_b}{\sum_b n_b}

    where :math:`\ell_b` is the mean loss of batch :math:`b` and :math:`n_b` its size. A batch whose
    targets all have the ``ignore_index`` of the loss function adds nothing; otherwise a NaN loss
    makes the result NaN.

    Update with ``(y_pred, y)`` or ``(y_pred, y, kwargs)``, of any types that ``loss_fn`` accepts,
    or with a mapping with the keys "y_pred", "y" and optionally "criterion_kwargs".

    Args:
        loss_fn: ``loss_fn(y_pred, y, **kwargs)`` returns the mean loss of a batch, a tensor of
            shape ().
        output_transform: turns ``engine.state.output`` into one of the forms above.
        batch_size: ``batch_size(y)`` returns the number of elements that the loss is a mean over.
            For a loss with ``ignore_index``, use ``lambda y: (y != ignore_index).sum()``. By
            default, the length of the targets, also of those in a tuple or mapping.
        device: device on which to accumulate, in float64 (float32 on MPS). By default, that of the
            loss.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, the loss is not a tensor of shape (), or the number of examples
            of targets in a container is ambiguous. The metric is unchanged.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = Loss(torch.nn.functional.mse_loss)
        >>> metric.update((torch.ones(3), torch.ones(3)))  # a loss of 0 for 3 examples
        >>> metric.update((torch.tensor([0.0]), torch.tensor([2.0])))  # a loss of 4 for 1 example
        >>> metric.compute()
        1.0
    """

    higher_is_better = False

    required_output_keys = ("y_pred", "y", "criterion_kwargs")

    _sum = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

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
    loss = loss_fn(y_pred, y, **rest[0]) if rest else loss_fn(y_pred, y)
    if loss.ndim != 0:
        raise ValueError(
            "loss_fn did not return the average loss.: it should be a tensor of shape (), "
            f"but given one of shape {tuple(loss.shape)}"
        )
    num_examples = _num_examples(y_pred, y) if batch_size is len else int(batch_size(y))
    if not num_examples or _ignores_all(loss, y, loss_fn, rest):
        return 0, 0.0  # the mean over no elements is NaN and would make the sum NaN
    if loss.is_cpu:
        return num_examples, loss.item() * num_examples
    return num_examples, loss.detach().to(wide_dtype(loss)) * num_examples


def _num_examples(y_pred: Any, y: Any) -> int:
    """Returns the number of examples: the length of targets, or of those in a container.

    Raises:
        ValueError: the items of a container have different lengths.
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
        f"batch_size should be given to count the examples of a {type(y).__name__} of {len(y)} targets, "
        "but given none: use Loss(..., batch_size=...), for example lambda y: len(y[0])"
    )


def _length(item: Any) -> int | None:
    if isinstance(item, Tensor):
        return item.shape[0] if item.ndim else None
    return len(item) if isinstance(item, Sized) and not isinstance(item, Mapping | str) else None


def _ignores_all(
    loss: Tensor, y: Any, loss_fn: Callable[..., Tensor], kwargs: Sequence[Any]
) -> bool:
    """Returns whether the loss is NaN because it ignores all targets.

    False on an accelerator, because the check would synchronize with it.
    """
    if not loss.is_cpu or not isinstance(y, Tensor) or y.is_floating_point() or not loss.isnan():
        return False
    given = {**getattr(loss_fn, "keywords", {}), **(kwargs[0] if kwargs else {})}
    index = given.get("ignore_index", getattr(loss_fn, "ignore_index", -100))
    return bool((y == index).all())
