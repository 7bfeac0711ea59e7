"""Metrics that are computed from all predictions and targets at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.statistics import KeptSamples, Reading, Statistic
from ignite.metrics.statistics._statistic import leaves_inference_mode

__all__ = ["EpochMetric", "EpochMetricWarning"]


class EpochMetricWarning(UserWarning):
    """Warns that ``compute_fn`` fails for the first batch."""


class EpochMetric(View):
    """The value of a function of all predictions and targets.

    Update with ``(y_pred, y)``, each of shape (B,) or (B, K), of the same dtypes each time; a
    second dimension of size 1 is removed. All of them are kept, so memory grows with the data.
    Metrics of an engine that keep the same tensors share them. In distributed runs, each process
    computes the value from the samples of all processes, in the order of ranks.

    Args:
        compute_fn: ``compute_fn(y_pred, y)`` returns the value for all predictions and targets.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        check_compute_fn: whether to call ``compute_fn`` for the first batch, and warn if it fails.
        device: device on which to keep the tensors. By default, their own.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: ``compute_fn`` cannot be called.
        ValueError: in ``update``, a tensor has another shape, or another dtype than before.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> def largest_error(y_pred, y):
        ...     return (y_pred - y).abs().max().item()
        >>> metric = EpochMetric(largest_error)
        >>> metric.update((torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])))
        >>> metric.update((torch.tensor([3.0]), torch.tensor([2.0])))
        >>> metric.compute()
        2.0
    """

    _calls_user_code = True

    def __init__(
        self,
        compute_fn: Callable[[Tensor, Tensor], Any],
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = True,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not callable(compute_fn):
            raise TypeError(f"Argument compute_fn should be callable, but given {type(compute_fn)}")
        self.compute_fn = compute_fn
        self._check_compute_fn = check_compute_fn
        super().__init__(output_transform, device, skip_unrolling)

    def _reset_extra_state(self) -> None:
        self._is_checked = False
        self._appended: tuple[list[Tensor], list[Tensor]] | None = None

    def _declare(self) -> list[Statistic]:
        return [KeptSamples(select_samples, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if not self._check_compute_fn or self._is_checked:
            return
        y_pred, y = reading.derive(select_samples)
        if not y.shape[0]:
            return
        self._is_checked = True
        try:
            self.compute_fn(y_pred, y)
        except Exception as error:
            warnings.warn(
                f"Probably, there can be a problem with `compute_fn`:\n {error}",
                EpochMetricWarning,
                stacklevel=2,
            )

    def _value(self, samples: Any) -> Any:
        if self._calls_user_code:  # it may modify its arguments, which other metrics share
            return self.compute_fn(samples.first.clone(), samples.second.clone())
        return self.compute_fn(samples.first, samples.second)

    # Subclasses written for Ignite append to these lists in ``update``. The appended tensors are
    # added to the statistic before it is used.

    @property
    def _predictions(self) -> list[Tensor]:
        """The predictions of this process, in one or more tensors."""
        return self._lists()[0]

    @_predictions.setter
    def _predictions(self, tensors: list[Tensor]) -> None:
        self._appended = (tensors, self._lists()[1])

    @property
    def _targets(self) -> list[Tensor]:
        """The targets of this process, in one or more tensors."""
        return self._lists()[1]

    @_targets.setter
    def _targets(self, tensors: list[Tensor]) -> None:
        self._appended = (self._lists()[0], tensors)

    def _lists(self) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the predictions and targets; for a subclass that appends to them, the lists that it appends to."""
        if type(self).update is View.update:
            return _lists_of(self._statistics_in_use()[0])
        if self._appended is None or self._own[0].num_examples:
            self._appended = _lists_of(self._statistics_in_use()[0])
            self._own = leaves_inference_mode(self._declare)()
        return self._appended

    def _statistics_in_use(self) -> list[Statistic]:
        if self._appended is not None:
            lists, self._appended = self._appended, None
            later = _lists_of(self._own[0])
            self._own = leaves_inference_mode(self._declare)()
            for predictions, targets in (lists, later):
                for pair in zip(predictions, targets, strict=True):
                    self._own[0].update(Reading(pair))
        return super()._statistics_in_use()

    def _check_shape(self, output: Sequence[Tensor]) -> None:
        """Raises ValueError if the shapes do not match. For subclasses written for Ignite."""
        select_samples(output)

    def _check_type(self, output: Sequence[Tensor]) -> None:
        """Raises ValueError if a dtype has changed. For subclasses written for Ignite."""
        lists = self._lists()
        for name, kept, given in zip(("y_pred", "y"), lists, output, strict=True):
            if kept and kept[0].dtype != given.dtype:
                raise ValueError(
                    f"Incoherent types between input {name} and stored tensors: {name} should be of "
                    f"{kept[0].dtype} as before, but given {given.dtype}"
                )


def _lists_of(samples: Any) -> tuple[list[Tensor], list[Tensor]]:
    pairs = samples.pieces() if samples.num_examples else []
    return [x for x, _ in pairs], [y for _, y in pairs]


def select_samples(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns predictions and targets, each of shape (B,) or (B, K).

    Raises:
        ValueError: they have other numbers of dimensions, or different numbers of rows.
    """
    y_pred, y = output[0], output[1]
    if y_pred.ndim == 1 and y.shape == y_pred.shape:
        return y_pred, y
    for name, tensor in (("Predictions", y_pred), ("Targets", y)):
        if tensor.ndim not in (1, 2):
            raise ValueError(
                f"{name} should be of shape (batch_size, n_targets) or (batch_size, ), but given {tuple(tensor.shape)}"
            )
    if len(y_pred) != len(y):
        raise ValueError(
            "Predictions and targets should have the same number of rows, "
            f"but given shapes {tuple(y_pred.shape)} and {tuple(y.shape)}"
        )
    return _squeezed(y_pred), _squeezed(y)


def _squeezed(tensor: Tensor) -> Tensor:
    return tensor.squeeze(1) if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor
