"""Average precision and recall of boxes, from pycocotools."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

AREAS = {
    "all": [0**2, 1e5**2],
    "small": [0**2, 32**2],
    "medium": [32**2, 96**2],
    "large": [96**2, 1e5**2],
}


def as_coco(y_pred, y, num_classes):
    """Both as pycocotools takes them: indexed annotations with boxes of position and size."""
    annotations, results = [], []
    for i, image in enumerate(y):
        for j, (x1, y1, x2, y2) in enumerate(image["bbox"].double().tolist()):
            area = image["area"][j].item() if "area" in image else (x2 - x1) * (y2 - y1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": int(image["labels"][j]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(image["iscrowd"][j]) if "iscrowd" in image else 0,
                }
            )
    for i, image in enumerate(y_pred):
        for j, (x1, y1, x2, y2) in enumerate(image["bbox"].double().tolist()):
            results.append(
                {
                    "id": len(results) + 1,
                    "image_id": i,
                    "category_id": int(image["labels"][j]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "score": image["scores"][j].item(),
                }
            )
    frame = {
        "images": [{"id": i} for i in range(len(y))],
        "categories": [{"id": i} for i in range(num_classes)],
    }
    found = []
    for boxes in (annotations, results):
        coco = COCO()
        coco.dataset = {**frame, "annotations": boxes}
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        found.append(coco)
    return found


def evaluate(y_pred, y, num_classes, overlaps=None, recalls=None, max_detections=(1, 10, 100)):
    """The evaluation of pycocotools, after its accumulation."""
    coco = COCOeval(*as_coco(y_pred, y, num_classes), iouType="bbox")
    coco.params.maxDets = list(max_detections)
    coco.params.areaRng, coco.params.areaRngLbl = list(AREAS.values()), list(AREAS)
    if overlaps is not None:
        coco.params.iouThrs = np.asarray(overlaps, dtype=float)
    if recalls is not None:
        coco.params.recThrs = np.asarray(recalls, dtype=float)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.evaluate()
        coco.accumulate()
    return coco


def _mean(values):
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0


def precision_recall(y_pred, y, num_classes, area="all", max_detections=100, **thresholds):
    """Average precision and average recall."""
    coco = evaluate(y_pred, y, num_classes, max_detections=[max_detections], **thresholds)
    i = list(AREAS).index(area)
    return _mean(coco.eval["precision"][:, :, :, i, 0]), _mean(coco.eval["recall"][:, :, i, 0])


def common(y_pred, y, num_classes):
    """The twelve values that it prints."""
    coco = evaluate(y_pred, y, num_classes)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.summarize()
    names = [
        "AP@50..95",
        "AP@50",
        "AP@75",
        "AP-S",
        "AP-M",
        "AP-L",
        "AR-1",
        "AR-10",
        "AR-100",
        "AR-S",
        "AR-M",
        "AR-L",
    ]
    return dict(zip(names, map(float, coco.stats), strict=True))
