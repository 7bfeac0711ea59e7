"""Calinski-Harabasz score of a clustering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.clustering._base import UNDEFINED, _ClusteringMetricBase, clusters_of

__all__ = ["CalinskiHarabaszScore"]


class CalinskiHarabaszScore(_ClusteringMetricBase):
    r"""Variance between clusters over the variance within: higher for dense clusters far apart.

    .. math:: \frac{\sum_c n_c \lVert m_c - m \rVert^2}{\sum_i \lVert x_i - m_{c(i)} \rVert^2}
        \cdot \frac{N - K}{K - 1}

    where :math:`m_c` is the mean of the :math:`n_c` samples of cluster :math:`c`, :math:`m` that of
    all :math:`N` samples, and :math:`K` the number of clusters. 1 if all samples equal the mean of
    their cluster. NaN for a single cluster, or as many as samples.

    Update with ``(features, labels)``:

    - ``features``: shape (B, D), real. All samples are kept: memory grows with the data.
    - ``labels``: the cluster of each sample, shape (B,), any numbers.

    Args:
        output_transform: turns ``engine.state.output`` into ``(features, labels)``, or a mapping
            with these keys.
        check_compute_fn: ignored; accepted for compatibility.
        device: device on which to keep the samples. By default, that of the features.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match, the number of features or a dtype has changed,
            or a feature is not finite. Values on an accelerator are reported by ``compute``.
        NotComputableError: in ``compute``, there was no sample.

    Example:
        >>> metric = CalinskiHarabaszScore()
        >>> features = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
        >>> metric.update((features, torch.tensor([0, 0, 1, 1])))
        >>> metric.compute()  # 4 * 25 between, 4 * 1 within: 100 / 4 * (4 - 2) / (2 - 1)
        50.0

    References:
        Caliński, Harabasz, "A dendrite method for cluster analysis", 1974.
    """

    higher_is_better = True

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = True,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(
            _calinski_harabasz_score, output_transform, check_compute_fn, device, skip_unrolling
        )


def _calinski_harabasz_score(features: Tensor, labels: Tensor) -> float:
    """Computes the score of features (N, D) with labels (N,)."""
    clusters = clusters_of(features, labels)
    if not clusters.is_valid:
        return UNDEFINED
    num_samples, num_clusters = len(clusters.features), len(clusters.counts)
    centers, counts = clusters.centers(), clusters.counts
    middle = (counts.to(centers.dtype) @ centers) / num_samples
    between = (counts * (centers - middle).square_().sum(dim=1)).sum()
    deviations = clusters.deviations_(centers).flatten()
    within = deviations @ deviations
    if within == 0:
        return 1.0
    return float(between / within) * (num_samples - num_clusters) / (num_clusters - 1)
