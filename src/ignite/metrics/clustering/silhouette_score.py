"""Silhouette score of a clustering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ignite._core.optional import import_optional
from ignite.metrics._distances import NARROW
from ignite.metrics._outputs import identity
from ignite.metrics.clustering._base import (
    UNDEFINED,
    Clusters,
    _ClusteringMetricBase,
    blocks,
    clusters_of,
    euclidean,
)

__all__ = ["SilhouetteScore"]


class SilhouetteScore(_ClusteringMetricBase):
    r"""Silhouette score: how much closer samples are to their cluster than to the nearest other one; from -1 to 1.

    .. math:: \frac{1}{N} \sum_i \frac{b_i - a_i}{\max(a_i, b_i)}

    where :math:`a_i` is the mean distance of sample :math:`i` to the other samples of its cluster,
    and :math:`b_i` the least mean distance to the samples of another cluster. A sample that is
    alone in its cluster counts as 0, and so does one with :math:`a_i = b_i = 0`. NaN for a single
    cluster, or as many as samples.

    Distances are computed in blocks: memory grows with the number of samples, not with its square.

    Update with ``(features, labels)``:

    - ``features``: shape (B, D), real. All samples are kept: memory grows with the data.
    - ``labels``: the cluster of each sample, shape (B,), any numbers.

    Args:
        output_transform: turns ``engine.state.output`` into ``(features, labels)``, or a mapping
            with these keys.
        check_compute_fn: ignored; accepted for compatibility.
        device: device on which to keep the samples. By default, that of the features.
        skip_unrolling: see :class:`Metric`.
        silhouette_kwargs: options, named as scikit-learn's. ``metric`` is "euclidean", "l2",
            "sqeuclidean", "manhattan", "l1", "cityblock", "chebyshev", "cosine", or "minkowski",
            with the exponent ``p``. ``sample_size`` is the number of samples to draw at random,
            the same ones as in scikit-learn for an integer ``random_state``. None means 0, so that
            all processes draw the same samples. It requires NumPy.

    Raises:
        TypeError: ``silhouette_kwargs`` is not a mapping, or has an unknown option.
        ValueError: an option has an unknown value. In ``update``, shapes do not match, the number of
            features or a dtype has changed, or a feature is not finite. Values on an accelerator
            are reported by ``compute``.
        NotComputableError: in ``compute``, there was no sample.

    Example:
        >>> metric = SilhouetteScore()
        >>> features = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
        >>> metric.update((features, torch.tensor([0, 0, 1, 1])))
        >>> round(metric.compute(), 4)  # a = 2, b = 11 or 9: the mean of 9 / 11 and 7 / 9
        0.798

    References:
        Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster
        analysis", 1987.
    """

    higher_is_better = True

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = True,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        silhouette_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(silhouette_kwargs, Mapping | None):
            raise TypeError(
                f"silhouette_kwargs should be a dict or None, but given {silhouette_kwargs!r}"
            )
        options = dict(silhouette_kwargs or {})
        _check_options(**options)
        super().__init__(
            partial(_silhouette_score, **options),
            output_transform,
            check_compute_fn,
            device,
            skip_unrolling,
        )


def _check_options(
    metric: Any = "euclidean",
    sample_size: Any = None,
    random_state: Any = None,
    p: Any = 2,
    **others: Any,
) -> None:
    """Raises for options that :class:`SilhouetteScore` does not have."""
    if others:
        raise TypeError(
            "silhouette_kwargs should have the keys 'metric', 'sample_size', 'random_state' and 'p', "
            f"but given {sorted(others)[0]!r}, too"
        )
    if not isinstance(metric, str) or metric not in _DISTANCES:
        raise ValueError(f"metric should be one of {sorted(_DISTANCES)}, but given {metric!r}")
    for name, value in (("sample_size", sample_size), ("random_state", random_state)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise ValueError(
                f"{name} should be an integer of at least 0 or None, but given {value!r}"
            )
    if not isinstance(p, int | float) or not p > 0:
        raise ValueError(f"p should be positive, but given {p!r}")


def _silhouette_score(
    features: Tensor,
    labels: Tensor,
    metric: str = "euclidean",
    sample_size: int | None = None,
    random_state: int | None = None,
    p: float = 2,
) -> float:
    """Computes the score of features (N, D) with labels (N,)."""
    if sample_size is not None:
        numpy = import_optional("numpy", extra="numpy")
        order = numpy.random.RandomState(random_state or 0).permutation(len(features))
        chosen = torch.from_numpy(order[:sample_size]).to(features.device)
        features, labels = features[chosen], labels[chosen]
    is_cosine = metric == "cosine"
    clusters = clusters_of(features, labels, is_sorted=True, is_shifted=not is_cosine)
    if not clusters.is_valid:
        return UNDEFINED
    if is_cosine:
        norms = torch.linalg.vector_norm(clusters.features, dim=1, keepdim=True)
        clusters.features.div_(norms.masked_fill_(norms == 0, 1))
    distances = partial(_DISTANCES[metric], p=p, is_exact=features.dtype not in NARROW)
    num_rows = min(_MAX_ROWS, _MAX_SUMS // len(clusters.counts))
    scores = [
        _scores_of_block(clusters, rows, distances)
        for rows in blocks(len(clusters.features), num_rows)
    ]
    return float(torch.cat(scores).mean())


def _scores_of_block(
    clusters: Clusters, rows: slice, distances: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Returns the scores of the samples in ``rows``, shape (R,)."""
    features, counts, assignment = clusters
    own = assignment[rows]  # (R,)
    sums = features.new_zeros(len(counts), len(own))  # (K, R)
    for columns in blocks(len(features), _MAX_COLUMNS):
        found = distances(features[columns], features[rows])  # (M, R)
        offset = columns.start - rows.start
        if -found.shape[0] < offset < found.shape[1]:
            found.diagonal(offset).zero_()  # the distances of samples to themselves
        sums.index_add_(0, assignment[columns], found)
    position = torch.arange(len(own), device=own.device)
    num_others = (counts[own] - 1).clamp(min=1)
    within = sums[own, position] / num_others
    sums /= counts[:, None]
    sums[own, position] = torch.inf
    nearest = sums.amin(dim=0)
    largest = torch.maximum(within, nearest)
    scores = (nearest - within) / largest.masked_fill(largest == 0, 1)
    return scores.masked_fill(counts[own] == 1, 0)


def _euclidean(a: Tensor, b: Tensor, p: float, is_exact: bool) -> Tensor:
    return euclidean(a, b, is_exact)


def _squared(a: Tensor, b: Tensor, p: float, is_exact: bool) -> Tensor:
    return euclidean(a, b, is_exact).square_()


def _cosine(a: Tensor, b: Tensor, p: float, is_exact: bool) -> Tensor:
    """Computes the distances of rows of norm 1; rows of 0 have the distance 1."""
    return (1 - a @ b.T).clamp_(0, 2)


def _manhattan(a: Tensor, b: Tensor, p: float, is_exact: bool) -> Tensor:
    return torch.cdist(a, b, p=1)


def _chebyshev(a: Tensor, b: Tensor, p: float, is_exact: bool) -> Tensor:
    return torch.cdist(a, b, p=torch.inf)


def _minkowski(a: Tensor, b: Tensor, p: float, is_exact: bool) -> Tensor:
    return euclidean(a, b, is_exact) if p == 2 else torch.cdist(a, b, p=p)


_DISTANCES: Mapping[str, Callable[..., Tensor]] = {
    "chebyshev": _chebyshev,
    "cityblock": _manhattan,
    "cosine": _cosine,
    "euclidean": _euclidean,
    "l1": _manhattan,
    "l2": _euclidean,
    "manhattan": _manhattan,
    "minkowski": _minkowski,
    "sqeuclidean": _squared,
}
_MAX_ROWS, _MAX_COLUMNS = 512, 512
"""Largest block of distances, which fits into the cache of a core."""
_MAX_SUMS = 2**20
"""Number of sums of distances, one for each cluster and row of a block, that are kept at once."""
