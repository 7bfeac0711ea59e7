"""Pearson correlation coefficient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.regression._base import moment_sums, read_pair
from ignite.metrics.statistics import Moments, Statistic
from ignite.metrics.statistics.moments import Joined

__all__ = ["PearsonCorrelation"]


class PearsonCorrelation(View):
    r"""Pearson correlation coefficient, from -1 to 1.

    .. math:: \frac{\sum_i (P_i - \bar{P})(A_i - \bar{A})}
        {\sqrt{\sum_i (P_i - \bar{P})^2} \sqrt{\sum_i (A_i - \bar{A})^2}}

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1). The value is 0 if predictions or targets are all equal. It
    does not depend on the unit and offset of the numbers.

    Args:
        eps: a lower bound of the product of both standard deviations. It has an effect only if it
            is larger than the default: the value then depends on the unit, and is too small for
            numbers that vary little.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of predictions and targets.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = PearsonCorrelation()
        >>> metric.update((torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])))
        >>> round(metric.compute(), 9)  # products of deviations 1, 0, 0, squares 2 and 2
        0.5
    """

    higher_is_better = True

    def __init__(
        self,
        eps: float = 1e-8,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        self.eps = eps
        super().__init__(output_transform, device)

    def _ignite_names(self) -> tuple[str, ...]:
        return (
            "_num_examples",
            "_sum_of_y_preds",
            "_sum_of_ys",
            "_sum_of_y_pred_squares",
            "_sum_of_y_squares",
            "_sum_of_products",
        )

    def _to_ignite(self) -> dict[str, Any]:
        sums = moment_sums(self._statistics_in_use()[0], self)
        return dict(zip(self._ignite_names(), sums, strict=True))

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        n, x, y, xx, yy, xy = (float(state[name]) for name in self._ignite_names())
        if n:
            norms = math.sqrt(max(xx - x * x / n, 0.0)), math.sqrt(max(yy - y * y / n, 0.0))
            product = norms[0] * norms[1]
            correlation = (xy - x * y / n) / product if product else 0.0
            found = Joined(n, (x / n, y / n), (x - y) / n, norms, correlation)
            self._own_statistic().take_joined(found)

    def _declare(self) -> list[Statistic]:
        return [Moments(read_pair, device=self._accumulates_on)]

    def _value(self, moments: Moments) -> float:
        found = moments.joined()
        correlation = max(-1.0, min(found.correlation, 1.0))
        if (
            self.eps > 1e-8
        ):  # Ignite's default, which would change the value for numbers that vary little
            correlation *= min(found.norms[0] * found.norms[1] / found.num_examples / self.eps, 1.0)
        return correlation
