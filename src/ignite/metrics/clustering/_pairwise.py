"""Distances between the rows of matrices, in blocks, and accurate also for rows that are close together."""

from __future__ import annotations

import torch
from torch import Tensor

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
        b: likewise.
        is_exact: whether to compute those of close rows by differences. The error of a product in
            float64 is at most 2e-8 of the norms, less than that of features in float32.
    """
    if a.shape[1] <= _FEW_FEATURES:
        return torch.cdist(a, b, compute_mode=_BY_DIFFERENCES)
    origin = a.mean(dim=0)  # a common offset would make all rows close
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
