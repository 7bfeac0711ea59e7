"""Overlaps of class masks in each image: sums that segmentation metrics share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._output_arrays import (
    as_classes,
    classes_of_scores,
    count_outside,
    is_binary,
    ratio,
)
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

FORMATS = ("scores", "index", "one-hot", "mixed")

NUM_VALUES = 10
# The sums over images, in the order in which ``sum_overlaps`` returns them. "Present" classes are
# in the image or predicted there.
(
    INTERSECTIONS,  # pixels, shape (C,)
    SIZES,  # pixels of the class and pixels predicted for it, (C,)
    TARGETS,  # pixels of the class, (C,)
    PRESENT,  # images where the class is present, (C,)
    IOU,  # of the class where it is present, (C,)
    DICE,  # Dice coefficient of the class where it is present, (C,)
    JUDGED,  # images where a class is present
    MACRO,  # mean Dice coefficients of the classes present
    WEIGHTED,  # means weighted by targets
    MICRO,  # Dice coefficients of all pixels
) = range(NUM_VALUES)

WEIGHT_POWERS = {"square": 2, "simple": 1, "linear": 0}
NUM_GENERALIZED_VALUES = 5
# Those of ``sum_generalized_overlaps``: the first three as above, images where a class is present,
# and their generalized Dice scores.
NUM_JUDGED, GENERALIZED = 3, 4


class CountsOverlaps:
    """Mixin of segmentation metrics: their common options, and the statistic that they accumulate.

    Raises:
        ValueError: the options contradict each other.
    """

    def __init__(
        self,
        num_classes: int,
        include_background: bool,
        input_format: str,
        ignore_index: int | None,
        aggregation_level: str,
        *args: Any,
    ) -> None:
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"num_classes should be an integer above 0, but given {num_classes!r}")
        if num_classes == 1 and not include_background:
            raise ValueError("num_classes should be above 1 without the background, but given 1")
        if input_format not in FORMATS:
            raise ValueError(f"input_format should be one of {FORMATS}, but given {input_format!r}")
        if aggregation_level not in ("samplewise", "global"):
            raise ValueError(
                "aggregation_level should be 'samplewise' or 'global', "
                f"but given {aggregation_level!r}"
            )
        if ignore_index is not None and input_format == "one-hot":
            raise ValueError(
                "ignore_index should be None for masks, which have no index, "
                f'but given {ignore_index}; use input_format="mixed" with targets of shape (B, ...)'
            )
        self.num_classes = num_classes
        self.include_background = include_background
        self.input_format = input_format
        self.ignore_index = ignore_index
        self.aggregation_level = aggregation_level
        super().__init__(*args)

    def _declare(self: Any) -> list[Statistic]:
        args = (self.num_classes, self.include_background, self.input_format, self.ignore_index)
        device = self._accumulates_on
        power = self._power()
        if power is None:
            return [Totals(sum_overlaps, args, NUM_VALUES + 1, device=device)]
        num_values = NUM_GENERALIZED_VALUES + 1
        return [Totals(sum_generalized_overlaps, (*args, power), num_values, device=device)]

    def _power(self) -> int | None:
        """Returns the power of the weights of a generalized score; None for other metrics."""
        return None

    def _check(self, statistic: Any) -> None:
        """Raises ValueError for invalid values on an accelerator, which ``update`` only counts."""
        super()._check(statistic)  # type: ignore[misc]
        num_wrong = int(statistic.values[-1]) if statistic.num_examples else 0
        if num_wrong:
            raise ValueError(_wrong_message(self.num_classes, num_wrong))


def ratio_or_nan(sums: Tensor, counts: Tensor) -> Tensor:
    """Returns means, float64; NaN where nothing was counted."""
    counts = counts.to(wide_dtype(counts))
    return torch.where(counts > 0, sums / counts.clamp(min=1), torch.nan)


def sum_overlaps(
    output: Sequence[Tensor],
    num_classes: int,
    include_background: bool,
    input_format: str,
    ignore_index: int | None,
) -> tuple[Any, ...]:
    """Returns the number of images, their sums, and the number of invalid values on an accelerator."""
    (intersections, predicted, targets), num_wrong = _read(
        output, num_classes, include_background, input_format, ignore_index
    )
    sizes = predicted + targets
    wide = wide_dtype(sizes)
    iou = ratio(intersections.to(wide), sizes - intersections)
    dice = ratio(2 * intersections.to(wide), sizes)
    is_present = sizes > 0
    num_present = is_present.sum(dim=1)
    return (
        len(sizes),
        intersections.sum(dim=0),
        sizes.sum(dim=0),
        targets.sum(dim=0),
        is_present.sum(dim=0),
        iou.sum(dim=0),
        dice.sum(dim=0),
        (num_present > 0).sum(),
        ratio(dice.sum(dim=1), num_present).sum(),
        ratio((dice * targets).sum(dim=1), targets.sum(dim=1)).sum(),
        ratio(2 * intersections.sum(dim=1).to(wide), sizes.sum(dim=1)).sum(),
        num_wrong,
    )


def sum_generalized_overlaps(
    output: Sequence[Tensor],
    num_classes: int,
    include_background: bool,
    input_format: str,
    ignore_index: int | None,
    power: int,
) -> tuple[Any, ...]:
    """Returns the number of images, the sums of generalized Dice scores, and the number of invalid values."""
    (intersections, predicted, targets), num_wrong = _read(
        output, num_classes, include_background, input_format, ignore_index
    )
    sizes = predicted + targets  # (B, C)
    return (
        len(sizes),
        intersections.sum(dim=0),
        sizes.sum(dim=0),
        targets.sum(dim=0),
        (sizes > 0).any(dim=1).sum(),
        generalized_dice(intersections, sizes, targets, power).sum(),
        num_wrong,
    )


def generalized_dice(intersections: Tensor, sizes: Tensor, targets: Tensor, power: int) -> Tensor:
    """Returns the generalized Dice score of each row of pixels of classes (..., C), 0 without any."""
    wide = wide_dtype(sizes)
    weights = torch.where(targets > 0, targets.to(wide).clamp(min=1) ** -power, 0.0)
    largest = weights.amax(dim=-1, keepdim=True)
    weights = torch.where(targets > 0, weights, torch.where(largest > 0, largest, 1.0))
    return ratio((2 * weights * intersections).sum(dim=-1), (weights * sizes).sum(dim=-1))


def _read(
    output: Sequence[Tensor],
    num_classes: int,
    include_background: bool,
    input_format: str,
    ignore_index: int | None,
) -> tuple[list[Tensor], Any]:
    """Returns pixels in both, predicted and true, of each image and class (B, C), and how many values are wrong."""
    y_pred, y = output
    _check_shapes(y_pred, y, num_classes, input_format)
    is_counted = None
    if ignore_index is not None:
        if y.ndim > y_pred.ndim:
            raise ValueError(
                f"y should be classes of shape (B, ...) if ignore_index is given, but given {tuple(y.shape)}"
            )
        is_counted = (y != ignore_index).flatten(1)
    counts, num_wrong = _counts_of_images(y_pred, y, num_classes, input_format, is_counted)
    return [each if include_background else each[:, 1:] for each in counts], num_wrong


def _check_shapes(y_pred: Tensor, y: Tensor, num_classes: int, input_format: str) -> None:
    shapes = (tuple(y_pred.shape), tuple(y.shape))
    masks = [len(shape) > 1 and shape[1] == num_classes for shape in shapes]
    without = [shape[:1] + shape[2:] for shape in shapes]  # the dimension of classes
    fits = {
        "scores": masks[0] and without[0] == shapes[1],
        "index": shapes[0] == shapes[1] and len(shapes[0]) > 1,
        "one-hot": all(masks) and shapes[0] == shapes[1] and len(shapes[0]) > 2,
        "mixed": (masks[0] and without[0] == shapes[1]) or (masks[1] and without[1] == shapes[0]),
    }
    if not fits[input_format] or min(map(len, shapes)) < 2:
        expected = {
            "scores": f"(B, {num_classes}, ...) and (B, ...)",
            "index": "(B, ...) both",
            "one-hot": f"(B, {num_classes}, ...) both",
            "mixed": f"(B, {num_classes}, ...) and (B, ...), in any order",
        }
        raise ValueError(
            f"y_pred and y should have the shapes {expected[input_format]} for input_format={input_format!r}, "
            f"but given {shapes[0]} and {shapes[1]}"
        )


def _counts_of_images(
    y_pred: Tensor, y: Tensor, num_classes: int, input_format: str, is_counted: Tensor | None
) -> tuple[tuple[Tensor, Tensor, Tensor], Any]:
    """Returns pixels in both, predicted and true, of each image and class (B, C), and how many values are wrong."""
    num_wrong: Any = 0
    if input_format == "scores":
        y_pred, num_wrong = classes_of_scores(y_pred)
    both = []
    for name, values in (("y_pred", y_pred), ("y", y)):
        is_mask = input_format == "one-hot" or (
            input_format == "mixed" and values.ndim == max(y_pred.ndim, y.ndim)
        )
        read = _read_masks if is_mask else _read_classes
        of_pixels, wrong = read(name, values, num_classes, is_counted)
        both.append((of_pixels, is_mask))
        num_wrong = num_wrong + wrong
    (pred, pred_is_mask), (true, true_is_mask) = both
    if not pred_is_mask and not true_is_mask:
        counted = [_count(each, num_classes) for each in (pred, true)]
        hits = torch.where(pred == true, true, num_classes)
        return (_count(hits, num_classes), counted[0], counted[1]), num_wrong
    masks = [
        each if is_mask else _one_hot(each, num_classes) for each, is_mask in both
    ]  # (B, C, P)
    intersections = (masks[0] & masks[1]).sum(dim=2)
    return (intersections, masks[0].sum(dim=2), masks[1].sum(dim=2)), num_wrong


def _read_classes(
    name: str, values: Tensor, num_classes: int, is_counted: Tensor | None
) -> tuple[Tensor, Any]:
    """Returns classes (B, P), with ``num_classes`` for ignored pixels, and the number of invalid ones."""
    classes, num_wrong = as_classes(name, values.detach())
    classes = classes.flatten(1)
    if is_counted is not None:
        classes = torch.where(is_counted, classes, 0)
    num_outside = count_outside(classes, num_classes)
    if classes.is_cpu and num_outside:
        raise ValueError(_wrong_message(num_classes, int(num_outside)))
    classes = classes.clamp(0, num_classes - 1)
    if is_counted is not None:
        classes = torch.where(is_counted, classes, num_classes)
    return classes, num_wrong + num_outside


def _read_masks(
    name: str, values: Tensor, num_classes: int, is_counted: Tensor | None
) -> tuple[Tensor, Any]:
    """Returns masks (B, C, P), and on an accelerator the number of values that are neither 0 nor 1."""
    values = values.detach().flatten(2)
    masks = values != 0
    num_wrong: Any = 0
    if values.is_cpu:
        if not is_binary(values):
            wrong = values[(values != 0) & (values != 1)][0].item()
            raise ValueError(
                f"{name} should be masks of 0 and 1, but given {wrong}; "
                'for scores, use input_format="scores"'
            )
    else:
        num_wrong = (masks & (values != 1)).sum()
    return (masks if is_counted is None else masks & is_counted.unsqueeze(1)), num_wrong


def _one_hot(classes: Tensor, num_classes: int) -> Tensor:
    numbers = torch.arange(num_classes, device=classes.device)
    return classes.unsqueeze(1) == numbers.unsqueeze(1)


def _count(classes: Tensor, num_classes: int) -> Tensor:
    """Counts the classes (B, P) of each image, shape (B, C); ``num_classes`` does not count."""
    num_images, width = len(classes), num_classes + 1
    places = torch.arange(num_images, device=classes.device).unsqueeze(1) * width + classes
    if classes.is_cpu:
        counts = torch.bincount(places.flatten(), minlength=num_images * width)
    else:  # bincount would wait for the device
        counts = places.new_zeros(num_images * width)
        counts.scatter_add_(0, places.flatten(), torch.ones_like(places).flatten())
    return counts.view(num_images, width)[:, :num_classes]


def _wrong_message(num_classes: int, num_wrong: int) -> str:
    return (
        f"y_pred and y should be classes from 0 to {num_classes - 1}, or scores or masks according to input_format, "
        f"but {num_wrong} values given are not; pass ignore_index for pixels to ignore"
    )
