"""A dataset of the rows of a sparse matrix, which converts only the rows of a batch to dense tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from ignite._core.optional import import_optional

__all__ = ["SparseRows"]

np = import_optional("numpy", extra="sklearn")


class SparseRows(Dataset[Any]):
    """Dataset of samples ``(x, ...)``, where x is a row of a sparse matrix as a dense tensor.

    Args:
        x: sparse matrix in CSR format, shape (N, F).
        others: further parts of the samples, each of length N, such as targets and weights.
        dtype: dtype of the rows.

    Example:
        >>> from scipy.sparse import csr_array
        >>> rows = SparseRows(csr_array([[0, 2], [1, 0]]), [torch.tensor([5, 6])])
        >>> len(rows), rows[1]
        (2, (tensor([1., 0.]), tensor(6)))
    """

    def __init__(
        self, x: Any, others: Sequence[torch.Tensor] = (), dtype: torch.dtype = torch.float32
    ) -> None:
        self.x = x
        self.others = tuple(others)
        self.dtype = dtype

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[torch.Tensor, ...]]:
        """Returns several samples, whose rows are converted together."""
        rows = torch.from_numpy(np.asarray(self.x[indices].toarray())).to(self.dtype)
        return [
            (row, *(part[index] for part in self.others))
            for row, index in zip(rows, indices, strict=True)
        ]
