"""Inception score of generated samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from ignite.metrics._distances import NARROW, widened
from ignite.metrics._output_arrays import (
    array_of,
    arrays_of,
    largest,
    numpy,
    rows_product,
    scratch,
    smallest,
    without_float_warnings,
)
from ignite.metrics._outputs import identity
from ignite.metrics.gan.utils import _BaseInceptionMetric, extracted
from ignite.metrics.statistics import Reading, Statistic, Totals
from ignite.metrics.statistics._statistic import LARGE, wide_dtype

__all__ = ["InceptionScore"]


class InceptionScore(_BaseInceptionMetric):
    r"""Inception score: high if a classifier is confident about each generated sample and predicts all classes.

    .. math:: \exp\Bigl( \frac{1}{N} \sum_i \mathrm{KL}(p_i \,\|\, \bar{p}) \Bigr),
        \quad \bar{p} = \frac{1}{N} \sum_i p_i

    where :math:`p_i` are the probabilities of classes for sample :math:`i`. The score is from 1 (all
    samples look alike) to the number of classes. Probabilities of 0 contribute 0.

    Update with one tensor: samples of shape (B, ...), or probabilities of shape (B, C).

    Args:
        num_features: number of classes, C. By default 1000.
        feature_extractor: module that turns samples (B, ...) into probabilities (B, C). It is called
            in evaluation mode. By default, samples are probabilities already if ``num_features`` is
            given, else they come from :class:`InceptionModel`.
        output_transform: turns ``engine.state.output`` into the tensor.
        device: device on which to extract probabilities and to accumulate. By default, that of
            samples.

    Raises:
        TypeError: ``feature_extractor`` is not a module, or ``num_features`` not an integer. In
            ``update``, the output is not a tensor.
        ValueError: ``num_features`` is not positive, or not given with ``feature_extractor``. In
            ``update``, rows are not of shape (B, C) or not probabilities; those on an accelerator
            are reported by ``compute``.
        NotComputableError: in ``compute``, there was no sample.

    Example:
        >>> metric = InceptionScore(num_features=2)
        >>> metric.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> round(metric.compute(), 4)  # sure of both classes, evenly
        2.0

    References:
        Salimans et al., "Improved techniques for training GANs", 2016,
        https://arxiv.org/abs/1606.03498
    """

    higher_is_better = True

    def __init__(
        self,
        num_features: int | None = None,
        feature_extractor: nn.Module | None = None,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(num_features, feature_extractor, output_transform, device)

    def _ignite_names(self) -> tuple[str, ...]:
        return ("_num_examples", "_prob_total", "_total_kl_d")

    def _to_ignite(self) -> dict[str, Any]:
        totals: Any = self._statistics_in_use()[0]
        shares = torch.zeros(self._num_features, dtype=self._double_dtype, device=self._device)
        logarithms = shares.clone()
        if totals.values:
            logarithms[0], shares = totals.values[:2]  # Ignite adds them up over classes
        return dict(
            zip(self._ignite_names(), (totals.num_examples, shares, logarithms), strict=True)
        )

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        num_examples, shares, logarithms = (state[name] for name in self._ignite_names())
        parts = (num_examples, logarithms.sum(), shares, torch.zeros_like(logarithms[0]))
        names = ("num_examples", "total_0", "total_1", "total_2")
        if num_examples:
            self._own_statistic().take(dict(zip(names, parts, strict=True)))

    def _declare(self) -> list[Statistic]:
        device = self._accumulates_on
        read = _Probabilities(self._feature_extractor, self._num_features, device)
        # mypy does not see that a named tuple can be called.
        return [Totals(_sum_logarithms, num_values=3, device=device, select=read)]  # type: ignore[arg-type]

    def _pick(self, output: Mapping[str, Any]) -> NoReturn:
        self._refuse(output)

    def _read_output(self, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or not output.ndim:
            self._refuse(output)
        return output

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if not isinstance(reading.output, Tensor):  # a pair of tensors
            self._refuse(reading.output)

    def _refuse(self, output: Any) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} should be given one tensor of shape (batch_size, ...), but given "
            f"{type(output)}; choose it in output_transform"
        )

    def _value(self, totals: Totals) -> float:
        logarithms, shares, num_wrong = totals.values
        if int(num_wrong):
            raise ValueError(f"{_EXPECTED}, but {int(num_wrong)} rows were not")
        mean = shares / totals.num_examples  # (C,)
        of_mean = float(torch.special.entr(mean).sum())
        return math.exp(max(float(logarithms) / totals.num_examples + of_mean, 0.0))


class _Probabilities(NamedTuple):
    """Reads the probabilities (B, C) of samples. Equal instances share the result."""

    extractor: nn.Module
    num_features: int
    device: torch.device | None

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the probabilities twice, for statistics that read pairs of tensors."""
        found = extracted(inputs, self.extractor, self.num_features, self.device)
        if not found.is_floating_point():
            found = found.to(torch.get_default_dtype())
        if found.is_cpu and found.numel():
            _check_probabilities(found)
        return found, found


def _check_probabilities(found: Tensor) -> None:
    """Raises ValueError unless rows (B, C) are probabilities."""
    array = array_of(found)
    if array is not None:  # numpy takes less time for small batches
        with without_float_warnings():
            sums = (
                array @ numpy.ones(array.shape[1], array.dtype)
                if array.size < LARGE
                else found.sum(dim=1).numpy()
            )
            is_close = 1 - _TOLERANCE <= smallest(sums) <= largest(sums) <= 1 + _TOLERANCE
            if smallest(array) >= 0 and is_close:
                return
    is_wrong = ~_are_probabilities(found)
    if is_wrong.any():
        row = found[is_wrong][0]
        raise ValueError(
            f"{_EXPECTED}, but given a row from {row.min().item():g} to {row.max().item():g} "
            f"that adds up to {row.double().sum().item():g}; apply softmax to logits"
        )


def _are_probabilities(rows: Tensor) -> Tensor:
    """Returns whether each row (B, C) is nonnegative and adds up to 1; False for NaN."""
    sums = rows.sum(dim=1, dtype=wide_dtype(rows))
    return (rows >= 0).all(dim=1) & ((sums - 1).abs() <= _TOLERANCE)


def _sum_logarithms(
    pair: tuple[Tensor, Tensor],
) -> tuple[int, Tensor | float, Tensor, Tensor | float]:
    r"""Returns the number of rows, the sums of :math:`p \ln p` and of p, and the invalid rows."""
    given = pair[0]
    num_wrong = 0.0 if given.is_cpu else (~_are_probabilities(given)).sum()
    # The errors in float32, 1e-7 of the score, are less than those of the probabilities.
    wide = given.float() if given.is_cpu and given.dtype in NARROW else widened(given)
    least = torch.finfo(wide.dtype).tiny
    out = scratch(wide) if wide.dtype is torch.float32 else None
    logarithms = torch.clamp_min(wide, least, out=out).log_()
    arrays = arrays_of(logarithms, wide) if wide.dtype is torch.float32 else None
    total: Tensor | float
    if arrays is not None:  # numpy takes half the time
        total = float(rows_product(*arrays).sum(dtype="float64"))
    else:
        each = torch.linalg.vecdot(logarithms, wide)  # (B,); 0 for 0
        total = each.sum(dtype=wide_dtype(wide))
    return len(given), total, wide.sum(dim=0), num_wrong


_EXPECTED = "Rows should be probabilities, which add up to 1 over classes"
_TOLERANCE = 0.01
"""Accepted deviation from 1 of the sum of probabilities, which may be in half precision."""
