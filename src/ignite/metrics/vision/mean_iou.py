"""Mean intersection over union of classes in images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.statistics import Totals
from ignite.metrics.vision._overlaps import (
    IOU,
    PRESENT,
    CountsOverlaps,
    ratio_or_nan,
)

__all__ = ["MeanIoU"]


class MeanIoU(CountsOverlaps, View):
    r"""Mean over images of the intersection over union of each class, :math:`\frac{TP}{TP + FP + FN}`.

    The mean is over all pairs of an image and a class that is in the image or predicted there; other
    pairs do not count. For the value of all pixels as one image, see :func:`ignite.metrics.mIoU`.

    Update with ``(y_pred, y)``, in the form given by ``input_format``.

    Args:
        num_classes: number of classes C.
        include_background: whether class 0 counts.
        per_class: whether to return the mean over images for each class, a tensor of shape (C,), or
            (C - 1,) without the background. It is NaN for a class that does not occur.
        input_format: "scores" for scores (B, C, ...), whose highest is the prediction, and classes
            (B, ...); "index" for classes (B, ...) both; "one-hot" for masks (B, C, ...) of 0 and 1
            both, which may overlap; "mixed" for masks and classes, in any order.
        ignore_index: pixels with this target are ignored, regardless of the prediction.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the targets.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: an argument is out of range. In ``update``, the shapes are not those above, or a
            value is no class, score or mask. Values on an accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = MeanIoU(2, input_format="index")
        >>> y_pred, y = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]]), torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0]])
        >>> metric.update((y_pred, y))
        >>> round(metric.compute(), 4)  # of 1/2 and 2/3 in the first image, and 1 in the second
        0.7222

    References:
        Everingham et al., "The Pascal visual object classes challenge: a retrospective", 2015.
    """

    higher_is_better = True

    def __init__(
        self,
        num_classes: int,
        include_background: bool = True,
        per_class: bool = False,
        input_format: Literal["scores", "index", "one-hot", "mixed"] = "scores",
        ignore_index: int | None = None,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self.per_class = per_class
        super().__init__(
            num_classes,
            include_background,
            input_format,
            ignore_index,
            "samplewise",
            output_transform,
            device,
            skip_unrolling,
        )

    def _value(self, *statistics: Any) -> Any:
        totals: Totals = statistics[0]
        sums, counts = totals.values[IOU], totals.values[PRESENT]
        if self.per_class:
            return ratio_or_nan(sums, counts)
        return ratio_or_nan(sums.sum(), counts.sum()).item()
