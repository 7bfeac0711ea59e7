"""Histograms of the scores of positives and negatives, for curves in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype

__all__ = ["ScoreCounts"]


class ScoreCounts(Statistic):
    """Counts positive and negative examples in bins of equal width over the scores from 0 to 1.

    Args:
        select: ``select(output, *args) -> (scores, targets)``: scores of shape (B,) or (B, K),
            targets 0 or 1 of the same shape. It checks the shapes.
        args: further arguments of ``select``.
        num_bins: number of bins. Bin i counts scores in [i / num_bins, (i + 1) / num_bins). The
            last bin includes 1.
        device: device on which to count. None: that of the scores.

    Raises:
        ValueError: in ``update``, or for tensors on an accelerator in ``check``, if a score is not
            in [0, 1], or a target is not 0 or 1.

    Example:
        >>> counts = ScoreCounts(lambda output: output, num_bins=2)
        >>> counts.update(Reading((torch.tensor([0.1, 0.6, 0.9]), torch.tensor([0, 0, 1]))))
        >>> counts.counts.tolist()  # negatives and positives of each bin
        [[[1, 1], [0, 1]]]
    """

    PARTS: ClassVar = {
        "num_examples": "SUM",
        "num_columns": "SAME",
        "counts": "SUM",
        "num_wrong": "SUM",
    }

    def __init__(
        self,
        select: Callable[..., tuple[Tensor, Tensor]],
        args: tuple[Hashable, ...] = (),
        num_bins: int = 1000,
        device: torch.device | None = None,
    ) -> None:
        if not isinstance(num_bins, int) or num_bins < 2:
            raise ValueError(f"num_bins should be an integer of at least 2, but given {num_bins!r}")
        self._select = select
        self._args = args
        self.num_bins = num_bins
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self._select, self._args, self.num_bins)

    def reset(self) -> None:
        """Clears all counts."""
        self.num_examples = 0
        self.num_columns: int | None = None
        """1 for targets of shape (B,), -K for those of shape (B, K)."""
        self.counts: Any = None
        """Negatives and positives in each bin, shape (K, 2, num_bins)."""
        self.num_wrong: int | Tensor = 0
        self.version += 1

    def _update(self, reading: Reading) -> None:
        scores, targets = reading.derive(self._select, *self._args)
        num_columns = 1 if scores.ndim == 1 else -scores.shape[1]
        if self.num_columns not in (None, num_columns):
            raise ValueError(
                f"The number of columns should be {self.num_columns} as before, but given {num_columns} "
                "(negative ones are of targets with two dimensions)"
            )
        is_wrong = ~(
            (scores >= 0) & (scores <= 1) & ((targets == 0) | (targets == 1))
        )  # true for NaN
        num_wrong = is_wrong.sum()
        if scores.is_cpu and num_wrong:
            raise ValueError(
                "Scores should be from 0 to 1 and targets 0 or 1, but given the score "
                f"{scores[is_wrong][0].item()} with the target {targets[is_wrong][0].item()}; "
                "turn logits into probabilities in output_transform"
            )
        device, columns = self.where(scores), abs(num_columns)
        # Compared with the edges: scores * num_bins may be rounded into the next bin.
        wide = scores.to(device, wide_dtype(device)).nan_to_num(0.0)
        edges = torch.arange(self.num_bins, dtype=wide.dtype, device=device) / self.num_bins
        bins = (
            (torch.bucketize(wide, edges, right=True) - 1)
            .clamp(0, self.num_bins - 1)
            .reshape(-1, columns)
        )
        row = torch.arange(columns, device=device) * 2 + targets.to(device, torch.int64).clamp(
            0, 1
        ).reshape(-1, columns)
        if self.counts is None:
            self.counts = torch.zeros(columns, 2, self.num_bins, dtype=torch.int64, device=device)
        weight = (~is_wrong).long().to(device).flatten()
        self.counts.view(-1).index_add_(0, (row * self.num_bins + bins).flatten(), weight)
        self.num_columns = num_columns
        self.num_examples += len(scores)
        self.num_wrong = 0 if scores.is_cpu else self.num_wrong + num_wrong.to(device)

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        return {"counts": (abs(values["num_columns"] or 0), 2, self.num_bins)}

    def __str__(self) -> str:
        return f"score counts in {self.num_bins} bins"

    def check(self) -> None:
        """Raises if values on an accelerator were out of range, which ``update`` does not check."""
        if isinstance(self.num_wrong, Tensor) and self.num_wrong.item():
            raise ValueError(
                f"Scores should be from 0 to 1 and targets 0 or 1, but {int(self.num_wrong)} were not"
            )

    def as_samples(self, column: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the lower edges of the bins and the counts in them, each of shape (num_bins,).

        The counts are of negatives and of positives.
        """
        edges = torch.arange(self.num_bins, dtype=torch.float64) / self.num_bins
        negatives, positives = self.counts[column].cpu()
        return edges, negatives, positives
