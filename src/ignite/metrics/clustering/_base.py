"""Base class of metrics of clusterings: reading features and labels, and clusters as the metrics use them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite.metrics._host_arrays import detached
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import KeptSamples, Reading, Statistic
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
        return [KeptSamples(select_clustering, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        features, labels = reading.derive(select_clustering)
        _check_kind(features, labels, statistic)
        reading.once(_check_values)

    def _value(self, samples: Any) -> float:
        features, labels = samples.first, samples.second
        if not features.is_cpu:
            check_finite(features, labels)  # update does not wait for an accelerator
        return self.compute_fn(features, labels)


def select_clustering(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns features (B, D) and labels (B,).

    Raises:
        ValueError: they have other shapes.
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
    return detached(features), detached(labels)


def _check_kind(features: Tensor, labels: Tensor, kept: KeptSamples) -> None:
    """Raises ValueError if the number of features or a dtype is not that of earlier batches."""
    known = kept.latest
    if known is None:
        return
    if features.shape[1] != known[0].shape[1]:
        raise ValueError(
            f"Features should be of shape (batch_size, {known[0].shape[1]}) as before, "
            f"but given {tuple(features.shape)}"
        )
    for name, given, before in (("features", features, known[0]), ("labels", labels, known[1])):
        if given.dtype != before.dtype:
            raise ValueError(
                f"Incoherent types between input {name} and stored {name}: "
                f"{given.dtype} vs {before.dtype}"
            )


def _check_values(reading: Reading) -> None:
    features, labels = reading.derive(select_clustering)
    if features.is_cpu:
        check_finite(features, labels)


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
    """A clustering: samples sorted by cluster."""

    features: Tensor
    """All samples, shape (N, D), in the widest dtype, usually without their mean."""
    counts: Tensor
    """Number of samples in each cluster, shape (K,)."""
    assignment: Tensor
    """Cluster of each sample, shape (N,), from 0 to K - 1."""

    @property
    def is_valid(self) -> bool:
        """Whether there are at least 2 clusters, and fewer than samples."""
        return 2 <= len(self.counts) < len(self.features)

    @property
    def centers(self) -> Tensor:
        """The mean of each cluster, shape (K, D)."""
        sums = self.features.new_zeros(len(self.counts), self.features.shape[1])
        return sums.index_add_(0, self.assignment, self.features) / self.counts[:, None]

    def deviations(self) -> Tensor:
        """Returns the samples without the mean of their cluster, shape (N, D)."""
        return self.features - self.centers[self.assignment]


def clusters_of(features: Tensor, labels: Tensor, is_centered: bool = True) -> Clusters:
    """Sorts copies of features (N, D) by their labels (N,), which may be any numbers."""
    _, index, counts = labels.unique(return_inverse=True, return_counts=True)
    order = index.argsort(stable=True)
    wide = features[order].to(wide_dtype(features))
    if is_centered:
        wide -= wide[:1].clone()  # exactly, so that the mean has no digits of a large offset
        wide -= wide.mean(dim=0)
    return Clusters(wide, counts, index[order])


UNDEFINED = math.nan
"""The value of a clustering with a single cluster, or with one for each sample."""
