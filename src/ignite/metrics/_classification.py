"""Common parts of metrics of labels; contingency tables of predicted and true labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite._core.old_arguments import OldOrder, takes_old
from ignite.exceptions import NotComputableError
from ignite.metrics._output_arrays import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    Labels,
    array_of,
    arrays_of,
    as_classes,
    check_shapes,
    count_nan_scores,
    count_outside,
    largest,
    numpy,
    ratio,
    read_labels,
    smallest,
    squeeze_pair,
)
from ignite.metrics._outputs import identity
from ignite.metrics._reduction import sync_all_reduce
from ignite.metrics._saved_state import StatisticPart
from ignite.metrics._views import View
from ignite.metrics.statistics import LabelCounts, Reading, Statistic
from ignite.metrics.statistics.labels import CLASSES, CORRECT, SAMPLES

takes_average_first = takes_old(
    OldOrder(
        "average output_transform",
        lambda values: isinstance((*values, None)[0], bool) or callable((*values, None, None)[1]),
    )
)
"""Makes a metric accept the order of arguments of Ignite 0.1."""


class _BaseClassification(View):
    """Detects binary, multiclass or multilabel data from the first batch; later batches must be of the same kind.

    Metrics of this package define ``_value``. Users' subclasses written for Ignite define
    ``reset``, ``update`` and ``compute`` instead, and call the ``_check_...`` methods.
    """

    _need: str = CORRECT
    """The kind of counts that :class:`LabelCounts` accumulates."""

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        is_multilabel: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self._is_multilabel = is_multilabel
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [LabelCounts(self._need, self._is_multilabel, device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} should define compute()")

    @property
    def _counts(self) -> LabelCounts:
        """The counts of this process."""
        found = self._statistics_in_use()[0]
        assert isinstance(found, LabelCounts)
        return found

    @property
    def _type(self) -> str | None:
        """The kind of classification; None before the first batch."""
        return self._counts.kind

    @property
    def _num_classes(self) -> int | None:
        return self._counts.num_classes

    # For subclasses written for Ignite, which call these checks in their ``update``:

    def _check_shape(self, output: Sequence[Tensor]) -> None:
        """Raises ValueError if the shapes do not match any kind of classification."""
        check_shapes(*squeeze_pair(*output), self._is_multilabel)

    def _check_type(self, output: Sequence[Tensor]) -> None:
        """Raises RuntimeError if the kind of classification has changed."""
        labels: Labels = read_labels(output, self._is_multilabel)
        self._own_statistic().recognize(labels)

    def _check_binary_multilabel_cases(self, output: Sequence[Tensor]) -> None:
        """Raises ValueError if tensors with the same number of dimensions have values other than 0 and 1."""
        if output[0].ndim == output[1].ndim:
            read_labels(output, self._is_multilabel)

    @staticmethod
    def get_sequence_transform(
        ignore_index: int | Iterable[int] | None = None,
        output_transform: Callable[[Any], Any] = identity,
    ) -> Callable[[Any], tuple[Tensor, Tensor]]:
        """Creates an ``output_transform`` for outputs with one class per token.

        Args:
            ignore_index: targets to ignore, such as padding.
            output_transform: turns ``engine.state.output`` into scores of shape (N, S, C) and
                targets of shape (N, S).

        Returns:
            A function that returns scores of shape (M, C) and targets of shape (M,) of the M tokens
            that are not ignored.
        """
        ignored = (
            []
            if ignore_index is None
            else [ignore_index]
            if isinstance(ignore_index, int)
            else [*ignore_index]
        )
        return _SequenceTransform(tuple(ignored), output_transform)


class _BasePrecisionRecall(_BaseClassification):
    """Base class of users' metrics that are quotients and define ``update``.

    ``update`` adds to ``_numerator``, ``_denominator`` and, for the average "weighted", ``_weight``,
    and sets ``_updated``. :class:`~ignite.metrics.Precision` and ``Recall`` do not derive from this
    class, because they share counts.
    """

    _state_dict_all_req_keys = ("_numerator", "_denominator", "_weight", "_updated")
    eps = 1e-20
    """Is added to denominators."""

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        average: bool | str | None = False,
        is_multilabel: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self._average = normalized_average(average)
        super().__init__(output_transform, is_multilabel, device, skip_unrolling)

    def reset(self) -> None:
        """Clears everything that was accumulated."""
        super().reset()
        self._numerator: Any = 0
        self._denominator: Any = 0
        self._weight: Any = 0
        self._updated = False

    def _prepare_output(self, output: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Converts a batch to zeros and ones, float64.

        Returns:
            Predictions, targets and their product, each of shape (M, C); for binary data and
            ``average=False``, of shape (M,).
        """
        labels: Labels = read_labels(output, self._is_multilabel)
        y_pred, y = labels.y_pred, labels.y
        if labels.kind == MULTILABEL:
            y_pred, y = (
                values.movedim(1, -1).reshape(-1, labels.num_classes) for values in (y_pred, y)
            )
        elif labels.kind == MULTICLASS or self._average is not False:
            num_classes = 2 if labels.kind == BINARY else labels.num_classes
            y_pred, y = (
                torch.nn.functional.one_hot(values.flatten().long(), num_classes)
                for values in (y_pred, y)
            )
        else:
            y_pred, y = y_pred.flatten(), y.flatten()
        y_pred, y = y_pred.to(self._double_dtype), y.to(self._double_dtype)
        return y_pred, y, y_pred * y

    @sync_all_reduce("_numerator", "_denominator", "_weight", "_updated:MAX")
    def compute(self) -> Any:
        """Returns the quotient, averaged over classes according to ``average``.

        Raises:
            NotComputableError: the metric has not been updated.
        """
        if not self._updated:
            raise NotComputableError(
                f"{type(self).__name__} must have at least one example before it can be computed."
            )
        quotient = self._numerator / (self._denominator + self.eps)
        if self._average == "weighted":
            weight = self._weight.sum() + self.eps
            return ((quotient * self._weight).sum() / weight).item()
        if self._average in ("macro", "micro", "samples"):
            return float(torch.as_tensor(quotient).mean())
        return quotient


class _SequenceTransform:
    """Flattens tokens. It is a class instead of a closure so that metrics can be pickled."""

    def __init__(self, ignored: tuple[int, ...], output_transform: Callable[[Any], Any]) -> None:
        self._ignored = ignored
        self._output_transform = output_transform

    def __call__(self, output: Any) -> tuple[Tensor, Tensor]:
        y_pred, y = self._output_transform(output)
        if y_pred.ndim != 3 or y.ndim != 2:
            raise ValueError(
                "Expected y_pred to be 3D (N, S, C) and y to be 2D (N, S), "
                f"but given shapes {tuple(y_pred.shape)} and {tuple(y.shape)}"
            )
        if y_pred.shape[:2] != y.shape:
            raise ValueError(
                f"y_pred and y have incompatible shapes: {tuple(y_pred.shape)} and {tuple(y.shape)}"
            )
        y_pred, y = y_pred.flatten(0, 1), y.flatten()
        if not self._ignored:
            return y_pred, y
        # As int64, so that no unsigned target equals -100 by wrapping around.
        classes = y if y.is_floating_point() else y.long()
        counts = ~torch.isin(
            classes, torch.tensor(self._ignored, device=y.device, dtype=classes.dtype)
        )
        return y_pred[counts], y[counts]


def normalized_average(average: bool | str | None) -> bool | str | None:
    """Returns ``average``, with "macro" for True.

    Raises:
        ValueError: it is not one of the averages of precision and recall.
    """
    if not (
        average is None
        or isinstance(average, bool)
        or average in ("macro", "micro", "weighted", "samples")
    ):
        raise ValueError(
            "Argument average should be None or a boolean or one of values 'macro', 'micro', 'weighted' and "
            f"'samples'., but given {average!r}"
        )
    return "macro" if average is True else average


def counts_for(average: bool | str | None) -> str:
    """Returns the kind of counts that :class:`LabelCounts` accumulates for an average."""
    return SAMPLES if average == "samples" else CLASSES


def average_of_ratios(
    numerator: Tensor,
    denominator: Tensor,
    counts: LabelCounts,
    average: bool | str | None,
    dtype: torch.dtype,
) -> Any:
    """Returns the ratio of each class, or their average over classes.

    Args:
        numerator: shape (C,).
        denominator: shape (C,). Where it is 0, the ratio is 0.
        counts: the support of each class and the kind of classification.
        average: a result of :func:`normalized_average`, except "samples".
        dtype: the dtype to compute in.
    """
    numerator, denominator = numerator.to(dtype), denominator.to(dtype)
    if average == "micro":
        return ratio(numerator.sum(), denominator.sum()).item()
    ratios = ratio(numerator, denominator)  # (C,)
    if average == "macro":
        return ratios.mean().item()
    if average == "weighted":
        support = counts.num_true.to(dtype)
        return ratio((ratios * support).sum(), support.sum()).item()
    return ratios[1] if counts.kind == BINARY and average is False else ratios


def mean_over_samples(counts: LabelCounts, i: int) -> float:
    """Returns the mean over examples of the precision (``i=0``) or recall (``i=1``) of their labels."""
    assert counts.samples is not None
    return counts.samples[i].item() / counts.num_examples


def ratio_parts(column: int) -> tuple[StatisticPart, StatisticPart, StatisticPart, StatisticPart]:
    """Returns the attributes that Ignite has for a metric that divides true positives.

    Args:
        column: the denominator: predictions (1) or targets (2) of each class.

    Returns:
        The numerator, the denominator, the weights of classes, and whether there was a batch.
    """

    def numerator(metric: Any, counts: LabelCounts) -> Any:
        if metric._average == "samples":
            return None if counts.samples is None else counts.samples[column - 1]
        return _as_in_ignite(metric, counts, 0)

    def denominator(metric: Any, counts: LabelCounts) -> Any:
        if metric._average == "samples":
            return counts.num_examples
        return _as_in_ignite(metric, counts, column)

    def weight(metric: Any, counts: LabelCounts) -> Any:
        return _as_in_ignite(metric, counts, 2) if metric._average == "weighted" else None

    def set_numerator(metric: Any, counts: LabelCounts, value: Any) -> None:
        if metric._average == "samples":
            samples = torch.zeros(2, dtype=metric._double_dtype, device=metric._device)
            samples[column - 1] = value
            counts.assign(SAMPLES, samples)
        else:
            _set_class_counts(metric, counts, 0, value)

    def set_denominator(metric: Any, counts: LabelCounts, value: Any) -> None:
        if metric._average == "samples":
            counts.assign("num_examples", value)
        else:
            _set_class_counts(metric, counts, column, value)

    def set_weight(metric: Any, counts: LabelCounts, value: Any) -> None:
        if metric._average == "weighted":
            _set_class_counts(metric, counts, 2, value)

    return (
        StatisticPart(read=numerator, write=set_numerator),
        StatisticPart(read=denominator, write=set_denominator),
        StatisticPart(read=weight, write=set_weight),
        StatisticPart(read=_has_examples, write=_set_has_examples),
    )


def predicted_part() -> StatisticPart:
    """Returns the attribute that counts predictions of each class."""

    def read(metric: Any, counts: LabelCounts) -> Tensor | None:
        known = counts.kind is not None or counts.classes is not None
        return counts.num_predicted.to(metric._double_dtype) if known else None

    def write(metric: Any, counts: LabelCounts, value: Any) -> None:
        _set_class_counts(metric, counts, 1, value)

    return StatisticPart("", 0, read, write)


def _as_in_ignite(metric: Any, counts: LabelCounts, row: int) -> Tensor | None:
    """Returns a row of the class counts: that of class 1 for binary data, or the sum over classes."""
    if counts.kind is None and counts.classes is None:
        return None
    values = (counts.true_positives, counts.num_predicted, counts.num_true)[row]  # (C,)
    values = values.to(metric._double_dtype)
    if metric._average == "micro":
        return values.sum()
    return values[1] if metric._average is False and counts.kind == BINARY else values


def _set_class_counts(metric: Any, counts: LabelCounts, row: int, value: Any) -> None:
    value = torch.as_tensor(value, dtype=metric._double_dtype, device=metric._device)
    if value.ndim == 0 and value == 0:  # as after a reset: the kind of data is not known from it
        known = counts.classes
        if known is not None:
            known = known.clone()
            known[row] = 0
            counts.assign(CLASSES, known)
        return
    if value.ndim == 0 and metric._average is False:  # of class 1
        value = torch.stack([torch.zeros_like(value), value])
        if counts.kind is None:
            counts.assign("kind", BINARY)
    value = value.flatten()  # (C,)
    classes = counts.classes
    if classes is None or classes.shape[1] != len(value):
        classes = value.new_zeros(3, len(value))
    classes = classes.to(value.dtype, copy=True)
    classes[row] = value
    counts.assign(CLASSES, classes)


def _has_examples(metric: Any, counts: LabelCounts) -> bool:
    return counts.num_examples > 0


def _set_has_examples(metric: Any, counts: LabelCounts, value: bool) -> None:
    counts.assign("num_examples", max(counts.num_examples, 1) if value else 0)


def check_first_batch(reading: Reading, is_multilabel: bool, average: bool | str | None) -> None:
    """Raises ValueError if the data does not match ``average``; warns about dtypes, like Ignite."""
    labels: Labels = reading.derive(read_labels, is_multilabel)
    if average == "samples" and labels.kind != MULTILABEL:
        raise ValueError(
            "Argument average='samples' is incompatible with binary and multiclass input data., "
            f"but given {labels.kind} data"
        )
    y_pred, y = reading.output
    if labels.kind == MULTICLASS and y.dtype != torch.long:
        _warn(f"`y` should be of dtype long when entry type is multiclass, but is {y.dtype}")
    if labels.kind == BINARY and average is not False and {y.dtype, y_pred.dtype} != {torch.long}:
        _warn(
            "`y` and `y_pred` should be of dtype long when entry type is binary and average!=False, but are "
            f"{y.dtype} and {y_pred.dtype}"
        )


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


IGNORED = -100
"""The target that losses of PyTorch ignore by default. It is not a label."""


def cross_table(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the contingency table of all labels that occur, and these labels.

    True labels ``y`` (N,) are in rows, predicted ones ``y_pred`` (N,) in columns.
    """
    if not len(y):
        return y.new_zeros(0, 0), y
    low, high = _bounds(y_pred, y)
    num_labels = high - low + 1
    if num_labels <= _MAX_LABELS_IN_TABLE or num_labels**2 <= len(y):
        table = _table(y_pred - low, y - low, num_labels)
        occurs = table.sum(dim=0) + table.sum(dim=1)
        (found,) = torch.nonzero(occurs, as_tuple=True)
        table = table if len(found) == num_labels else table[found][:, found]
        return table, found + low
    labels, indices = torch.unique(torch.cat([y, y_pred]), return_inverse=True)
    true, predicted = indices.split([len(y), len(y_pred)])
    return _table(predicted, true, len(labels)), labels


def _bounds(y_pred: Tensor, y: Tensor) -> tuple[int, int]:
    """Returns the smallest and the largest label."""
    arrays = arrays_of(y_pred, y)
    if arrays is not None:
        return min(map(smallest, arrays)), max(map(largest, arrays))
    low, high = torch.stack([*y.aminmax(), *y_pred.aminmax()]).aminmax()
    return int(low), int(high)


_MAX_LABELS_IN_TABLE = 256
"""For a larger range of labels, a table of the whole range is too large for few examples."""


def check_labels(reading: Reading, y_pred: Tensor, y: Tensor, name: str) -> None:
    """Raises ValueError if predictions or targets on the CPU are not labels."""
    together = reading.copies_of(y_pred, y).together  # the statistic needs the copies anyway
    if together is not None and _are_natural(together):
        return
    for values, which in ((y_pred, "y_pred"), (y, "y")):
        if not _are_natural(values):
            as_labels(values.detach(), which, name)


def _are_natural(values: Tensor) -> bool:
    """Returns whether values (M,) are integers of at least 0; may be False if numpy is missing."""
    array = array_of(values) if values.ndim == 1 and not values.is_floating_point() else None
    return array is not None and bool(array.size) and bool(smallest(array) >= 0)


def labels_of_samples(y_pred: Tensor, y: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Returns predicted and true labels (N,) of all samples.

    Raises:
        ValueError: some are not labels. For tensors on an accelerator, ``update`` does not check this.
    """
    if y.dtype is torch.int64 is y_pred.dtype and _are_natural(y_pred) and _are_natural(y):
        return y_pred, y
    (predicted, num_wrong_predictions), (true, num_wrong) = (
        as_labels(y_pred, "y_pred", name),
        as_labels(y, "y", name),
    )
    num_wrong = int(num_wrong + num_wrong_predictions)
    if num_wrong:
        raise ValueError(
            f"In {name}, y_pred and y should be labels, but {num_wrong} of those given are not"
        )
    return predicted, true


def count_labels(
    output: Sequence[Tensor], num_classes: int, name: str
) -> tuple[int, Tensor, Tensor | int]:
    """Returns the number of examples, their table, and the number of labels out of range.

    ``output`` is ``(y_pred, y)``, each of shape (B,) or (B, 1). Scores of shape (B, C) are converted
    to the class with the highest score.

    Raises:
        ValueError: the shapes differ from these, or on the CPU, a label is out of range.
    """
    (y_pred, num_wrong_predictions), (y, num_wrong) = (
        as_labels(values.detach(), which, name)
        for values, which in zip(output, ("y_pred", "y"), strict=True)
    )
    if y_pred.shape != y.shape:
        raise ValueError(
            f"y_pred and y should have the same number of labels, but given {len(y_pred)} and {len(y)}"
        )
    num_outside = count_outside(y_pred, num_classes) + count_outside(y, num_classes)
    if y.is_cpu and not num_outside:
        return len(y), _table(y_pred, y, num_classes), 0
    num_outside = num_outside + num_wrong_predictions + num_wrong
    if isinstance(num_outside, int) and num_outside:
        raise ValueError(outside_message(num_classes, num_outside))
    is_inside = ((y_pred >= 0) & (y_pred < num_classes) & (y >= 0) & (y < num_classes)).long()
    table = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=y.device)
    table.index_add_(
        0, (y.clamp(0, num_classes - 1) * num_classes + y_pred.clamp(0, num_classes - 1)), is_inside
    )
    return len(y), table.view(num_classes, num_classes), torch.as_tensor(num_outside)


def as_labels(values: Tensor, which: str, name: str) -> tuple[Tensor, int | Tensor]:
    """Returns labels (B,) from labels (B,) or (B, 1), or from scores or one-hot vectors (B, C).

    Also returns the number of invalid labels on an accelerator.

    Raises:
        ValueError: the shape differs from these. On the CPU also if a label is not a whole number or
            is -100, or a score is NaN.
    """
    if values.ndim == 2 and values.shape[1] != 1:
        classes = values.argmax(dim=1)
        return classes, count_nan_scores(values, classes) if values.is_floating_point() else 0
    values = values.squeeze(1) if values.ndim == 2 else values
    if values.ndim != 1:
        raise ValueError(
            f"In {name}, {which} should be of shape (batch_size,), but given {tuple(values.shape)}"
        )
    labels, num_wrong = as_classes(which, values)
    array = array_of(labels)
    if array is not None and (not array.size or smallest(array) >= 0):
        return labels, num_wrong
    if not labels.is_cpu:
        return labels, num_wrong + (labels == IGNORED).sum()
    if (labels == IGNORED).any():
        raise ValueError(
            f"In {name}, {which} should be labels, but given {IGNORED}, which losses ignore; remove ignored targets "
            f"in output_transform, for example with Accuracy.get_sequence_transform(ignore_index={IGNORED})"
        )
    return labels, num_wrong


def outside_message(num_classes: int | None, num_outside: int) -> str:
    """Returns the error message for labels that are out of range."""
    return f"Labels should be from 0 to {(num_classes or 0) - 1}, but {num_outside} of those given are not"


def _table(predicted: Tensor, true: Tensor, num_labels: int) -> Tensor:
    pairs = torch.add(predicted, true, alpha=num_labels)
    array = array_of(pairs)
    if array is None:
        counts = torch.bincount(pairs, minlength=num_labels * num_labels)
    else:  # takes half the time of torch
        counts = torch.from_numpy(numpy.bincount(array, minlength=num_labels * num_labels))
    return counts.view(num_labels, num_labels)
