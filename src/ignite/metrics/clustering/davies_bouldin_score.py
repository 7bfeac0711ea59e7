"""Davies-Bouldin score of a clustering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.clustering._base import (
    UNDEFINED,
    _ClusteringMetricBase,
    blocks,
    clusters_of,
    euclidean,
)

__all__ = ["DaviesBouldinScore"]


class DaviesBouldinScore(_ClusteringMetricBase):
    r"""Mean similarity of each cluster to the one most similar to it: 0 is best.

    .. math:: \frac{1}{K} \sum_c \max_{d \ne c} \frac{s_c + s_d}{\lVert m_c - m_d \rVert}

    where :math:`m_c` is the mean of cluster :math:`c`, and :math:`s_c` the mean distance of its
    samples to it. Pairs of clusters with the same mean do not count. 0 if all samples equal the
    mean of their cluster. NaN for a single cluster, or as many as samples.

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
        >>> metric = DaviesBouldinScore()
        >>> features = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
        >>> metric.update((features, torch.tensor([0, 0, 1, 1])))
        >>> metric.compute()  # (1 + 1) / 10 for both
        0.2

    References:
        Davies, Bouldin, "A cluster separation measure", 1979.
    """

    higher_is_better = False

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = True,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(
            _davies_bouldin_score, output_transform, check_compute_fn, device, skip_unrolling
        )


def _davies_bouldin_score(features: Tensor, labels: Tensor) -> float:
    """Computes the score of features (N, D) with labels (N,)."""
    clusters = clusters_of(features, labels)
    if not clusters.is_valid:
        return UNDEFINED
    centers, total = clusters.centers(), 0.0
    lengths = torch.linalg.vector_norm(clusters.deviations_(centers), dim=1)  # (N,)
    spreads = lengths.new_zeros(len(clusters.counts)).index_add_(0, clusters.assignment, lengths)
    spreads /= clusters.counts  # (K,)
    for rows in blocks(len(centers), _NUM_DISTANCES // len(centers)):
        distances = euclidean(centers[rows], centers)  # (R, K)
        distances.diagonal(rows.start).zero_()
        ratios = (spreads[rows, None] + spreads) / distances
        total += float(ratios.masked_fill_(distances == 0, 0).amax(dim=1).sum())
    return total / len(centers)


_NUM_DISTANCES = 2**20
"""Number of distances that are computed at once."""
