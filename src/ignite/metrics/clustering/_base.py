"""Base class of clustering metrics; reads features and labels, and groups samples by cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite.metrics._distances import NARROW
from ignite.metrics._output_arrays import detached
from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.statistics import KeptSamples, Statistic
from ignite.metrics.statistics._statistic import wide_dtype


class _ClusteringMetricBase(View):
    """Base class of metrics of clusterings.

    Update with ``(features, labels)``, shapes (B, D) and (B,). All samples are kept, once for all
    metrics of clusterings of an engine, so that memory grows with the data.
    """

    required_output_keys = ("features", "labels")

    def __init__(
        self,
        compute_fn: Callable[[Tensor, Tensor], float],
        output_transform: Callable[[Any], Any] = identity,
        check_compute_fn: bool = True,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self.compute_fn = compute_fn
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [KeptSamples(select_clustering, device=self._accumulates_on, names=_NAMES_IN_ERRORS)]

    def _value(self, samples: Any) -> float:
        features, labels = samples.first, samples.second
        if not features.is_cpu:
            check_finite(features, labels)
        return self.compute_fn(features, labels)


def select_clustering(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns features (B, D) and labels (B,).

    Raises:
        ValueError: they have other shapes, or are on the CPU and not finite.
        TypeError: they are complex.
    """
    features, labels = output
    if features.ndim != 2:
        raise ValueError(
            f"Features should be of shape (batch_size, n_targets), but given {tuple(features.shape)}"
        )
    if labels.ndim != 1:
        raise ValueError(
            f"Labels should be of shape (batch_size, ), but given {tuple(labels.shape)}"
        )
    if len(features) != len(labels):
        raise ValueError(
            "Features and labels should have the same number of rows, but given "
            f"{len(features)} and {len(labels)}"
        )
    if features.is_complex() or labels.is_complex():
        raise TypeError(
            f"Features and labels should be real, but given {features.dtype} and {labels.dtype}"
        )
    features, labels = detached(features), detached(labels)
    if features.is_cpu:  # on an accelerator, update does not wait
        check_finite(features, labels)
    return features, labels


_NAMES_IN_ERRORS = ("features", "features", "labels", "labels")


def check_finite(features: Tensor, labels: Tensor) -> None:
    """Raises ValueError if a feature is NaN or infinite, or a label NaN."""
    # A finite sum has finite terms; that of large finite numbers may overflow.
    if features.is_floating_point() and not math.isfinite(features.sum().item()):
        is_wrong = ~features.isfinite()
        if is_wrong.any():
            raise ValueError(
                f"Features should be finite, but given {features[is_wrong][0].item()} "
                f"among features of shape {tuple(features.shape)}"
            )
    if labels.is_floating_point() and bool(labels.isnan().any()):
        raise ValueError("Labels should be numbers of clusters, but given NaN")


class Clusters(NamedTuple):
    """Features and clusters of all samples."""

    features: Tensor
    """Shape (N, D), in the widest dtype, usually without a large common offset."""
    counts: Tensor
    """Number of samples in each cluster, shape (K,)."""
    assignment: Tensor
    """Cluster of each sample, shape (N,), from 0 to K - 1."""

    @property
    def is_valid(self) -> bool:
        """Whether there are at least 2 clusters, and fewer than samples."""
        return 2 <= len(self.counts) < len(self.features)

    def centers(self) -> Tensor:
        """Returns the mean of each cluster, shape (K, D)."""
        sums = self.features.new_zeros(len(self.counts), self.features.shape[1])
        return sums.index_add_(0, self.assignment, self.features).div_(self.counts[:, None])

    def deviations_(self, centers: Tensor) -> Tensor:
        """Subtracts from each sample the mean of its cluster, in place; shape (N, D)."""
        return self.features.sub_(centers.index_select(0, self.assignment))


def clusters_of(
    features: Tensor, labels: Tensor, is_sorted: bool = False, is_shifted: bool = True
) -> Clusters:
    """Copies features (N, D) with labels (N,), which may be any numbers.

    Args:
        features: features of all samples.
        labels: their clusters.
        is_sorted: sort the samples by cluster.
        is_shifted: move float64 features near 0. Narrower ones lose no digits in float64.
    """
    _, assignment, counts = labels.unique(return_inverse=True, return_counts=True)
    if is_sorted:
        order = assignment.argsort(stable=True)
        features, assignment = features[order], assignment[order]
    is_narrow = features.dtype in NARROW
    wide = features.to(wide_dtype(features), copy=True)
    if is_shifted and not is_narrow:
        wide -= wide[:1].clone()  # exactly
    return Clusters(wide, counts, assignment)


UNDEFINED = math.nan
"""The value of a clustering with a single cluster, or with one for each sample."""


_FEW_FEATURES = 4
"""Number of features up to which differences take no longer than a matrix product."""
_CLOSE = 1e-3
"""Distance, compared to the norms of rows, below which a matrix product loses 6 of 16 digits."""
_MANY = 0.05
"""Share of close pairs from which all distances are computed by differences."""
_PAIRS = 2**18
"""Number of elements of close pairs that are subtracted at once."""


def euclidean(a: Tensor, b: Tensor, is_exact: bool = True) -> Tensor:
    """Returns the distances of all pairs of rows (N, D) and (M, D) in the widest dtype, shape (N, M).

    They are computed by a matrix product, those of close rows by differences.

    Args:
        a: rows, in the widest dtype.
        b: rows, in the same dtype.
        is_exact: whether to compute the distances of close rows by differences. The error of a
            product in float64 is at most 2e-8 of the norms, less than that of float32 features.
    """
    if a.shape[1] <= _FEW_FEATURES:
        return torch.cdist(a, b, compute_mode=_BY_DIFFERENCES)
    origin = a.mean(dim=0)  # with a common offset, all rows would count as close
    a, b = a - origin, b - origin
    found = torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
    if not is_exact:
        return found
    norms_a, norms_b = (torch.linalg.vector_norm(rows, dim=1) for rows in (a, b))
    least = _CLOSE * (norms_a.max() + norms_b.max())
    if not found.numel() or found.min() > least:
        return found
    is_close = found < _CLOSE * (norms_a[:, None] + norms_b)
    close = is_close.flatten().nonzero().flatten()  # faster than in two dimensions
    if len(close) > _MANY * found.numel():
        return torch.cdist(a, b, compute_mode=_BY_DIFFERENCES)
    for pairs in close.split(max(1, _PAIRS // a.shape[1])):
        i, j = pairs // len(b), pairs % len(b)
        found[i, j] = torch.linalg.vector_norm(a[i] - b[j], dim=1)
    return found


_BY_DIFFERENCES = "donot_use_mm_for_euclid_dist"


def blocks(num_rows: int, size: int) -> list[slice]:
    """Returns slices of at most ``size`` rows, and at least 1, that cover all rows."""
    size = max(1, size)
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]
