"""Fréchet inception distance of generated samples from real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ignite.exceptions import NotComputableError
from ignite.metrics._outputs import identity
from ignite.metrics.gan.utils import _BaseInceptionMetric, extract
from ignite.metrics.statistics import FeatureMoments, Statistic

__all__ = ["FID", "fid_score"]


class FID(_BaseInceptionMetric):
    r"""Fréchet distance between the features of two sets of samples, usually real and generated images.

    .. math:: \lVert \mu_1 - \mu_2 \rVert^2
        + \mathrm{tr}\bigl(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\bigr)

    where :math:`\mu` are the means and :math:`\Sigma` the unbiased covariances of the features. 0
    for equal moments. The value is biased upwards for few samples: compare values of equally many.

    Update with ``(train, test)``: two batches of samples, shape (B, ...), or of features, shape
    (B, D). They may have different sizes.

    Args:
        num_features: number of features, D. By default 1000.
        feature_extractor: module that turns samples (B, ...) into features (B, D). It is called in
            evaluation mode. By default, samples are features already if ``num_features`` is given,
            else their features are the probabilities of :class:`InceptionModel`. The published
            distance takes its 2048 features: ``FID(2048, InceptionModel(return_features=True))``.
        output_transform: turns ``engine.state.output`` into ``(train, test)``.
        device: device on which to extract features and to accumulate. By default, that of samples.

    Raises:
        TypeError: ``feature_extractor`` is not a module, or ``num_features`` not an integer.
        ValueError: ``num_features`` is not positive, or not given with ``feature_extractor``. In
            ``update``, features are not of shape (B, D), or not finite; those on an accelerator are
            reported by ``compute``.
        NotComputableError: in ``compute``, one of the sets has fewer than 2 samples.

    Distributed:
        Scatter matrices are summed and means gathered: the result is that of one process.

    Example:
        >>> metric = FID(num_features=1)
        >>> real, generated = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
        >>> metric.update((real, generated))
        >>> round(metric.compute(), 4)  # means 1 and 3, variances 2 and 8: 4 + 2 + 8 - 2 * 4
        6.0

    References:
        Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
        equilibrium", 2017, https://arxiv.org/abs/1706.08500
    """

    higher_is_better = False

    def __init__(
        self,
        num_features: int | None = None,
        feature_extractor: nn.Module | None = None,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(num_features, feature_extractor, output_transform, device)

    def _ignite_names(self) -> tuple[str, ...]:
        return ("_num_examples", "_train_total", "_test_total", "_train_sigma", "_test_sigma")

    def _to_ignite(self) -> dict[str, Any]:
        statistics: list[Any] = self._statistics_in_use()
        both = [statistic.sums() for statistic in statistics]
        totals, squares = zip(*both, strict=True)
        num_examples = statistics[0].num_examples
        return dict(zip(self._ignite_names(), (num_examples, *totals, *squares), strict=True))

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        num_examples, *sums = (state[name] for name in self._ignite_names())
        for i, statistic in enumerate(self._own if num_examples else ()):
            cast(FeatureMoments, statistic).take_sums(num_examples, sums[i], sums[i + 2])

    def _declare(self) -> list[Statistic]:
        device, size = self._accumulates_on, self._num_features
        return [
            FeatureMoments(extract, (index, self._feature_extractor, size, device), size, device)
            for index in (0, 1)
        ]

    def _value(self, *statistics: FeatureMoments) -> float:
        counts = [statistic.num_examples for statistic in statistics]
        if min(counts) < 2:
            raise NotComputableError(
                f"{type(self).__name__} must have at least two examples of each set before it can be computed, "
                f"but given {counts[0]} and {counts[1]}."
            )
        first, second = (statistic.joined() for statistic in statistics)
        # The high parts first: the difference of means is accurate for any offset.
        difference = (first.high - second.high) + (first.low - second.low)
        return _distance(difference, first.covariance, second.covariance)


def fid_score(mu1: Tensor, mu2: Tensor, sigma1: Tensor, sigma2: Tensor, eps: float = 1e-6) -> float:
    """Returns the Fréchet distance of two normal distributions, as :class:`FID` defines it.

    Args:
        mu1: mean of the first distribution, shape (D,).
        mu2: mean of the second distribution, shape (D,).
        sigma1: covariance of the first distribution, shape (D, D).
        sigma2: covariance of the second distribution, shape (D, D).
        eps: ignored; accepted for compatibility. Singular covariances need no offset.

    Raises:
        ValueError: shapes do not match, values are not finite, or a covariance is not symmetric or
            not positive semidefinite.

    Example:
        >>> mean, covariance = torch.zeros(2), torch.eye(2)
        >>> round(fid_score(mean, mean + 1, covariance, 4 * covariance), 4)  # 2 + (1 + 4 - 4) * 2
        4.0
    """
    for name, mean, sigma in (("1", mu1, sigma1), ("2", mu2, sigma2)):
        if mean.ndim != 1 or sigma.shape != (len(mean), len(mean)) or len(mean) != len(mu1):
            raise ValueError(
                f"mu{name} should be of shape (D,) and sigma{name} of shape (D, D), but given "
                f"{tuple(mean.shape)} and {tuple(sigma.shape)} for mu1 of shape {tuple(mu1.shape)}"
            )
        if not (mean.isfinite().all() and sigma.isfinite().all()):
            raise ValueError(
                f"mu{name} and sigma{name} should be finite, but given NaN or infinity"
            )
        _check_covariance(sigma, f"sigma{name}")
    mu1, mu2, sigma1, sigma2 = (each.detach().double() for each in (mu1, mu2, sigma1, sigma2))
    return _distance(mu1 - mu2, (sigma1 + sigma1.T) / 2, (sigma2 + sigma2.T) / 2)


def _check_covariance(sigma: Tensor, name: str) -> None:
    """Raises ValueError unless a matrix is symmetric and has no negative variance, up to rounding."""
    dtype = sigma.dtype if sigma.is_floating_point() else torch.float64
    tolerance = 10 * torch.finfo(dtype).eps * len(sigma) * float(sigma.abs().max())
    asymmetry = float((sigma - sigma.T).abs().max())
    if asymmetry > tolerance:
        raise ValueError(f"{name} should be symmetric, but given an asymmetry of {asymmetry:g}")
    _, failed = torch.linalg.cholesky_ex(sigma.double())
    smallest = float(torch.linalg.eigvalsh(sigma.double())[0]) if failed else 0.0
    if smallest < -tolerance:
        raise ValueError(
            f"{name} should be positive semidefinite, but given one with the eigenvalue {smallest:g}"
        )


def _distance(difference: Tensor, sigma1: Tensor, sigma2: Tensor) -> float:
    """Computes the distance from the difference of means and symmetric covariances."""
    traces = sigma1.trace() + sigma2.trace()
    total = difference.square().sum() + traces - 2 * _trace_of_root(sigma1, sigma2)
    return max(float(total), 0.0)


def _trace_of_root(sigma1: Tensor, sigma2: Tensor) -> Tensor:
    r"""Computes :math:`\mathrm{tr}\,(\Sigma_1 \Sigma_2)^{1/2}` of positive semidefinite matrices.

    For :math:`\Sigma_1 = A A^T` and :math:`\Sigma_2 = B B^T`, the eigenvalues of the product are
    the squares of the singular values of :math:`A^T B`. Singular values keep all digits, whereas
    roots of small eigenvalues lose half of them.
    """
    values: Tensor = torch.linalg.svdvals(_factor(sigma1).T @ _factor(sigma2))
    return values.sum()


def _factor(sigma: Tensor) -> Tensor:
    """Returns a matrix A, shape (D, K), with ``A @ A.T`` equal to a covariance of rank K."""
    least = len(sigma) * torch.finfo(sigma.dtype).eps
    factor: Tensor
    values: Tensor
    vectors: Tensor
    factor, failed = torch.linalg.cholesky_ex(sigma)
    if not failed:
        sizes = factor.diagonal().square()
        if sizes.min() > _CERTAIN * least * sizes.max():
            return factor
    values, vectors = torch.linalg.eigh(sigma)
    is_used = values > least * values[-1].clamp(min=0)  # smaller ones are rounding errors
    return vectors[:, is_used] * values[is_used].sqrt()


_CERTAIN = 1e3
"""Pivots of a Cholesky factor count as nonzero if they exceed the rounding error by this factor."""
