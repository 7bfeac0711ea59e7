"""The geometric mean of absolute errors, relative to those of the mean target."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ignite.metrics._output_arrays import (
    arrays_of,
    inner_product,
    numpy,
    smallest,
    without_float_warnings,
)
from ignite.metrics._views import View
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.regression._base import (
    MANY,
    are_single,
    errors_relative_to_mean,
    read_pair,
    widened,
)
from ignite.metrics.statistics import KeptSamples, Reading, Statistic

__all__ = ["GeometricMeanRelativeAbsoluteError"]


class GeometricMeanRelativeAbsoluteError(View):
    r"""The geometric mean of absolute errors, each relative to the error of predicting the mean target.

    .. math:: \exp\Bigl(\frac{1}{N} \sum_i \ln \frac{|A_i - P_i|}{|A_i - \bar{A}|}\Bigr)

    with targets :math:`A` and predictions :math:`P`. Update with ``(y_pred, y)``: floating point,
    both of shape (B,) or both (B, 1), of the same dtypes each time. Arguments are those of
    :class:`~ignite.metrics.Metric`. 0/0 counts as 0. The value is 0 if a prediction is exact,
    infinite if a target is the mean, and NaN if both occur. All samples are kept, and shared with
    other metrics that keep them.

    Raises:
        ValueError, TypeError: in ``update``, shapes or dtypes are not those above. The batch is
            then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = GeometricMeanRelativeAbsoluteError()
        >>> metric.update((torch.tensor([2.0, 4.0]), torch.tensor([1.0, 5.0])))  # errors 1, of the mean target 2
        >>> round(metric.compute(), 9)
        0.5

    References:
        Botchkarev, "Performance Metrics (Error Measures) in Machine Learning Regression,
        Forecasting and Prognostics: Properties and Typology", 2018,
        https://arxiv.org/abs/1809.03006
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [KeptSamples(select_samples, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        reading.derive(read_pair)

    def _value(self, samples: KeptSamples) -> float:
        mean = _mean_of_single(samples.pieces()) if samples.num_examples >= MANY else None
        return math.exp(_mean(samples.first, samples.second) if mean is None else mean)


def _mean(y_pred: Tensor, y: Tensor) -> float:
    """Returns the mean logarithm of relative errors, computed in the widest dtype."""
    arrays = arrays_of(y_pred, y) if y_pred.ndim == y.ndim == 1 else None
    if arrays is not None:
        with without_float_warnings():
            errors = errors_relative_to_mean(*(array.astype("float64") for array in arrays))
            mean = float(numpy.log(errors, out=errors).mean())
        if mean == mean:  # NaN may come from 0/0, which counts as 0
            return mean
    return float(errors_relative_to_mean(widened(y_pred), widened(y)).log().mean())


def _mean_of_single(pieces: list[tuple[Tensor, Tensor]]) -> float | None:
    """Returns the mean logarithm of relative errors, computed in float32, or None if that is not precise enough.

    It is precise enough if the mean target is not large compared to the deviation of targets.
    """
    found = [arrays_of(*pair) for pair in pieces if are_single(*pair)]
    arrays = [pair for pair in found if pair is not None]
    if len(arrays) < len(pieces):
        return None
    num_examples = sum(len(y) for _, y in arrays)
    with without_float_warnings():
        mean = sum(float(y.sum()) for _, y in arrays) / num_examples
        variance = sum(inner_product(y, y) for _, y in arrays) / num_examples - mean * mean
        if not mean * mean < _NEAR * variance:
            return None
        total = 0.0
        for y_pred, y in arrays:
            errors = y - y_pred
            errors /= y - mean
            # The logarithm of a product is the sum of logarithms: half as many have to be computed.
            half = len(errors) // 2
            products = numpy.concatenate(
                [errors[:half] * errors[half : 2 * half], errors[2 * half :]]
            )
            numpy.abs(products, out=products)
            if len(products) and not smallest(products) > _LEAST_PRODUCT:
                return None
            total += float(numpy.log(products, out=products).sum())
    return total / num_examples if math.isfinite(total) else None


_LEAST_PRODUCT = 1e-30
"""Smaller products in float32 may have lost digits to underflow."""


_NEAR = 16
"""Accepted square of the mean target, in variances of the targets."""
