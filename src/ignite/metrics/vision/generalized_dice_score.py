"""The Dice score of images, weighted so that small classes count as much as large ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.statistics import Totals
from ignite.metrics.vision._overlaps import (
    GENERALIZED,
    INTERSECTIONS,
    NUM_JUDGED,
    SIZES,
    TARGETS,
    WEIGHT_POWERS,
    CountsOverlaps,
    generalized_dice,
    ratio_or_nan,
)

__all__ = ["GeneralizedDiceScore"]


class GeneralizedDiceScore(CountsOverlaps, View):
    r"""Generalized Dice score of each image, averaged over images; or of all pixels.

    .. math:: \frac{2 \sum_c w_c TP_c}{\sum_c w_c (P_c + T_c)}

    where :math:`TP_c` are the pixels of class :math:`c` that are predicted, :math:`P_c` the pixels
    predicted as it, :math:`T_c` its pixels, and the weight :math:`w_c` is :math:`1 / T_c^2`, so that
    small classes count as much as large ones. A class that is predicted in an image without it has
    the weight of the rarest class of this image. Images without any class, predicted or true, are
    ignored; the score is NaN if there are no others.

    The score does not depend on how images are split into batches, or on the number of processes.
    For the score of each class, where weights cancel out, see :class:`DiceScore`.

    Update with ``(y_pred, y)``, in the form given by ``input_format``; see :class:`MeanIoU`.

    Args:
        num_classes: number of classes C.
        include_background: whether class 0 counts.
        weight_type: "square" for the weight above, "simple" for :math:`1 / T_c`, "linear" for 1.
        aggregation_level: "samplewise" for the mean over images of their scores, "global" for the
            score of the pixels of all images as one.
        input_format: form of the outputs; see :class:`MeanIoU`.
        ignore_index: pixels with this target are ignored, regardless of the prediction.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the targets.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: see :class:`MeanIoU`.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = GeneralizedDiceScore(2, input_format="index")
        >>> metric.update((torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 0, 1]])))
        >>> round(metric.compute(), 4)  # weights 1/9 and 1: 2 (2/9 + 1) / (5/9 + 3)
        0.6875

    References:
        Sudre et al., "Generalised Dice overlap as a deep learning loss function for highly
        unbalanced segmentations", 2017. https://arxiv.org/abs/1707.03237
    """

    higher_is_better = True

    def __init__(  # noqa: PLR0913 - as other metrics of segmentation
        self,
        num_classes: int,
        include_background: bool = True,
        weight_type: Literal["square", "simple", "linear"] = "square",
        aggregation_level: Literal["samplewise", "global"] = "samplewise",
        input_format: Literal["scores", "index", "one-hot", "mixed"] = "scores",
        ignore_index: int | None = None,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if weight_type not in WEIGHT_POWERS:
            raise ValueError(
                f"weight_type should be 'square', 'simple' or 'linear', but given {weight_type!r}"
            )
        self.weight_type = weight_type
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

    def _power(self) -> int:
        return WEIGHT_POWERS[self.weight_type]

    def _value(self, *statistics: Any) -> Any:
        totals: Totals = statistics[0]
        values = totals.values
        if self.aggregation_level == "samplewise":
            return ratio_or_nan(values[GENERALIZED], values[NUM_JUDGED]).item()
        if not values[SIZES].any():
            return float("nan")
        of_classes = (values[INTERSECTIONS], values[SIZES], values[TARGETS])
        return generalized_dice(*of_classes, self._power()).item()
