"""The Dice score of classes in images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._output_arrays import ratio
from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.statistics import Totals
from ignite.metrics.statistics._statistic import wide_dtype
from ignite.metrics.vision._overlaps import (
    DICE,
    INTERSECTIONS,
    JUDGED,
    MACRO,
    MICRO,
    PRESENT,
    SIZES,
    TARGETS,
    WEIGHTED,
    CountsOverlaps,
    ratio_or_nan,
)

__all__ = ["DiceScore"]


class DiceScore(CountsOverlaps, View):
    r"""Dice score, :math:`\frac{2 TP}{2 TP + FP + FN}`, of each image, averaged over images; or of all pixels.

    Classes that are neither in an image nor predicted there are ignored for this image, and so are
    images without any other class. The score is NaN if nothing is left.

    Update with ``(y_pred, y)``, in the form given by ``input_format``; see :class:`MeanIoU`.

    Args:
        num_classes: number of classes C.
        include_background: whether class 0 counts.
        average: "macro" is the mean over classes, "weighted" the mean weighted by the number of
            pixels of each class, "micro" the score of all classes' pixels together, and None
            returns a score for each class, a tensor of shape (C,), or (C - 1,) without the
            background.
        aggregation_level: "samplewise" for the mean over images of their scores, "global" for the
            score of the pixels of all images.
        input_format: form of the outputs; see :class:`MeanIoU`.
        ignore_index: pixels with this target are ignored, regardless of the prediction.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the targets.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: see :class:`MeanIoU`.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = DiceScore(2, input_format="index")
        >>> y_pred, y = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]]), torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0]])
        >>> metric.update((y_pred, y))
        >>> round(metric.compute(), 4)  # of 11/15 in the first image, the mean of 2/3 and 4/5, and 1
        0.8667

    References:
        Dice, "Measures of the amount of ecologic association between species", 1945.
    """

    higher_is_better = True

    def __init__(  # noqa: PLR0913 - one more than other metrics of segmentation
        self,
        num_classes: int,
        include_background: bool = True,
        average: Literal["macro", "micro", "weighted", "none"] | None = "macro",
        aggregation_level: Literal["samplewise", "global"] = "samplewise",
        input_format: Literal["scores", "index", "one-hot", "mixed"] = "scores",
        ignore_index: int | None = None,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if average not in ("macro", "micro", "weighted", "none", None):
            raise ValueError(
                f"average should be 'macro', 'micro', 'weighted' or None, but given {average!r}"
            )
        self.average = None if average == "none" else average
        super().__init__(
            num_classes,
            include_background,
            input_format,
            ignore_index,
            aggregation_level,
            output_transform,
            device,
            skip_unrolling,
        )

    def _value(self, *statistics: Any) -> Any:
        totals: Totals = statistics[0]
        values = totals.values
        if self.aggregation_level == "global":
            return self._of_all_pixels(values)
        if self.average is None:
            return ratio_or_nan(values[DICE], values[PRESENT])
        place = {"macro": MACRO, "weighted": WEIGHTED, "micro": MICRO}[self.average]
        return ratio_or_nan(values[place], values[JUDGED]).item()

    def _of_all_pixels(self, values: list[Tensor]) -> Any:
        hits, sizes, targets = values[INTERSECTIONS], values[SIZES], values[TARGETS]
        dice = ratio_or_nan(2.0 * hits.to(wide_dtype(hits)), sizes)  # (C,)
        if self.average is None:
            return dice
        if self.average == "micro":
            return ratio_or_nan(2.0 * hits.sum(), sizes.sum()).item()
        dice, weights = dice.nan_to_num(0.0), (sizes > 0) if self.average == "macro" else targets
        if not sizes.any():
            return float("nan")
        return ratio((dice * weights).sum(), weights.sum()).item()
