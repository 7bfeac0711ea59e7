"""The base class of classification metrics, and averages of the ratios of each class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._labels import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    Labels,
    check_shapes,
    ratio,
    read_labels,
    squeeze_pair,
)
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import LabelCounts, Reading, Statistic
from ignite.metrics.statistics.labels import CLASSES, SAMPLES


class _BaseClassification(View):
    """Detects binary, multiclass or multilabel data from the first batch, and expects the same until reset."""

    _need: str
    """What :class:`LabelCounts` has to count."""

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

    # For subclasses written for Ignite, which call these checks in their own ``update``:

    def _check_shape(self, output: Sequence[Tensor]) -> None:
        """Raises ValueError if the shapes fit no kind of classification."""
        check_shapes(*squeeze_pair(*output), self._is_multilabel)

    def _check_type(self, output: Sequence[Tensor]) -> None:
        """Raises RuntimeError if the kind of classification has changed."""
        labels: Labels = read_labels(output, self._is_multilabel)
        self._counts.check_kind(labels)

    def _check_binary_multilabel_cases(self, output: Sequence[Tensor]) -> None:
        """Raises ValueError if tensors with the same number of dimensions have values other than 0 and 1."""
        if output[0].ndim == output[1].ndim:
            read_labels(output, self._is_multilabel)

    @staticmethod
    def get_sequence_transform(
        ignore_index: int | Iterable[int] | None = None,
        output_transform: Callable[[Any], Any] = identity,
    ) -> Callable[[Any], tuple[Tensor, Tensor]]:
        """Makes an ``output_transform`` for outputs with one class for each token.

        Args:
            ignore_index: targets to leave out, such as padding.
            output_transform: turns ``engine.state.output`` into scores of shape (N, S, C) and
                targets of shape (N, S).

        Returns:
            A function that returns scores of shape (M, C) and targets of shape (M,) of the M tokens
            that are not left out.
        """
        ignored = (
            []
            if ignore_index is None
            else [ignore_index]
            if isinstance(ignore_index, int)
            else [*ignore_index]
        )
        return _SequenceTransform(tuple(ignored), output_transform)


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
    """What :class:`LabelCounts` has to count for an average."""
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
        average: as :func:`normalized_average` returns it, except "samples".
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


def check_first_batch(reading: Reading, is_multilabel: bool, average: bool | str | None) -> None:
    """Raises ValueError if the data does not fit ``average``; warns about dtypes, as Ignite does."""
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
