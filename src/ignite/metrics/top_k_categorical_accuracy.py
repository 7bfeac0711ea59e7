"""The share of examples whose class is among the highest scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import RankCounts, Reading, Statistic

__all__ = ["TopKCategoricalAccuracy"]


class TopKCategoricalAccuracy(View):
    r"""The share of examples whose class is among the ``k`` highest scores.

    .. math:: \frac{1}{N} \sum_{i=1}^{N} \mathbb{1}\bigl[\, \#\{c : s_{ic} < s_{i y_i}\} \ge C - k \,\bigr]

    where :math:`s_{ic}` is the score of class :math:`c` for example :math:`i`. Update with
    ``(y_pred, y)``:

    - ``y_pred``: scores of shape (B, C), floating point; logits do as well as probabilities.
    - ``y``: classes in [0, C), of shape (B,) or (B, 1).

    A tie counts against the example, and so does NaN: a model that gives each class the same score
    gets 0, not 1.

    Args:
        k: how many of the highest scores count, from 1 to C.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to count; by default, where the scores are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``k`` is no positive integer; in ``update``, shapes do not fit each other or
            ``k``, or a target is no class. Targets on an accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = TopKCategoricalAccuracy(k=2)
        >>> metric.update((torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.2, 0.1]]), torch.tensor([2, 2])))
        >>> metric.compute()
        0.5

    References:
        Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015, section 4.1.
    """

    higher_is_better = True

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
        return [RankCounts(device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        scores = reading.output[0]
        if scores.ndim == 2 and scores.shape[1] < self._k:
            raise ValueError(
                f"k should be at most the number of classes, but given k={self._k} for {scores.shape[1]} classes"
            )

    def _check_loaded(self, statistic: Any) -> None:
        if statistic.num_classes is not None and statistic.num_classes < self._k:
            raise ValueError(
                f"it should be of at least k={self._k} classes, but given {statistic.num_classes}"
            )

    def _value(self, ranks: RankCounts) -> float:
        assert ranks.counts is not None
        return ranks.counts[-self._k :].sum().item() / ranks.num_examples
