"""How far two labellings agree, beyond chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._contingency import (
    check_labels,
    count_labels,
    cross_table,
    labels_of_samples,
    outside_message,
)
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.statistics import KeptSamples, Reading, Statistic, Totals

__all__ = ["CohenKappa"]


class CohenKappa(View):
    r"""How far predicted labels agree with true ones, beyond chance: 1 if they are equal, 0 if independent.

    .. math:: 1 - \frac{\sum_{ij} w_{ij} o_{ij}}{\sum_{ij} w_{ij} e_{ij}}

    with :math:`o` how often labels :math:`i` and :math:`j` go together, :math:`e` how often they
    would if they were independent, and :math:`w` 0 on the diagonal and elsewhere 1, or with
    ``weights`` :math:`|i - j|` ("linear") or
    :math:`(i - j)^2` ("quadratic"), the distance of the labels themselves, whichever others occur. All of one class
    gives 0.

    Update with ``(y_pred, y)``: labels of shape (B,) or (B, 1), whole numbers.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        weights: None, "linear" or "quadratic".
        check_compute_fn: without effect; kept for programs that give it.
        device: where to keep or count labels; by default, where they are.
        skip_unrolling: see :class:`Metric`.
        num_classes: count labels, which then have to be from 0 to ``num_classes - 1``. Without it,
            all labels are kept.

    Raises:
        ValueError: ``weights`` is none of the above; in ``update``, shapes are not those above, or
            a label is out of range, no whole number, or -100, which losses ignore. Values on an
            accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = CohenKappa()
        >>> metric.update((torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0])))
        >>> metric.compute()  # three of four agree, two would by chance
        0.5

    References:
        Cohen, "A coefficient of agreement for nominal scales", 1960.
    """

    higher_is_better = True

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        weights: Literal["linear", "quadratic"] | None = None,
        check_compute_fn: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        num_classes: int | None = None,
    ) -> None:
        if weights not in (None, "linear", "quadratic"):
            raise ValueError(
                f"Kappa Weighting type must be None or linear or quadratic., but given {weights!r}"
            )
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes should be positive, but given {num_classes}")
        self.weights = weights
        self.num_classes = num_classes
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        if self.num_classes is None:
            return [KeptSamples(select_samples, device=self._accumulates_on)]
        return [
            Totals(
                count_labels,
                (self.num_classes, "CohenKappa"),
                num_values=2,
                device=self._accumulates_on,
            )
        ]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        y_pred, y = reading.derive(select_samples)
        if y_pred.ndim != 1 or y.ndim != 1:
            raise ValueError(
                "multilabel-indicator is not supported: y_pred and y should be of shape (batch_size,), "
                f"but given {tuple(y_pred.shape)} and {tuple(y.shape)}"
            )
        if self.num_classes is None and y.is_cpu:  # otherwise they are counted
            check_labels(reading, y_pred, y, "CohenKappa")

    def _name(self) -> str:
        return "CohenKappa" if self.num_classes is None else "Confusion matrix"

    def _value(self, statistic: Any) -> float:
        if isinstance(statistic, KeptSamples):
            samples = labels_of_samples(statistic.first, statistic.second, "CohenKappa")
            return _kappa(*cross_table(*samples), self.weights)
        table, num_outside = statistic.values
        if int(num_outside):
            raise ValueError(outside_message(self.num_classes, int(num_outside)))
        return _kappa(table, torch.arange(len(table), device=table.device), self.weights)


_TINY = 1e-9


def _kappa(table: Tensor, labels: Tensor, weights: str | None) -> float:
    """Of how often labels (C,), in rows, go with those in columns."""
    if weights is None:
        num_true, num_predicted = table.sum(dim=1).double(), table.sum(dim=0).double()
        n = float(num_true.sum())
        by_chance = n - float(num_true @ num_predicted) / n
        return 0.0 if by_chance < _TINY else 1 - (n - float(table.diagonal().sum())) / by_chance
    table, labels = table.double(), labels.double()
    distance = (labels[:, None] - labels).abs()
    weight = distance if weights == "linear" else distance**2
    expected = table.sum(dim=1)[:, None] * table.sum(dim=0) / table.sum()
    chance = (weight * expected).sum()
    if chance < _TINY:
        return 0.0
    return float(1 - (weight * table).sum() / chance)
