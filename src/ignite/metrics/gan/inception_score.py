"""Inception score of generated samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ignite.metrics._distances import widened
from ignite.metrics._outputs import identity
from ignite.metrics.gan.utils import _BaseInceptionMetric, extracted
from ignite.metrics.statistics import Reading, Statistic, Totals

__all__ = ["InceptionScore"]


class InceptionScore(_BaseInceptionMetric):
    r"""Whether a classifier is sure about each generated sample, and finds all classes among them.

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

    def _declare(self) -> list[Statistic]:
        device = self._accumulates_on
        args = (self._feature_extractor, self._num_features, device)
        return [Totals(_sum_logarithms, args, num_values=3, device=device)]

    def _pick(self, output: Mapping[str, Any]) -> NoReturn:
        self._refuse(output)

    def _read_output(self, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or not output.ndim:
            self._refuse(output)
        return output

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if not isinstance(
            reading.output, Tensor
        ):  # pairs of tensors are not passed to _read_output
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
        information = float(logarithms) / totals.num_examples + float(
            torch.special.entr(mean).sum()
        )
        return math.exp(max(information, 0.0))


def _sum_logarithms(
    inputs: Tensor, extractor: nn.Module, num_features: int, device: torch.device | None
) -> tuple[int, Tensor, Tensor, Tensor]:
    r"""Returns the number of rows, the sums of :math:`p \ln p` and of p, and the invalid rows."""
    given = extracted(inputs, extractor, num_features, device)
    probabilities = widened(given)  # (B, C)
    sums = probabilities.sum(dim=1)
    # Both comparisons are false for NaN.
    is_valid = (probabilities >= 0).all(dim=1) & ((sums - 1).abs() <= _TOLERANCE)
    if given.is_cpu and not is_valid.all():
        row = int(is_valid.logical_not().nonzero()[0])
        raise ValueError(
            f"{_EXPECTED}, but given a row from {given[row].min().item():g} to "
            f"{given[row].max().item():g} that adds up to {sums[row].item():g}; apply softmax to logits"
        )
    logarithms = -torch.special.entr(probabilities).sum()
    return len(given), logarithms, probabilities.sum(dim=0), is_valid.logical_not().sum()


_EXPECTED = "Rows should be probabilities, which add up to 1 over classes"
_TOLERANCE = 0.01
"""Accepted deviation from 1 of the sum of probabilities, which may be in half precision."""
