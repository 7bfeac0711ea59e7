"""What precision, recall and specificity have in common: ratios of each class, and the ways to average them."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics._classification import _BaseClassification
from ignite.metrics._labels import BINARY, MULTICLASS, MULTILABEL, Labels, ratio, read_labels
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import LabelCounts, Reading
from ignite.metrics.statistics.labels import CLASSES, SAMPLES


class _BasePrecisionRecall(_BaseClassification):
    higher_is_better = True
    _of_samples: ClassVar[int]
    """Which of the sums over examples, of precisions or recalls, it is."""

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        average: bool | str | None = False,
        is_multilabel: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not (average is None or isinstance(average, bool) or average in ("macro", "micro", "weighted", "samples")):
            raise ValueError(
                "Argument average should be None or a boolean or one of values 'macro', 'micro', 'weighted' and "
                f"'samples'., but given {average!r}"
            )
        self._average = "macro" if average is True else average
        self._need = SAMPLES if average == "samples" else CLASSES
        super().__init__(output_transform, is_multilabel, device, skip_unrolling)

    @abstractmethod
    def _denominator(self, counts: LabelCounts) -> Tensor:
        """How many examples of each class are to be told right, shape (C,)."""

    def _numerator(self, counts: LabelCounts) -> Tensor:
        """How many of them are, shape (C,)."""
        return counts.true_positives

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        # Once a batch was accepted, the counts see to it that others are of the same kind.
        if statistic.kind is None:
            reading.once(_check_entry, self._is_multilabel, self._average)

    def _value(self, counts: LabelCounts) -> Any:
        if self._average == "samples":
            assert counts.samples is not None
            return counts.samples[self._of_samples].item() / counts.num_examples
        dtype = self._double_dtype
        numerator, denominator = self._numerator(counts).to(dtype), self._denominator(counts).to(dtype)
        if self._average == "micro":
            return ratio(numerator.sum(), denominator.sum()).item()
        ratios = ratio(numerator, denominator)  # (C,)
        if self._average == "macro":
            return ratios.mean().item()
        if self._average == "weighted":
            support = counts.num_true.to(dtype)
            return ratio((ratios * support).sum(), support.sum()).item()
        return ratios[1] if counts.kind == BINARY and self._average is False else ratios


def _check_entry(reading: Reading, is_multilabel: bool, average: bool | str | None) -> None:
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
