"""How often which class is taken for which, and what follows from it."""

from __future__ import annotations

import functools
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._labels import MULTICLASS, Labels, ratio, read_labels
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.metrics_lambda import MetricsLambda, better_if_higher
from ignite.metrics.statistics import LabelCounts, Reading, Statistic
from ignite.metrics.statistics._statistic import wide_dtype
from ignite.metrics.statistics.labels import MATRIX

__all__ = [
    "ConfusionMatrix",
    "DiceCoefficient",
    "IoU",
    "JaccardIndex",
    "cmAccuracy",
    "cmPrecision",
    "cmRecall",
    "mIoU",
]


class ConfusionMatrix(View):
    """How many examples of each class are predicted as which: true classes in rows, predicted ones in columns.

    Update with ``(y_pred, y)``: scores of shape (B, C, ...), of which the highest counts, and
    classes of shape (B, ...). Targets outside of [0, C) are left out.

    Args:
        num_classes: C, more than 1.
        average: None gives counts, int64; "samples" divides them by the number of items in batches,
            "recall" each row by its sum, "precision" each column.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to count; by default, where the predictions are.
        skip_unrolling: without effect; lists of tensors of different sizes are always counted one
            by one.

    Raises:
        ValueError: ``num_classes`` or ``average`` is none of the above; in ``update``, shapes do
            not fit.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = ConfusionMatrix(num_classes=2)
        >>> metric.update((torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), torch.tensor([0, 1, 1])))
        >>> metric.compute()
        tensor([[1, 0],
                [1, 1]])
    """

    def __init__(
        self,
        num_classes: int,
        average: str | None = None,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = True,
    ) -> None:
        if num_classes <= 1:
            raise ValueError(f"Argument num_classes needs to be > 1, but given {num_classes}")
        if average not in (None, "samples", "recall", "precision"):
            raise ValueError(
                f"Argument average can None or one of 'samples', 'recall', 'precision', but given {average!r}"
            )
        self.num_classes = num_classes
        self.average = average
        # Lists of tensors are unrolled all the same: they could not be counted otherwise, and
        # reading outputs as other metrics do lets them share the counts.
        super().__init__(output_transform, device, skip_unrolling=False)

    def _declare(self) -> list[Statistic]:
        return [LabelCounts(MATRIX, allows_outside=True, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        # Once a batch was accepted, the counts see to it that others have as many classes.
        if statistic.kind is None:
            reading.once(_check_scores, self.num_classes)

    def _check(self, statistic: Statistic) -> None:
        """Targets that are no class are left out, and no error."""
        assert isinstance(statistic, LabelCounts)
        statistic.check_valid()

    def _check_loaded(self, statistic: Any) -> None:
        if statistic.num_classes not in (None, self.num_classes):
            raise ValueError(
                f"it should be of {self.num_classes} classes, but given {statistic.num_classes}"
            )

    def _value(self, counts: LabelCounts) -> Tensor:
        matrix = counts.matrix
        assert matrix is not None
        if self.average == "samples":
            return matrix.to(self._double_dtype) / counts.num_items
        return matrix.clone() if self.average is None else self.normalize(matrix, self.average)

    @staticmethod
    def normalize(matrix: Tensor, average: str) -> Tensor:
        """Divides rows ("recall") or columns ("precision") by their sums; those without any example stay 0.

        Raises:
            ValueError: ``average`` is neither.
        """
        if average not in ("recall", "precision"):
            raise ValueError(
                f"Argument average should be one of 'samples', 'recall', 'precision', but given {average!r}"
            )
        matrix = matrix.to(wide_dtype(matrix))
        return ratio(matrix, matrix.sum(dim=1 if average == "recall" else 0, keepdim=True))


def IoU(  # noqa: N802 - Ignite's name
    cm: ConfusionMatrix, ignore_index: int | None = None, *, exclude_index: int | None = None
) -> MetricsLambda:
    r"""Makes a metric of the intersection over union of each class, :math:`\frac{TP}{TP + FP + FN}`, shape (C,).

    Args:
        cm: the confusion matrix to compute it from, with ``average`` None or "samples".
        ignore_index: a class whose examples are not judged, whatever is predicted for them. It is
            left out of the result, which then has shape (C - 1,).
        exclude_index: a class that is left out of the result, but whose examples are judged: where
            another class is predicted for them, that is wrong. This is what ``ignore_index`` means
            in pytorch-ignite.

    Warns:
        UserWarning: ``ignore_index`` is given, whose value differs from pytorch-ignite's.

    Raises:
        TypeError: ``cm`` is no :class:`ConfusionMatrix`.
        ValueError: it has another ``average``, an index is no class, or both are given.

    Example:
        >>> metric = IoU(ConfusionMatrix(num_classes=2))
        >>> metric.update((torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), torch.tensor([0, 1, 1])))
        >>> metric.compute()
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    return _make_iou(cm, ignore_index, exclude_index, "IoU")


def _make_iou(
    cm: ConfusionMatrix, ignore_index: int | None, exclude_index: int | None, caller: str
) -> MetricsLambda:
    _check_matrix(cm)
    for name, index in (("ignore_index", ignore_index), ("exclude_index", exclude_index)):
        if index is not None and not (
            isinstance(index, numbers.Integral) and 0 <= index < cm.num_classes
        ):
            raise ValueError(
                f"{name} should be integer and in the range of [0, {cm.num_classes}), but given {index}"
            )
    if ignore_index is not None and exclude_index is not None:
        raise ValueError(
            f"One of ignore_index and exclude_index should be given, but given {ignore_index} and {exclude_index}"
        )
    if (
        ignore_index is not None
    ):  # the program may have been written for Ignite, which would give another number
        warnings.warn(
            f"{caller}(ignore_index={ignore_index}) does not judge the examples of this class. pytorch-ignite judges "
            f"them, and leaves the class out of the result: exclude_index={ignore_index} gives its value",
            stacklevel=3,
        )
    function = functools.partial(_iou, ignore_index=ignore_index, exclude_index=exclude_index)
    return better_if_higher(MetricsLambda(function, cm))


def mIoU(  # noqa: N802 - Ignite's name
    cm: ConfusionMatrix, ignore_index: int | None = None, *, exclude_index: int | None = None
) -> MetricsLambda:
    """Makes a metric of the mean over classes of :func:`IoU`, which see for arguments and errors."""
    iou: MetricsLambda = _make_iou(cm, ignore_index, exclude_index, "mIoU").mean()
    return iou


def JaccardIndex(  # noqa: N802 - Ignite's name
    cm: ConfusionMatrix, ignore_index: int | None = None, *, exclude_index: int | None = None
) -> MetricsLambda:
    """:func:`IoU` by another name."""
    return _make_iou(cm, ignore_index, exclude_index, "JaccardIndex")


def DiceCoefficient(  # noqa: N802 - Ignite's name
    cm: ConfusionMatrix, ignore_index: int | None = None, *, exclude_index: int | None = None
) -> MetricsLambda:
    r"""Makes a metric of the Dice coefficient of each class, :math:`\frac{2 TP}{2 TP + FP + FN}`, shape (C,).

    Arguments and errors are those of :func:`IoU`.
    """
    iou: Any = _make_iou(cm, ignore_index, exclude_index, "DiceCoefficient")
    return better_if_higher(2 * iou / (1 + iou))


def cmAccuracy(cm: ConfusionMatrix) -> MetricsLambda:  # noqa: N802 - Ignite's name
    """Makes a metric of the share of examples whose class is predicted, shape ().

    Raises:
        TypeError: ``cm`` is no :class:`ConfusionMatrix`.
    """
    _check_matrix(cm, any_average=True)
    return better_if_higher(MetricsLambda(_accuracy, cm))


def cmPrecision(cm: ConfusionMatrix, average: bool = True) -> MetricsLambda:  # noqa: N802 - Ignite's name
    """Makes a metric of the precision of each class, shape (C,), or with ``average`` of their mean.

    Raises:
        TypeError: ``cm`` is no :class:`ConfusionMatrix`.
        ValueError: its ``average`` is neither None nor "samples".
    """
    _check_matrix(cm)
    return better_if_higher(MetricsLambda(functools.partial(_ratio, dim=0, average=average), cm))


def cmRecall(cm: ConfusionMatrix, average: bool = True) -> MetricsLambda:  # noqa: N802 - Ignite's name
    """Makes a metric of the recall of each class, shape (C,), or with ``average`` of their mean.

    Raises:
        TypeError: ``cm`` is no :class:`ConfusionMatrix`.
        ValueError: its ``average`` is neither None nor "samples".
    """
    _check_matrix(cm)
    return better_if_higher(MetricsLambda(functools.partial(_ratio, dim=1, average=average), cm))


def _check_scores(reading: Reading, num_classes: int) -> None:
    y_pred, y = reading.output
    if y_pred.ndim < 2:
        raise ValueError(
            f"y_pred must have shape (batch_size, num_classes, ...), but given {tuple(y_pred.shape)}"
        )
    if y_pred.shape[1] != num_classes:
        raise ValueError(
            f"y_pred does not have correct number of classes: {y_pred.shape[1]} vs {num_classes}"
        )
    labels: Labels = reading.derive(read_labels, False)
    if labels.kind != MULTICLASS:
        raise ValueError(
            "y_pred must have shape (batch_size, num_classes, ...) and y must have shape of (batch_size, ...), "
            f"but given {tuple(y_pred.shape)} vs {tuple(y.shape)}"
        )


def _check_matrix(cm: ConfusionMatrix, any_average: bool = False) -> None:
    if not isinstance(cm, ConfusionMatrix):
        raise TypeError(f"Argument cm should be instance of ConfusionMatrix, but given {type(cm)}")
    if cm.average not in (None, "samples") and not any_average:
        raise ValueError(
            f"ConfusionMatrix should have average attribute either None or 'samples', but given {cm.average!r}"
        )


def _accuracy(matrix: Tensor) -> Tensor:
    matrix = matrix.double()
    return ratio(matrix.diagonal().sum(), matrix.sum())


def _ratio(matrix: Tensor, dim: int, average: bool) -> Tensor:
    matrix = matrix.double()
    ratios = ratio(matrix.diagonal(), matrix.sum(dim=dim))
    return ratios.mean() if average else ratios


def _iou(matrix: Tensor, ignore_index: int | None, exclude_index: int | None) -> Tensor:
    matrix = matrix.double()
    if ignore_index is not None:
        matrix = matrix.index_fill(0, torch.tensor(ignore_index, device=matrix.device), 0.0)
    diagonal = matrix.diagonal()
    iou = ratio(diagonal, matrix.sum(dim=1) + matrix.sum(dim=0) - diagonal)
    left_out = exclude_index if ignore_index is None else ignore_index
    return iou if left_out is None else torch.cat([iou[:left_out], iou[left_out + 1 :]])
