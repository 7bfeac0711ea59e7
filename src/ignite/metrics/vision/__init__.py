"""Metrics of object detection and of segmentation."""

from ignite.metrics.vision.dice_score import DiceScore
from ignite.metrics.vision.generalized_dice_score import GeneralizedDiceScore
from ignite.metrics.vision.mean_iou import MeanIoU
from ignite.metrics.vision.object_detection_average_precision_recall import (
    CommonObjectDetectionMetrics,
    ObjectDetectionAvgPrecisionRecall,
    coco_tensor_list_to_dict_list,
)

__all__ = [
    "CommonObjectDetectionMetrics",
    "DiceScore",
    "GeneralizedDiceScore",
    "MeanIoU",
    "ObjectDetectionAvgPrecisionRecall",
    "coco_tensor_list_to_dict_list",
]
