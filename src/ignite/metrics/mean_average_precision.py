"""Mean average precision of classifiers: average precision of each class, and their mean."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._classification import _BaseClassification
from ignite.metrics._curves import (
    Ranking,
    average_precision,
    average_rankings,
    check_values,
    rank_scores,
)
from ignite.metrics._output_arrays import BINARY, MULTICLASS, MULTILABEL, check_shapes, squeeze_pair
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import KeptSamples, Reading, Statistic

__all__ = ["MeanAveragePrecision"]


class MeanAveragePrecision(_BaseClassification):
    r"""Average precision of scores, for each class or averaged over classes.

    Without ``rec_thresholds``, the average precision of a class is :math:`\sum_k (R_k - R_{k-1}) P_k`
    over all distinct scores, where :math:`P_k` and :math:`R_k` are precision and recall of the
    examples with at least the k-th highest score. With ``rec_thresholds``
    :math:`r_1 < r_2 < \dots`, it is :math:`\sum_k (r_k - r_{k-1}) P(r_k)` with :math:`r_0 = 0`,
    where :math:`P(r)` is the precision at the highest score whose recall is at least r. It is 0 for
    a class without positives.

    Update with ``(y_pred, y)``. Further dimensions hold further examples.

    - ``y_pred``: scores, floating point: shape (B, ...) for binary data, else (B, C, ...).
    - ``y``: 0 or 1, shape (B, ...), for binary data; classes, shape (B, ...); or 0 or 1, shape
      (B, C, ...), if ``is_multilabel``.

    Args:
        rec_thresholds: recalls at which to take the precision, between 0 and 1. By default, all
            that occur.
        class_mean: "macro" (mean over classes), "weighted" (weighted by the number of positives),
            "micro" (all classes as one problem), or None (the value of each class). Without effect
            on binary data.
        is_multilabel: whether targets are several labels for each example.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to keep the tensors. By default, that of the outputs.
        skip_unrolling: see :class:`Metric`.

    Returns:
        In ``compute``, a float for binary data, else a tensor of shape (), or (C,) for None.

    Raises:
        TypeError: ``rec_thresholds`` are not numbers. In ``update``, ``y_pred`` is not floating
            point.
        ValueError: an argument is out of range. In ``update``, shapes or values are not those
            above; for values on an accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = MeanAveragePrecision()
        >>> scores = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
        >>> metric.update((scores, torch.tensor([0, 1, 0])))
        >>> metric.compute()  # (1/1 + 2/3) / 2 for class 0, 1/2 for class 1
        tensor(0.6667, dtype=torch.float64)

    References:
        Zhu, "Recall, precision and average precision", 2004.
    """

    higher_is_better = True

    def __init__(
        self,
        rec_thresholds: Sequence[float] | Tensor | None = None,
        class_mean: Literal["micro", "macro", "weighted"] | None = "macro",
        is_multilabel: bool = False,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if class_mean not in ("micro", "macro", "weighted", None):
            raise ValueError(
                "Wrong `class_mean` parameter, it should be 'micro', 'macro', 'weighted' or None, "
                f"but given {class_mean!r}"
            )
        self.rec_thresholds = (
            None if rec_thresholds is None else as_thresholds("rec_thresholds", rec_thresholds)
        )
        self.class_mean = class_mean
        super().__init__(output_transform, is_multilabel, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [KeptSamples(select_scores, (self._is_multilabel,), self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        reading.derive(select_scores, self._is_multilabel)

    @property
    def _type(self) -> str | None:
        """The kind of classification; None before the first batch."""
        kept = self._statistics_in_use()[0].parts()["first"]
        if kept is None:
            return None
        return MULTILABEL if self._is_multilabel else BINARY if kept.ndim == 1 else MULTICLASS

    @property
    def _num_classes(self) -> int | None:
        kept = self._statistics_in_use()[0].parts()["first"]
        return None if kept is None else 1 if kept.ndim == 1 else kept.shape[1]

    def _check_type(self, output: Sequence[Tensor]) -> None:
        """Raises ValueError if shapes or values fit no kind of classification."""
        select_scores(output, self._is_multilabel)

    def _value(self, samples: Any) -> Any:
        of_ranking: Callable[[Ranking], float] = (
            average_precision
            if self.rec_thresholds is None
            else functools.partial(average_precision_at, thresholds=self.rec_thresholds)
        )
        scores, targets = samples.first.cpu(), samples.second.cpu()
        check_values((scores, targets))
        if scores.ndim == 1:
            return of_ranking(rank_scores(scores, targets))
        columns = (
            (targets == i if targets.ndim == 1 else targets[:, i]) for i in range(scores.shape[1])
        )
        rankings = [rank_scores(scores[:, i], column) for i, column in enumerate(columns)]
        value = average_rankings(of_ranking, rankings, self.class_mean)
        return torch.as_tensor(value, dtype=torch.float64)


def average_precision_at(ranking: Ranking, thresholds: Tensor) -> float:
    """Returns the sum of precisions at recalls, each times its distance to the one before."""
    positives = ranking.num_positives.double()
    if positives[-1] == 0:
        return 0.0
    recall = positives / positives[-1]
    precision = positives / (positives + ranking.num_negatives)
    first = torch.searchsorted(recall, thresholds)
    return float((torch.diff(thresholds, prepend=thresholds.new_zeros(1)) * precision[first]).sum())


def select_scores(output: Sequence[Tensor], is_multilabel: bool) -> tuple[Tensor, Tensor]:
    """Returns scores of shape (N,) or (N, C), and targets of shape (N,) or (N, C).

    Raises:
        TypeError: scores are not floating point.
        ValueError: shapes do not match. On the CPU, also if a score is NaN, or a target is not a
            class, or not 0 or 1.
    """
    y_pred, y = output
    if not y_pred.is_floating_point():
        raise TypeError(
            f"`y_pred` should be a float tensor, but given {y_pred.dtype}; return scores, not "
            "labels, in output_transform"
        )
    y_pred, y = squeeze_pair(y_pred, y)
    check_shapes(y_pred, y, is_multilabel)
    if y_pred.ndim == y.ndim and not is_multilabel:
        scores, targets = y_pred.flatten(), y.flatten()
    else:
        scores, targets = _rows(y_pred), _rows(y) if is_multilabel else y.flatten()
    if targets.is_cpu:
        check_values((scores, targets))
    return scores, targets


def _rows(tensor: Tensor) -> Tensor:
    """Turns shape (B, C, ...) into (N, C)."""
    return tensor.movedim(1, -1).flatten(0, -2)


def as_thresholds(name: str, values: Sequence[float] | Tensor) -> Tensor:
    """Returns thresholds in float64, sorted.

    Raises:
        TypeError: they are not numbers.
        ValueError: there are none, or some are not between 0 and 1.
    """
    if not isinstance(values, Tensor):
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise TypeError(
                f"{name} should be a sequence of floats or a tensor, but given {type(values)}"
            )
        try:
            values = torch.tensor(values, dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name} should be a sequence of floats or a tensor, but given {values!r}"
            ) from error
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"{name} should be a one-dimensional tensor or a sequence of floats, and not empty, "
            f"but given a tensor of shape {tuple(values.shape)}"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name} values should be between 0 and 1, but given {values.tolist()}")
    return values.double().cpu().sort().values
