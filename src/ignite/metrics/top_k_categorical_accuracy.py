"""The share of examples whose class is among the highest scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._labels import count_outside
from ignite.metrics._outputs import identity
from ignite.metrics._view import View
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics.labels import outside_message

__all__ = ["TopKCategoricalAccuracy"]


class TopKCategoricalAccuracy(View):
    r"""The share of examples whose class is among the ``k`` highest scores.

    .. math:: \frac{1}{N} \sum_{i=1}^{N} \mathbb{1}\bigl[\, \#\{c : s_{ic} < s_{i y_i}\} \ge C - k \,\bigr]

    where :math:`s_{ic}` is the score of class :math:`c` for example :math:`i`. Update with ``(y_pred, y)``:

    - ``y_pred``: scores of shape (B, C), floating point; logits do as well as probabilities.
    - ``y``: classes in [0, C), of shape (B,) or (B, 1).

    A tie counts against the example, and so does NaN: a model that gives each class the same score gets 0, not 1.

    Args:
        k: how many of the highest scores count, from 1 to C.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to count; by default, where the scores are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``k`` is no positive integer; in ``update``, shapes do not fit each other or ``k``, or a target is
            no class. Targets on an accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = TopKCategoricalAccuracy(k=2)
        >>> metric.update((torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.2, 0.1]]), torch.tensor([2, 2])))
        >>> metric.compute()
        0.5

    References:
        Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015, section 4.1.
    """

    def __init__(
        self,
        k: int = 5,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"k should be a positive integer, but given {k!r}")
        self._k = k
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Totals(_count_hits, (self._k,), num_values=2, device=self._accumulates_on)]

    def _value(self, totals: Totals) -> float:
        num_hits, num_outside = map(int, totals.values)
        if num_outside:
            raise ValueError(f"In TopKCategoricalAccuracy, {num_outside} targets are no class of y_pred")
        return num_hits / totals.num_examples


def _count_hits(output: Sequence[Tensor], k: int) -> tuple[int, Tensor, Tensor | int]:
    """Number of examples, of hits, and of targets that are no class."""
    scores, targets = output[0].detach(), output[1].detach()
    targets = targets if targets.ndim == 1 else targets.flatten()
    if scores.ndim != 2 or scores.shape[0] != targets.shape[0]:
        raise ValueError(
            "y_pred should have shape (batch_size, num_classes) and y shape (batch_size,), "
            f"but given {tuple(scores.shape)} and {tuple(output[1].shape)}"
        )
    num_classes = scores.shape[1]
    if num_classes < k:
        raise ValueError(f"k should be at most the number of classes, but given k={k} for {num_classes} classes")
    targets = targets if targets.dtype == torch.int64 else targets.long()
    num_outside: int | Tensor = 0
    if not targets.is_cpu:
        num_outside = count_outside(targets, num_classes)
        targets = targets.clamp(0, num_classes - 1)
    try:
        true_scores = scores.gather(1, targets.unsqueeze(1))  # (B, 1)
    except RuntimeError:  # on the CPU it checks the indices itself
        raise ValueError(outside_message(num_classes, int(count_outside(targets, num_classes)))) from None
    # Counting lower scores settles ties alike on every device, and makes NaN a miss: no comparison with it is true.
    # Into floats, because that is several times faster than into booleans; exact up to 2 ** 24 classes.
    is_lower = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    num_lower = torch.lt(scores, true_scores, out=is_lower).sum(dim=1)  # (B,)
    return targets.shape[0], torch.count_nonzero(num_lower >= num_classes - k), num_outside
