"""Predicted and true boxes of objects in images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype

__all__ = ["Boxes", "KeptBoxes"]


class Boxes(NamedTuple):
    """The boxes of N images: P predicted and G true ones, in the order of images."""

    counts: Tensor
    """Numbers of predicted and true boxes in each image: int64, shape (N, 2), on the CPU."""
    predicted: Tensor
    """x1, y1, x2, y2, score and label of each: float64, shape (P, 6)."""
    true: Tensor
    """x1, y1, x2, y2, label, crowd (0 or 1) and area of each: float64, shape (G, 7)."""

    @classmethod
    def joined(cls, batches: Sequence[Boxes]) -> Boxes:
        """Concatenates batches, on the device of the last one."""
        device = batches[-1].predicted.device
        counts, predicted, true = zip(*batches, strict=True)
        return cls(
            torch.cat(counts),
            torch.cat([tensor.to(device) for tensor in predicted]),
            torch.cat([tensor.to(device) for tensor in true]),
        )


class KeptBoxes(Statistic):
    """Keeps the boxes of all images. Memory grows with the data: 50 bytes for each box.

    Update with two lists of dictionaries, one for each image; see
    :class:`ignite.metrics.vision.ObjectDetectionAvgPrecisionRecall`.

    Args:
        num_classes: labels are from 0 to ``num_classes - 1``.
        device: device on which to keep the boxes. None: that of the boxes.

    Raises:
        TypeError: in ``update``, an image is not a dictionary of tensors.
        ValueError: in ``update``, keys, shapes or values are wrong. For values on an accelerator,
            ``check`` raises instead.

    Example:
        >>> kept = KeptBoxes(num_classes=3)
        >>> one, label = torch.tensor([[0, 0, 2, 1]]), torch.tensor([2])
        >>> predicted = {"bbox": one, "scores": torch.tensor([0.5]), "labels": label}
        >>> kept.update(Reading(([predicted], [{"bbox": one, "labels": label}])))
        >>> kept.boxes.predicted.tolist(), kept.boxes.true.tolist()
        ([[0.0, 0.0, 2.0, 1.0, 0.5, 2.0]], [[0.0, 0.0, 2.0, 1.0, 2.0, 0.0, 2.0]])
    """

    PARTS: ClassVar = {
        "num_examples": "SUM",
        "counts": "ROWS",
        "predicted": "ROWS",
        "true": "ROWS",
        "num_wrong": "SUM",
    }

    def __init__(self, num_classes: int, device: torch.device | None = None) -> None:
        self.num_classes = num_classes
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self.num_classes,)

    def reset(self) -> None:
        """Drops all boxes."""
        self.num_examples = 0
        self.num_wrong: int | Tensor = 0
        """Number of boxes on an accelerator with invalid values."""
        self._batches: list[Boxes] = []
        self._derived: tuple[Callable[..., Any], Any] | None = None
        self.version += 1

    def _update(self, reading: Reading) -> None:
        batch, num_wrong = reading.derive(read_boxes, self.num_classes, self.device)
        self._batches.append(batch)
        self.num_examples += len(batch.counts)
        self.num_wrong = self.num_wrong + num_wrong
        self._derived = None

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all updates from now on."""
        kept, batches = dict(vars(self)), list(self._batches)

        def roll_back() -> None:
            self._restore({**kept, "_batches": batches, "_derived": None})

        return roll_back

    def check(self) -> None:
        """Raises if boxes on an accelerator were invalid, which ``update`` does not check."""
        if isinstance(self.num_wrong, Tensor) and self.num_wrong.item():
            raise ValueError(
                "Boxes should be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, scores numbers, labels "
                f"from 0 to {self.num_classes - 1} and iscrowd 0 or 1, but {int(self.num_wrong)} of "
                "the boxes given are not; convert them in output_transform"
            )

    @property
    def boxes(self) -> Boxes:
        """The boxes of all images."""
        if not self._batches:
            dtype = wide_dtype(self.device or torch.device("cpu"))
            empty = torch.zeros(0, 7, dtype=dtype, device=self.device)
            return Boxes(torch.zeros(0, 2, dtype=torch.int64), empty[:, :6], empty)
        if len(self._batches) > 1:
            self._batches[:] = [
                Boxes.joined(self._batches)
            ]  # in place, so that they are joined once
        return self._batches[0]

    def derive(self, function: Callable[[Boxes, int], Any]) -> Any:
        """Returns ``function(boxes, num_classes)``, cached until the next update."""
        if self._derived is None or self._derived[0] is not function:
            self._derived = (function, function(self.boxes, self.num_classes))
        return self._derived[1]

    def parts(self) -> dict[str, Any]:
        """Returns the boxes of all images and their numbers."""
        return {
            "num_examples": self.num_examples,
            **self.boxes._asdict(),
            "num_wrong": self.num_wrong,
        }

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        counts = values["counts"]
        if not isinstance(counts, Tensor) or counts.ndim != 2 or counts.shape[1] != 2:
            raise ValueError(f"counts should be a tensor of shape (images, 2), but given {counts}")
        num_predicted, num_true = counts.sum(0).tolist()
        return {
            "counts": (values["num_examples"], 2),
            "predicted": (num_predicted, 6),
            "true": (num_true, 7),
        }

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces all boxes."""
        self.num_examples, self.num_wrong = values["num_examples"], values["num_wrong"]
        self._batches = [Boxes(values["counts"].cpu(), values["predicted"], values["true"])]
        self._derived = None
        self.version += 1

    def __str__(self) -> str:
        return "all boxes"


def read_boxes(
    output: Any, num_classes: int, device: torch.device | None
) -> tuple[Boxes, int | Tensor]:
    """Returns the boxes of a batch, and the number of those on an accelerator with invalid values.

    Raises:
        TypeError, ValueError: see :class:`KeptBoxes`.
    """
    y_pred, y = _check_images(output)
    predicted = _columns("y_pred", y_pred, ("scores", "labels"))
    true = _columns("y", y, ("labels", "iscrowd", "area"))
    counts = [(len(a), len(b)) for a, b in zip(predicted[0], true[0], strict=True)]
    boxes = Boxes(
        torch.tensor(counts, dtype=torch.int64).reshape(-1, 2),
        _table(predicted, 6, device),
        _table(true, 7, device),
    )
    return boxes, _count_wrong(boxes, num_classes)


_EXPECTED = {
    "y_pred": "'bbox', 'scores' and 'labels' keys",
    "y": "'bbox', 'labels' and optionally 'iscrowd' keys",
}
"""For error messages, the keys of an image."""


def _check_images(output: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Returns predictions and targets, if they are two lists of the same length."""
    y_pred, y = output
    for name, images in (("y_pred", y_pred), ("y", y)):
        if not isinstance(images, list | tuple):
            raise TypeError(
                f"{name} should be a list with a dictionary for each image, but given a "
                f"{type(images).__name__}; make one in output_transform"
            )
    if len(y_pred) != len(y):
        raise ValueError(
            "y_pred and y should have the same number of samples, "
            f"but given {len(y_pred)} and {len(y)}"
        )
    return y_pred, y


def _columns(name: str, images: Sequence[Any], keys: Sequence[str]) -> list[list[Tensor]]:
    """Returns the boxes (n, 4) of each image, then the values (n,) of each key."""
    columns: list[list[Tensor]] = [[] for _ in range(1 + len(keys))]
    for image in images:
        if not isinstance(image, Mapping):
            raise TypeError(
                f"{name} should have a dictionary of tensors for each image, but given a "
                f"{type(image).__name__}; make one in output_transform"
            )
        boxes = image.get("bbox", image.get("boxes"))
        if boxes is None or any(key not in image for key in keys if key not in _OPTIONAL):
            raise ValueError(
                f"{name} sample dictionaries should have {_EXPECTED[name]}, "
                f"but given keys: {list(image)}; rename them in output_transform"
            )
        if isinstance(boxes, Tensor) and boxes.numel() == 0:
            boxes = boxes.reshape(0, 4)
        if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4:
            _refuse(name, "bbox", "(num_boxes, 4)", boxes)
        columns[0].append(boxes)
        for column, key in zip(columns[1:], keys, strict=True):
            values = image.get(key)
            if values is None:
                values = _OPTIONAL[key](boxes)
            if not isinstance(values, Tensor) or values.shape != boxes.shape[:1]:
                _refuse(name, key, f"({len(boxes)},)", values)
            column.append(values)
    return columns


def _area(boxes: Tensor) -> Tensor:
    wide = boxes.detach().to(wide_dtype(boxes))
    return (wide[:, 2] - wide[:, 0]) * (wide[:, 3] - wide[:, 1])


_OPTIONAL: dict[str, Callable[[Tensor], Tensor]] = {
    "iscrowd": lambda boxes: boxes.new_zeros(len(boxes)),
    "area": _area,
}
"""Optional key of targets -> the default values for its boxes."""


def _refuse(name: str, key: str, expected: str, given: Any) -> NoReturn:
    what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
    raise (ValueError if isinstance(given, Tensor) else TypeError)(
        f"{key!r} in {name} should be a tensor of shape {expected}, but given {what}"
    )


def _table(columns: list[list[Tensor]], width: int, device: torch.device | None) -> Tensor:
    """Returns boxes and their values as one table (n, width)."""
    if not columns[0]:
        place = device or torch.device("cpu")
        return torch.zeros(0, width, dtype=wide_dtype(place), device=place)
    device = device or columns[0][0].device
    parts = [torch.cat(column).detach().to(device, wide_dtype(device)) for column in columns]
    return torch.cat([parts[0], *(part.unsqueeze(1) for part in parts[1:])], dim=1)


def _count_wrong(boxes: Boxes, num_classes: int) -> int | Tensor:
    """Counts boxes on an accelerator with invalid values; on the CPU, raises ValueError."""
    total: int | Tensor = 0
    for name, table, label in (("y_pred", boxes.predicted, 5), ("y", boxes.true, 4)):
        if not len(table):
            continue
        labels = table[:, label]
        is_box = table[:, :4].isfinite().all(1) & (table[:, :2] <= table[:, 2:4]).all(1)
        is_label = (labels >= 0) & (labels < num_classes) & (labels == labels.floor())
        others = table[:, 4] if name == "y_pred" else table[:, 5]
        is_other = ~others.isnan() if name == "y_pred" else (others == 0) | (others == 1)
        if name == "y":
            is_other = is_other & (table[:, 6] >= 0)
        is_right = is_box & is_label & is_other
        if not table.is_cpu:
            total = total + (~is_right).sum()
        elif not is_right.all():
            _refuse_values(name, table[~is_right][0].tolist(), num_classes)
    return total


def _refuse_values(name: str, row: list[float], num_classes: int) -> NoReturn:
    """Raises an error with the first invalid value of a box."""
    if not (row[0] <= row[2] < float("inf") and row[1] <= row[3] < float("inf")) or (
        min(row[:2]) == -float("inf")
    ):
        raise ValueError(
            f"Boxes in {name} should be finite (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, but given "
            f"{tuple(row[:4])}; convert widths and heights in output_transform"
        )
    label = row[5] if name == "y_pred" else row[4]
    if not 0 <= label < num_classes or label != int(label):
        raise ValueError(
            f"Labels in {name} should be class indices from 0 to {num_classes - 1}, but given "
            f"{label:g}; set num_classes, or remove such boxes in output_transform"
        )
    if name == "y_pred":
        raise ValueError(f"Scores in y_pred should be numbers, but given {row[4]}")
    raise ValueError(
        "In y, iscrowd should be 0 or 1 and area at least 0, "
        f"but given iscrowd={row[5]:g} and area={row[6]:g}"
    )
