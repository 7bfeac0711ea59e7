"""How far predicted probabilities are from how often the predictions are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from ignite.metrics._host_arrays import arrays_of, detached, without_float_warnings
from ignite.metrics._labels import are_classes, check_shapes, squeeze_pair
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["CalibrationError"]

_TOLERANCE = 0.01
"""How far the sum of the probabilities of an example may be from 1: they may come in half precision."""


class CalibrationError(View):
    r"""How far predicted probabilities are from how often predictions are right.

    Predictions are sorted into bins of equal width by their probability: bin b of B holds those
    from b / B up to, not including, (b + 1) / B, the last one 1 as well. With :math:`n_b` of
    :math:`N` predictions in bin :math:`b`, mean probability :math:`p_b` and share of right ones
    :math:`a_b`, it is :math:`\sum_b \frac{n_b}{N}
    |a_b - p_b|` ("l1"), :math:`\sqrt{\sum_b \frac{n_b}{N} (a_b - p_b)^2}` ("l2") or :math:`\max_b |a_b - p_b|` ("max").

    Update with ``(y_pred, y)``: probabilities of shape (B, C, ...), which add up to 1 over C and of
    which the highest is judged, with classes of shape (B, ...); or probabilities of class 1 with 0
    and 1, both of shape (B, ...).

    Args:
        num_bins: how many bins.
        norm: "l1" (the expected calibration error), "l2" or "max".
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to accumulate; by default, where the probabilities are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: an argument is none of the above; in ``update``, shapes do not fit, a
            probability is not from 0 to 1, those of an example do not add up to 1, or a target is
            no class. Values on an accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = CalibrationError(num_bins=10)
        >>> metric.update((torch.tensor([[0.25, 0.75], [0.75, 0.25]]), torch.tensor([1, 1])))
        >>> metric.compute()  # 75 % sure, 50 % right
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
        counts, confidence, right = bins
        used = counts > 0
        gaps = (right[used] - confidence[used]).abs() / counts[used]
        if self.norm == "max":
            return float(gaps.max())
        shares = counts[used] / counts.sum()
        if self.norm == "l1":
            return float((shares * gaps).sum())
        return float((shares * gaps**2).sum().sqrt())


def _read(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Of each example the probability of what is predicted, and 1 if it is right, else 0: shape (M,) each.

    Elsewhere than on the CPU, 2 if something is wrong with it.
    """
    y_pred, y = squeeze_pair(detached(output[0]), detached(output[1]))
    check_shapes(y_pred, y, is_multilabel=False)
    found = _read_quickly(y_pred, y)
    if found is not None:
        return found
    if y_pred.ndim == y.ndim + 1:
        confidence, classes = y_pred.max(dim=1)
        right, num_classes = classes == y, y_pred.shape[1]
        sums = y_pred.sum(dim=1, dtype=wide_dtype(y_pred))
        is_right_input = (y_pred >= 0).all(dim=1) & (
            (sums - 1).abs() <= _TOLERANCE
        )  # false for NaN
    else:
        confidence, right, num_classes = y_pred, y == 1, 2
        is_right_input = (confidence >= 0) & (confidence <= 1)
    is_right_input &= (y >= 0) & (y < num_classes)
    if y.is_floating_point():
        is_right_input &= y == y.round()
    if y_pred.is_cpu and not is_right_input.all():
        _refuse(y_pred, y, int((~is_right_input).sum()))
    dtype = confidence.dtype if confidence.is_floating_point() else wide_dtype(confidence)
    is_right = torch.where(is_right_input, right.to(dtype), 2)
    return confidence.to(dtype).flatten(), is_right.flatten()


def _read_quickly(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """The same of probabilities (B, C), on the CPU; None of others, or if something is wrong."""
    is_usual = (
        y_pred.ndim == 2 and y.ndim == 1 and y.dtype is torch.int64 and y_pred.is_floating_point()
    )
    arrays = arrays_of(y_pred, y) if is_usual and y.numel() else None
    if arrays is None:
        return None
    probabilities, true = arrays
    with without_float_warnings():
        is_right_input = (
            probabilities.min() >= 0 and abs(probabilities.sum(1) - 1).max() <= _TOLERANCE
        )
    if not is_right_input or not are_classes(true, probabilities.shape[1]):
        return None
    is_right = (probabilities.argmax(1) == true).astype(probabilities.dtype)
    return torch.from_numpy(probabilities.max(1)), torch.from_numpy(is_right)


def _refuse(y_pred: Tensor, y: Tensor, num_wrong: int) -> NoReturn:
    raise ValueError(
        "y_pred should be probabilities, which add up to 1 over classes, and y classes, but given "
        f"y_pred from {y_pred.min().item():g} to {y_pred.max().item():g} and y from {y.min().item():g} to "
        f"{y.max().item():g}, of which {num_wrong} examples do not fit; turn logits into probabilities, "
        "by softmax or sigmoid, in output_transform"
    )


def _bin(pair: tuple[Tensor, Tensor], num_bins: int) -> tuple[int, Tensor, Tensor]:
    """Number of examples; of each bin their number, the sum of probabilities, and how many are right: (3, num_bins)."""
    confidence = pair[0].to(wide_dtype(pair[0]))
    right = pair[1].to(confidence.dtype)
    # Compared with the edges, because a product with the number of bins is rounded over them.
    edges = torch.arange(num_bins, dtype=confidence.dtype, device=confidence.device) / num_bins
    index = (torch.bucketize(confidence.nan_to_num(0.0), edges, right=True) - 1).clamp(
        0, num_bins - 1
    )
    rows = torch.stack([torch.ones_like(confidence), confidence, right])
    bins = torch.zeros(3, num_bins, dtype=confidence.dtype, device=confidence.device).index_add_(
        1, index, rows
    )
    return len(confidence), bins, (right > 1).sum()
