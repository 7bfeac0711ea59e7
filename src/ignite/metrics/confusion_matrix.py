"""The confusion matrix, and metrics that are computed from it."""

from __future__ import annotations

import functools
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._output_arrays import MULTICLASS, Labels, ratio, read_labels
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart
from ignite.metrics._views import View
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


def _set_num_items(metric: Any, counts: Any, value: Any) -> None:
    counts.assign("num_examples", value)
    counts.assign("num_items", int(value))


class ConfusionMatrix(View):
    """Confusion matrix: number of examples of each true class (rows) and predicted class (columns).

    Update with ``(y_pred, y)``:

    - ``y_pred``: scores, shape (B, C, ...), logits or probabilities. The prediction is the class
      with the highest score; of equal ones, the first.
    - ``y``: true classes, shape (B, ...), integer. Targets outside of [0, C) are ignored.

    Args:
        num_classes: number of classes C, at least 2.
        average: None returns counts, int64. "samples" divides them by the sum of the batch sizes,
            "recall" divides each row by its sum, and "precision" each column. Rows and columns
            without examples stay 0.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to count. By default, that of the predictions.
        skip_unrolling: ignored; accepted for compatibility. The items of lists of tensors are
            always counted one by one.

    Raises:
        ValueError: ``num_classes`` or ``average`` is invalid. In ``update``, the shapes are not
            those above, or a score is NaN. For NaN on an accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = ConfusionMatrix(num_classes=2)
        >>> metric.update((torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), torch.tensor([0, 1, 1])))
        >>> metric.compute()
        tensor([[1, 0],
                [1, 1]])
    """

    confusion_matrix = StatisticPart(
        "matrix",
        lambda metric: torch.zeros(
            metric.num_classes, metric.num_classes, dtype=torch.int64, device=metric._device
        ),
    )
    _num_examples = StatisticPart("", 0, lambda _, counts: counts.num_items, _set_num_items)

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
        # Lists of tensors are always unrolled, because they cannot be counted otherwise, and only
        # metrics that parse outputs in the same way can share counts.
        super().__init__(output_transform, device, skip_unrolling=False)

    def _declare(self) -> list[Statistic]:
        return [LabelCounts(MATRIX, allows_outside=True, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        # After the first batch, the statistic checks the number of classes itself.
        if statistic.kind is None:
            reading.once(_check_scores, self.num_classes)

    def _check(self, statistic: Statistic) -> None:
        """Does not raise for targets that are not a class: they are ignored."""
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
        """Divides rows ("recall") or columns ("precision") by their sums.

        Those without examples stay 0.

        Raises:
            ValueError: ``average`` is something else.
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
    r"""Creates a metric: intersection over union of each class, shape (C,).

    .. math:: \frac{TP}{TP + FP + FN}

    A class without examples and predictions has the value 0.

    Args:
        cm: confusion matrix with ``average`` None or "samples".
        ignore_index: class whose examples are ignored, regardless of their prediction. It is removed
            from the result, which then has shape (C - 1,).
        exclude_index: class that is removed from the result, but whose examples count as false
            positives of the class predicted for them. This is the meaning of ``ignore_index`` in
            pytorch-ignite.

    Warns:
        UserWarning: ``ignore_index`` is given, because the value differs from pytorch-ignite's.

    Raises:
        TypeError: ``cm`` is not a :class:`ConfusionMatrix`.
        ValueError: its ``average`` is another one, an index is not a class, or both are given.

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
    if ignore_index is not None:  # a program written for pytorch-ignite expects another value
        warnings.warn(
            f"{caller}(ignore_index={ignore_index}) ignores the examples of this class. pytorch-ignite counts them, "
            f"and only removes the class from the result: use exclude_index={ignore_index} for the same value",
            stacklevel=3,
        )
    function = functools.partial(_iou, ignore_index=ignore_index, exclude_index=exclude_index)
    return better_if_higher(MetricsLambda(function, cm))


def mIoU(  # noqa: N802 - Ignite's name
    cm: ConfusionMatrix, ignore_index: int | None = None, *, exclude_index: int | None = None
) -> MetricsLambda:
    """Creates a metric: mean over classes of :func:`IoU`, with the same arguments and errors."""
    iou: MetricsLambda = _make_iou(cm, ignore_index, exclude_index, "mIoU").mean()
    return iou


def JaccardIndex(  # noqa: N802 - Ignite's name
    cm: ConfusionMatrix, ignore_index: int | None = None, *, exclude_index: int | None = None
) -> MetricsLambda:
    """Alias of :func:`IoU`."""
    return _make_iou(cm, ignore_index, exclude_index, "JaccardIndex")


def DiceCoefficient(  # noqa: N802 - Ignite's name
    cm: ConfusionMatrix, ignore_index: int | None = None, *, exclude_index: int | None = None
) -> MetricsLambda:
    r"""Creates a metric: Dice coefficient of each class, shape (C,).

    .. math:: \frac{2 TP}{2 TP + FP + FN}

    Arguments and errors are those of :func:`IoU`.
    """
    iou: Any = _make_iou(cm, ignore_index, exclude_index, "DiceCoefficient")
    return better_if_higher(2 * iou / (1 + iou))


def cmAccuracy(cm: ConfusionMatrix | MetricsLambda) -> MetricsLambda:  # noqa: N802 - Ignite's name
    """Creates a metric: accuracy, the fraction of correct predictions, shape ().

    Raises:
        TypeError: ``cm`` is neither a :class:`ConfusionMatrix` nor computed from one.
    """
    _check_matrix(cm, any_average=True, takes_arithmetic=True)
    return better_if_higher(MetricsLambda(_accuracy, cm))


def cmPrecision(cm: ConfusionMatrix | MetricsLambda, average: bool = True) -> MetricsLambda:  # noqa: N802 - Ignite's name
    r"""Creates a metric: precision of each class, :math:`\frac{TP}{TP + FP}`, shape (C,).

    A class without predictions has the value 0.

    Args:
        cm: confusion matrix with ``average`` None or "samples", or arithmetic with one.
        average: return the mean over classes, shape ().

    Raises:
        TypeError: ``cm`` is neither a :class:`ConfusionMatrix` nor computed from one.
        ValueError: its ``average`` is neither None nor "samples".
    """
    _check_matrix(cm, takes_arithmetic=True)
    return better_if_higher(MetricsLambda(functools.partial(_ratio, dim=0, average=average), cm))


def cmRecall(cm: ConfusionMatrix | MetricsLambda, average: bool = True) -> MetricsLambda:  # noqa: N802 - Ignite's name
    r"""Creates a metric: recall of each class, :math:`\frac{TP}{TP + FN}`, shape (C,).

    A class without examples has the value 0.

    Args:
        cm: confusion matrix with ``average`` None or "samples", or arithmetic with one.
        average: return the mean over classes, shape ().

    Raises:
        TypeError: ``cm`` is neither a :class:`ConfusionMatrix` nor computed from one.
        ValueError: its ``average`` is neither None nor "samples".
    """
    _check_matrix(cm, takes_arithmetic=True)
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


def _check_matrix(
    cm: ConfusionMatrix | MetricsLambda, any_average: bool = False, takes_arithmetic: bool = False
) -> None:
    if takes_arithmetic and isinstance(cm, MetricsLambda):
        return
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
    removed = exclude_index if ignore_index is None else ignore_index
    return iou if removed is None else torch.cat([iou[:removed], iou[removed + 1 :]])
