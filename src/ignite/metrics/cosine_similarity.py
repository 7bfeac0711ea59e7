"""The mean cosine of the angle between predictions and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ignite.metrics._distances import MeanOfExamples, read_rows
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["CosineSimilarity"]


class CosineSimilarity(MeanOfExamples):
    r"""The mean cosine of the angle between predictions and targets.

    .. math:: \frac{1}{N} \sum_i \frac{p_i \cdot y_i}{\max(|p_i|, \epsilon) \max(|y_i|, \epsilon)}

    Update with ``(y_pred, y)``, both of shape (B, ...), floating point or integers; each example is one vector.

    Args:
        eps: the least length that is divided by, so that zeros give 0.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to accumulate; by default, where the predictions are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes differ.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = CosineSimilarity()
        >>> metric.update((torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])))
        >>> metric.compute()
        0.5
    """

    higher_is_better = True

    def __init__(
        self,
        eps: float = 1e-8,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not eps >= 0:
            raise ValueError(f"Argument eps should not be negative, but given {eps}")
        self.eps = eps
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_cosines, (self.eps,), device=self._accumulates_on)]


def _sum_cosines(output: Sequence[Tensor], eps: float) -> tuple[int, Tensor]:
    y_pred, y = (normalize(rows, dim=1, eps=eps) for rows in read_rows(output))  # (B, D)
    return y_pred.shape[0], (y_pred * y).sum(dim=1).clamp(-1, 1).sum()
