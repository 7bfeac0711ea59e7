"""Average precision and recall of object detection, by the rules of COCO."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.mean_average_precision import as_thresholds
from ignite.metrics.metric_group import MetricGroup
from ignite.metrics.statistics import Statistic
from ignite.metrics.statistics.boxes import KeptBoxes
from ignite.metrics.vision._matching import AREA_RANGES, Evaluation, one_thread

__all__ = [
    "CommonObjectDetectionMetrics",
    "ObjectDetectionAvgPrecisionRecall",
    "coco_tensor_list_to_dict_list",
]

Images = Sequence[Mapping[str, Tensor]]

# Computed as numpy's linspace does: an overlap may equal a threshold.
COCO_OVERLAPS = [i * ((0.95 - 0.5) / 9) + 0.5 for i in range(9)] + [0.95]
COCO_RECALLS = [i * 0.01 for i in range(100)] + [1.0]


class ObjectDetectionAvgPrecisionRecall(View):
    r"""Average precision and average recall of predicted boxes: a tuple of two floats.

    For each class and each threshold of the intersection over union (IoU), predicted boxes are
    matched with true boxes of the same image and class. In the order of descending scores, each is
    matched with the unmatched true box that it overlaps most, if the IoU reaches the threshold. A
    matched box is a true positive, any other one a false positive. Then

    - the precision at recall r is the highest precision at any recall of at least r, and 0 if r is
      not reached. The average precision is its mean over ``rec_thresholds``, thresholds and classes;
    - the average recall is the mean over thresholds and classes of the recall of all boxes.

    Classes without true boxes are ignored; if there are none, both values are -1. True boxes that are
    crowds, or whose area is out of range, are not counted, and neither are predicted boxes that
    are matched with them, nor those out of range that are not matched. A crowd can be matched
    several times, and its IoU is the fraction of the predicted box inside of it. Equal scores keep
    the order of images and boxes.

    Update with ``(y_pred, y)``: two lists with a dictionary for each image, of

    - "bbox" (or "boxes"): ``(x1, y1, x2, y2)`` with ``x1 <= x2`` and ``y1 <= y2``, shape (n, 4);
    - "labels": classes from 0 to ``num_classes - 1``, shape (n,);
    - in ``y_pred``, "scores", shape (n,);
    - in ``y``, optionally "iscrowd", 0 or 1, and "area" in square pixels, if it is not that of the
      box, both of shape (n,). Other keys are ignored.

    Args:
        iou_thresholds: thresholds of the IoU. By default 0.5, 0.55, ..., 0.95.
        rec_thresholds: recalls at which to take the precision. By default 0, 0.01, ..., 1.
        num_classes: number of classes.
        max_detections_per_image_per_class: number of boxes of each class in each image that count,
            those with the highest scores.
        area_range: the boxes that count: "all", "small" (up to 32² square pixels), "medium" or
            "large" (from 96² on).
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to keep the boxes. By default, that of the boxes. The values are
            computed on the CPU.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: in ``update``, the output is not as above.
        ValueError: an argument is out of range. In ``update``, keys, shapes or values are not those
            above; for values on an accelerator, ``compute`` raises instead.

    Example:
        >>> metric = ObjectDetectionAvgPrecisionRecall(num_classes=2)
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
        >>> labels = torch.tensor([1, 1])
        >>> y_pred = [{"bbox": boxes, "scores": torch.tensor([0.9, 0.8]), "labels": labels}]
        >>> y = [{"bbox": boxes[:1], "labels": labels[:1]}]
        >>> metric.update((y_pred, y))
        >>> metric.compute()  # the false positive has a lower score
        (1.0, 1.0)

    References:
        Lin et al., "Microsoft COCO: common objects in context", 2014,
        https://arxiv.org/abs/1405.0312; https://cocodataset.org/#detection-eval
    """

    higher_is_better = True
    _needs_examples = False

    def __init__(
        self,
        iou_thresholds: Sequence[float] | Tensor | None = None,
        rec_thresholds: Sequence[float] | Tensor | None = None,
        num_classes: int = 80,
        max_detections_per_image_per_class: int = 100,
        area_range: Literal["small", "medium", "large", "all"] = "all",
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        for name, number in (
            ("num_classes", num_classes),
            ("max_detections_per_image_per_class", max_detections_per_image_per_class),
        ):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"{name} should be a positive integer, but given {number!r}")
        if area_range not in AREA_RANGES:
            raise ValueError(
                f"area_range should be one of {list(AREA_RANGES)}, but given {area_range!r}"
            )
        self.iou_thresholds = as_thresholds(
            "iou_thresholds", COCO_OVERLAPS if iou_thresholds is None else iou_thresholds
        )
        self.rec_thresholds = as_thresholds(
            "rec_thresholds", COCO_RECALLS if rec_thresholds is None else rec_thresholds
        )
        self._num_classes = num_classes
        self._max_detections = max_detections_per_image_per_class
        self._area_range = area_range
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [KeptBoxes(self._num_classes, self._accumulates_on)]

    def _read_output(self, output: Any) -> Any:
        if not isinstance(output, Sequence) or isinstance(output, str) or len(output) != 2:
            raise TypeError(
                f"{type(self).__name__} should be given (y_pred, y), two lists of dictionaries, but "
                f"given {type(output).__name__}; choose them in output_transform"
            )
        return tuple(output)

    def _value(self, boxes: KeptBoxes) -> Any:
        rule = (self._area_range, self._max_detections)
        with one_thread():
            evaluation: Evaluation = boxes.derive(Evaluation)
            return (
                evaluation.average_precision(self.iou_thresholds, self.rec_thresholds, *rule),
                evaluation.average_recall(self.iou_thresholds, *rule),
            )


class _AverageRecall(ObjectDetectionAvgPrecisionRecall):
    """Only the average recall."""

    def _value(self, boxes: KeptBoxes) -> Any:
        with one_thread():
            evaluation: Evaluation = boxes.derive(Evaluation)
            return evaluation.average_recall(
                self.iou_thresholds, self._area_range, self._max_detections
            )


class CommonObjectDetectionMetrics(MetricGroup):
    """The twelve values of COCO for object detection, in a dictionary.

    - "AP@50..95", "AP@50", "AP@75": average precision for thresholds of the IoU from 0.5 to 0.95,
      of 0.5, and of 0.75;
    - "AP-S", "AP-M", "AP-L": average precision of small, medium and large objects;
    - "AR-1", "AR-10", "AR-100": average recall of 1, 10 and 100 boxes of each class in each image;
    - "AR-S", "AR-M", "AR-L": average recall of small, medium and large objects.

    A value is -1 if there is no true box for it. For the output and the definitions, see
    :class:`ObjectDetectionAvgPrecisionRecall`. Boxes are kept and matched once for all values.

    Args:
        num_classes: number of classes.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to keep the boxes. By default, that of the boxes.
        skip_unrolling: see :class:`Metric`.

    Example:
        >>> metric = CommonObjectDetectionMetrics(num_classes=2)
        >>> boxes, labels = torch.tensor([[0.0, 0.0, 20.0, 10.0]]), torch.tensor([1])
        >>> y_pred = [{"bbox": boxes, "scores": torch.tensor([0.9]), "labels": labels}]
        >>> metric.update((y_pred, [{"bbox": boxes + 2, "labels": labels}]))
        >>> values = metric.compute()  # the IoU is 18 * 8 / 256 = 0.5625
        >>> values["AP@50"], values["AP@75"], values["AP@50..95"], values["AP-L"]
        (1.0, 0.0, 0.2, -1.0)
    """

    def __init__(
        self,
        num_classes: int = 80,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = True,
    ) -> None:
        def both(
            iou_thresholds: Sequence[float] | None = None,
            area_range: Literal["small", "medium", "large", "all"] = "all",
        ) -> ObjectDetectionAvgPrecisionRecall:
            return ObjectDetectionAvgPrecisionRecall(
                iou_thresholds, None, num_classes, area_range=area_range, device=device
            )

        def recall(max_detections: int) -> ObjectDetectionAvgPrecisionRecall:
            return _AverageRecall(None, None, num_classes, max_detections, device=device)

        members = {
            "all": both(),
            "50": both([0.5]),
            "75": both([0.75]),
            "S": both(area_range="small"),
            "M": both(area_range="medium"),
            "L": both(area_range="large"),
            "1": recall(1),
            "10": recall(10),
        }
        super().__init__({**members}, output_transform, skip_unrolling)

    def compute(self) -> dict[str, float]:
        """Returns the twelve values by their names."""
        values = super().compute()
        found = dict(zip(("AP@50..95", "AR-100"), values["all"], strict=True))
        found |= {"AP@50": values["50"][0], "AP@75": values["75"][0]}
        for size in ("S", "M", "L"):
            found[f"AP-{size}"], found[f"AR-{size}"] = values[size]
        return found | {"AR-1": values["1"], "AR-10": values["10"]}

    def _directions(self, name: str) -> dict[str, bool | None]:
        return {name: None} | dict.fromkeys(_COMMON_NAMES, True)

    # Members share one statistic, which is saved once.

    def _state(self) -> OrderedDict[str, Any]:
        return self.metrics["all"]._state()

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        self.metrics["all"]._set_state(states)
        for name, metric in self.metrics.items():
            if name != "all":
                metric.reset()
        self._share()


_COMMON_NAMES = (
    *("AP@50..95", "AR-100", "AP@50", "AP@75", "AP-S", "AR-S"),
    *("AP-M", "AR-M", "AP-L", "AR-L", "AR-1", "AR-10"),
)


def coco_tensor_list_to_dict_list(
    output: tuple[list[Tensor] | list[dict[str, Tensor]], list[Tensor] | list[dict[str, Tensor]]],
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Converts images that are tensors to the dictionaries that detection metrics expect.

    Use it as ``output_transform``. Images that are dictionaries are returned unchanged.

    Args:
        output: predictions of shape (n, 6), boxes, score and label in this order, for each image;
            and targets of shape (n, 5), boxes and label, or (n, 6) with ``iscrowd``.

    Returns:
        Predictions with "bbox", "scores" and "labels"; targets with "bbox", "labels" and, if given,
        "iscrowd".

    Raises:
        ValueError: a tensor has another shape.

    Example:
        >>> y_pred, y = coco_tensor_list_to_dict_list(
        ...     ([torch.tensor([[0, 0, 2, 2, 0.5, 7]])], [torch.tensor([[0, 0, 2, 1, 7.0]])])
        ... )
        >>> y_pred[0]["scores"], y[0]["labels"]
        (tensor([0.5000]), tensor([7.]))
    """
    y_pred, y = output
    return (
        [_as_dict("y_pred", image, ("scores", "labels"), (6,)) for image in y_pred],
        [_as_dict("y", image, ("labels", "iscrowd"), (5, 6)) for image in y],
    )


def _as_dict(
    name: str, image: Any, keys: Sequence[str], widths: Sequence[int]
) -> dict[str, Tensor]:
    if not isinstance(image, Tensor):
        return image  # type: ignore[no-any-return]
    if image.ndim != 2 or image.shape[1] not in widths:
        expected = " or ".join(f"(num_boxes, {width})" for width in widths)
        raise ValueError(
            f"Images in {name} should be tensors of shape {expected}, but given {tuple(image.shape)}"
        )
    columns = zip(keys, image[:, 4:].unbind(1), strict=False)
    return {"bbox": image[:, :4], **dict(columns)}
