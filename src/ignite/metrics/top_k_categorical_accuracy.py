"""Top-k categorical accuracy: is the true class among the k highest scores?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, no_count
from ignite.metrics._views import View
from ignite.metrics.statistics import RankCounts, Reading, Statistic
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["TopKCategoricalAccuracy"]


def _num_hits(metric: Any, ranks: RankCounts) -> Tensor | None:
    return None if ranks.counts is None else ranks.counts[-metric._k :].sum()


def _set_num_hits(metric: Any, ranks: RankCounts, value: Any) -> None:
    """Counts all hits as hits of the highest score, because top-k accuracy does not distinguish them."""
    is_whole = isinstance(value, int) or not torch.as_tensor(value).is_floating_point()
    dtype = torch.int64 if is_whole else wide_dtype(metric._device)
    counts = torch.zeros(ranks.num_classes or metric._k, dtype=dtype, device=metric._device)
    counts[-1] = value
    ranks.assign("counts", counts)


class TopKCategoricalAccuracy(View):
    r"""Fraction of examples whose true class is among the ``k`` highest scores.

    .. math:: \frac{1}{N} \sum_{i=1}^{N} \mathbb{1}\bigl[\, \#\{c : s_{ic} < s_{i y_i}\} \ge C - k \,\bigr]

    where :math:`s_{ic}` is the score of class :math:`c` for example :math:`i`.

    Ties and NaN count against the example: a model that gives all classes the same score gets 0,
    not 1.

    Update with ``(y_pred, y)``:

    - ``y_pred``: scores, shape (B, C), floating point, logits or probabilities.
    - ``y``: true classes, shape (B,) or (B, 1), integer, in [0, C).

    Args:
        k: number of highest scores that count, from 1 to C.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to count. By default, that of the scores.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``k`` is not a positive integer. In ``update``, the shapes do not match each
            other or ``k``, or a target is not a class. For targets on an accelerator, ``compute``
            raises instead.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = TopKCategoricalAccuracy(k=2)
        >>> metric.update((torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.2, 0.1]]), torch.tensor([2, 2])))
        >>> metric.compute()
        0.5

    References:
        Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015, section 4.1.
    """

    higher_is_better = True

    _num_correct = StatisticPart(initial=no_count, read=_num_hits, write=_set_num_hits)
    _num_examples = StatisticPart("num_examples")

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
        return _num_hits(self, ranks).item() / ranks.num_examples  # type: ignore[union-attr]
