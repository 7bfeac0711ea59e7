"""What kind of classification a pair of tensors is, for metrics that take several kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics.metric import Metric, identity


class _BaseClassification(Metric):
    """Finds out from the first batch whether it is binary, multiclass or multilabel, and keeps to that until reset."""

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        is_multilabel: bool = False,
        device: str | torch.device = torch.device("cpu"),  # noqa: B008 - Ignite's signature
        skip_unrolling: bool = False,
    ) -> None:
        self._is_multilabel = is_multilabel
        super().__init__(output_transform, device, skip_unrolling)

    def reset(self) -> None:
        """Forgets the kind, too."""
        self._type: str | None = None
        self._num_classes: int | None = None

    def _read(self, output: Any) -> tuple[Tensor, Tensor]:
        """``(y_pred, y)``, checked; remembers the kind once both are right."""
        y_pred, y = output[0].detach(), output[1].detach()
        if y_pred.ndim == y.ndim + 1 and y_pred.shape[1] == 1:
            y_pred = y_pred.squeeze(1)
        elif y.ndim == y_pred.ndim + 1 and y.shape[1] == 1:
            y = y.squeeze(1)
        _check_shape(y_pred, y, self._is_multilabel)
        if y_pred.ndim == y.ndim + 1:
            kind, num_classes = "multiclass", y_pred.shape[1]
        else:
            kind = "multilabel" if self._is_multilabel else "binary"
            num_classes = y_pred.shape[1] if self._is_multilabel else 1
            _check_binary(y_pred, y)
        if self._type not in (None, kind):
            raise RuntimeError(f"Input data type has changed from {self._type} to {kind}.")
        if self._num_classes not in (None, num_classes):
            raise ValueError(f"Input data number of classes has changed from {self._num_classes} to {num_classes}")
        self._type, self._num_classes = kind, num_classes
        return y_pred, y

    @staticmethod
    def get_sequence_transform(
        ignore_index: int | Iterable[int] | None = None,
        output_transform: Callable[[Any], Any] = identity,
    ) -> Callable[[Any], tuple[Tensor, Tensor]]:
        """An ``output_transform`` for outputs with a class for each token.

        Args:
            ignore_index: targets that do not count, such as padding.
            output_transform: turns ``engine.state.output`` into scores of shape (N, S, C) and targets of shape (N, S).

        Returns:
            A function that gives scores of shape (M, C) and targets of shape (M,) for the M tokens that count.
        """
        ignored = [] if ignore_index is None else [ignore_index] if isinstance(ignore_index, int) else [*ignore_index]

        def transform(output: Any) -> tuple[Tensor, Tensor]:
            y_pred, y = output_transform(output)
            if y_pred.ndim != 3 or y.ndim != 2:
                raise ValueError(
                    "Expected y_pred to be 3D (N, S, C) and y to be 2D (N, S), "
                    f"but given shapes {tuple(y_pred.shape)} and {tuple(y.shape)}"
                )
            if y_pred.shape[:2] != y.shape:
                raise ValueError(f"y_pred and y have incompatible shapes: {tuple(y_pred.shape)} and {tuple(y.shape)}")
            y_pred, y = y_pred.flatten(0, 1), y.flatten()
            if not ignored:
                return y_pred, y
            counts = ~torch.isin(y, torch.tensor(ignored, device=y.device, dtype=y.dtype))
            return y_pred[counts], y[counts]

        return transform


def _check_shape(y_pred: Tensor, y: Tensor, is_multilabel: bool) -> None:
    given = f"but given y_pred of shape {tuple(y_pred.shape)} and y of shape {tuple(y.shape)}"
    if y_pred.ndim not in (y.ndim, y.ndim + 1) or y.ndim == 0:
        raise ValueError(
            "y must have shape of (batch_size, ...) and y_pred must have shape of (batch_size, num_categories, ...) "
            f"or (batch_size, ...), {given}"
        )
    if is_multilabel and (y.shape != y_pred.shape or y.ndim < 2 or y.shape[1] == 1):
        raise ValueError(
            "y and y_pred must have same shape of (batch_size, num_categories, ...) and num_categories > 1., " + given
        )
    compared = y_pred.shape if y_pred.ndim == y.ndim else (y_pred.shape[0], *y_pred.shape[2:])
    if tuple(compared) != tuple(y.shape):
        raise ValueError(f"y and y_pred must have compatible shapes., {given}")


def _check_binary(y_pred: Tensor, y: Tensor) -> None:
    for name, values in (("y", y), ("y_pred", y_pred)):
        if not torch.equal(values, values**2):
            wrong = values[values != values**2].flatten()[0].item()
            raise ValueError(f"For binary cases, {name} must be comprised of 0's and 1's., but given {wrong}")
