"""Calibration error: the difference between predicted probabilities and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from ignite.metrics._output_arrays import (
    are_classes,
    arrays_of,
    check_shapes,
    detached,
    squeeze_pair,
    without_float_warnings,
)
from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["CalibrationError"]

_TOLERANCE = 0.01
"""Accepted deviation from 1 of the sum of probabilities, which may be in half precision."""


class CalibrationError(View):
    r"""Calibration error: the difference between predicted probabilities and accuracy.

    .. math::
        \text{l1: } \sum_b \frac{n_b}{N} |a_b - p_b| \qquad
        \text{l2: } \sqrt{\sum_b \frac{n_b}{N} (a_b - p_b)^2} \qquad
        \text{max: } \max_b |a_b - p_b|

    where the :math:`N` predictions are sorted by their probability into bins of equal width, and
    bin :math:`b` has :math:`n_b` predictions with mean probability :math:`p_b` and accuracy
    :math:`a_b`. Of B bins, bin b covers [b / B, (b + 1) / B); the last one includes 1. Empty bins
    do not count.

    Update with ``(y_pred, y)``, for several classes:

    - ``y_pred``: probabilities, shape (B, C, ...), which add up to 1 over C. The prediction is the
      class with the highest one.
    - ``y``: true classes, shape (B, ...), in [0, C).

    or for two:

    - ``y_pred``: probabilities of class 1, shape (B, ...).
    - ``y``: true classes, shape (B, ...), 0 or 1.

    Args:
        num_bins: number of bins.
        norm: "l1" (the expected calibration error), "l2" or "max".
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the probabilities.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``num_bins`` or ``norm`` is invalid. In ``update``, the shapes do not match, a
            probability is not in [0, 1], those of an example do not add up to 1, or a target is not
            a class. For values on an accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = CalibrationError(num_bins=10)
        >>> metric.update((torch.tensor([[0.25, 0.75], [0.75, 0.25]]), torch.tensor([1, 1])))
        >>> metric.compute()  # probability 0.75, accuracy 0.5
        0.25

    References:
        Guo et al., "On calibration of modern neural networks", 2017,
        https://arxiv.org/abs/1706.04599
    """

    higher_is_better = False

    def __init__(
        self,
        num_bins: int = 15,
        norm: Literal["l1", "l2", "max"] = "l1",
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not isinstance(num_bins, int) or num_bins < 1:
            raise ValueError(f"num_bins should be a positive integer, but given {num_bins!r}")
        if norm not in ("l1", "l2", "max"):
            raise ValueError(f"norm should be 'l1', 'l2' or 'max', but given {norm!r}")
        self.num_bins = num_bins
        self.norm = norm
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [
            Totals(_bin, (self.num_bins,), num_values=2, device=self._accumulates_on, select=_read)
        ]

    def _value(self, totals: Totals) -> float:
        bins, num_wrong = totals.values
        if int(num_wrong):
            raise ValueError(
                f"y_pred should be probabilities and y classes, but {int(num_wrong)} values are out of range"
            )
        counts, confidence, correct = bins
        used = counts > 0
        gaps = (correct[used] - confidence[used]).abs() / counts[used]
        if self.norm == "max":
            return float(gaps.max())
        shares = counts[used] / counts.sum()
        if self.norm == "l1":
            return float((shares * gaps).sum())
        return float((shares * gaps**2).sum().sqrt())


def _read(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the probability of each prediction, and 1 if it is correct, else 0: shape (M,) each.

    On an accelerator, 2 marks an invalid example.
    """
    y_pred, y = squeeze_pair(detached(output[0]), detached(output[1]))
    check_shapes(y_pred, y, is_multilabel=False)
    found = _read_with_numpy(y_pred, y)
    if found is not None:
        return found
    if y_pred.ndim == y.ndim + 1:
        confidence, classes = y_pred.max(dim=1)
        correct, num_classes = classes == y, y_pred.shape[1]
        sums = y_pred.sum(dim=1, dtype=wide_dtype(y_pred))
        # Both comparisons are false for NaN.
        is_valid = (y_pred >= 0).all(dim=1) & ((sums - 1).abs() <= _TOLERANCE)
    else:
        confidence, correct, num_classes = y_pred, y == 1, 2
        is_valid = (confidence >= 0) & (confidence <= 1)
    is_valid &= (y >= 0) & (y < num_classes)
    if y.is_floating_point():
        is_valid &= y == y.round()
    if y_pred.is_cpu and not is_valid.all():
        _raise_invalid(y_pred, y, int((~is_valid).sum()))
    dtype = confidence.dtype if confidence.is_floating_point() else wide_dtype(confidence)
    is_correct = torch.where(is_valid, correct.to(dtype), 2)
    return confidence.to(dtype).flatten(), is_correct.flatten()


def _read_with_numpy(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Reads probabilities (B, C) on the CPU, faster; None for others, or if they are invalid."""
    is_usual = (
        y_pred.ndim == 2 and y.ndim == 1 and y.dtype is torch.int64 and y_pred.is_floating_point()
    )
    arrays = arrays_of(y_pred, y) if is_usual and y.numel() else None
    if arrays is None:
        return None
    probabilities, true = arrays
    with without_float_warnings():
        is_valid = probabilities.min() >= 0 and abs(probabilities.sum(1) - 1).max() <= _TOLERANCE
    if not is_valid or not are_classes(true, probabilities.shape[1]):
        return None
    is_correct = (probabilities.argmax(1) == true).astype(probabilities.dtype)
    return torch.from_numpy(probabilities.max(1)), torch.from_numpy(is_correct)


def _raise_invalid(y_pred: Tensor, y: Tensor, num_wrong: int) -> NoReturn:
    raise ValueError(
        "y_pred should be probabilities, which add up to 1 over classes, and y classes, but given "
        f"y_pred from {y_pred.min().item():g} to {y_pred.max().item():g} and y from {y.min().item():g} to "
        f"{y.max().item():g}, of which {num_wrong} examples are invalid; apply softmax or sigmoid to logits "
        "in output_transform"
    )


def _bin(pair: tuple[Tensor, Tensor], num_bins: int) -> tuple[int, Tensor, Tensor]:
    """Returns the number of examples, the bins (3, num_bins), and the number of invalid examples.

    The rows of the bins are: number of examples, sum of probabilities, number of correct ones.
    """
    confidence = pair[0].to(wide_dtype(pair[0]))
    correct = pair[1].to(confidence.dtype)
    # Compared with the edges: a product with num_bins may be rounded into the next bin.
    edges = torch.arange(num_bins, dtype=confidence.dtype, device=confidence.device) / num_bins
    index = (torch.bucketize(confidence.nan_to_num(0.0), edges, right=True) - 1).clamp(
        0, num_bins - 1
    )
    rows = torch.stack([torch.ones_like(confidence), confidence, correct])
    bins = torch.zeros(3, num_bins, dtype=confidence.dtype, device=confidence.device).index_add_(
        1, index, rows
    )
    return len(confidence), bins, (correct > 1).sum()
