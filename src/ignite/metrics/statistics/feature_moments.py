"""Means and covariances of feature vectors, accurate for any offset."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype

__all__ = ["FeatureMoments"]

_MIN_PENDING = 512
"""Number of rows at which pending batches are joined; matrix products of fewer rows are inefficient."""
_MIN_PENDING_NUMBERS = 2**16
"""Number of elements at which pending batches are joined."""


class JoinedFeatures(NamedTuple):
    """Moments of all examples."""

    high: Tensor
    """The mean is ``high + low``. ``high`` is one of the examples, without rounding."""
    low: Tensor
    """The mean of the deviations from ``high``, shape (D,)."""
    covariance: Tensor
    """Unbiased covariance, shape (D, D), in the widest dtype."""


class FeatureMoments(Statistic):
    r"""Mean and covariance of feature vectors, in float64.

    Batches are joined by the algorithm of Chan et al.: deviations are taken from the mean of the
    batch before they are squared, so that the features may have an offset that is large compared to
    their deviations. Memory is :math:`O(D^2)`, independent of the number of examples.

    The scatter matrices of processes are summed. Their means are gathered, because the differences
    between the means of processes and the overall mean contribute to the covariance.

    Args:
        select: ``select(output, *args) -> features``, shape (B, D). It checks the shape.
        args: further arguments of ``select``.
        num_features: D.
        device: device on which to accumulate. None: that of the features.

    Raises:
        ValueError: in ``update``, or for features on an accelerator in ``check``, if a feature is
            NaN or infinite.

    Example:
        >>> moments = FeatureMoments(lambda output: output, num_features=2)
        >>> moments.update(Reading(torch.tensor([[1.0, 5.0], [3.0, 5.0]])))
        >>> joined = moments.joined()
        >>> (joined.high + joined.low).tolist(), joined.covariance.tolist()
        ([2.0, 5.0], [[2.0, 0.0], [0.0, 0.0]])

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979.
    """

    PARTS: ClassVar = {"num_examples": "SUM", "means": "ROWS", "scatter": "SUM", "num_wrong": "SUM"}

    def __init__(
        self,
        select: Callable[..., Tensor],
        args: tuple[Hashable, ...] = (),
        num_features: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self._select = select
        self._args = args
        self.num_features = num_features
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self._select, self._args, self.num_features)

    def reset(self) -> None:
        """Clears everything that was accumulated."""
        self.num_examples = 0
        self.num_wrong: int | Tensor = 0
        """Number of batches on an accelerator with features that are NaN or infinite."""
        self._means: Tensor | None = None
        """Number of examples, high and low parts of the mean: shape (K, 1 + 2 D), one row for each
        process that the moments are from."""
        self._scatter: Tensor | None = None
        r"""Sum over the rows of :math:`\sum_i (x_i - m)(x_i - m)^T` about their own means."""
        self._pending: list[Tensor] = []
        self._num_pending = 0
        self.version += 1

    @property
    def means(self) -> Tensor | None:
        """Number of examples and both parts of the mean, shape (K, 1 + 2 D); None before any."""
        self._join_pending()
        return self._means

    @property
    def scatter(self) -> Tensor | None:
        """Scatter matrix, shape (D, D); None before the first example."""
        self._join_pending()
        return self._scatter

    def _update(self, reading: Reading) -> None:
        features = reading.derive(self._select, *self._args)
        num_examples = features.shape[0]
        if not num_examples:
            return
        if features.is_cpu:
            _check_finite(features)
        else:
            is_wrong = ~features.isfinite().all()
            self.num_wrong = self.num_wrong + is_wrong.to(self.where(features), torch.int64)
        # A copy, because the program may reuse the memory.
        self._pending.append(features.detach().to(self.where(features), copy=True))
        self._num_pending += num_examples
        self.num_examples += num_examples
        if self._num_pending >= max(_MIN_PENDING, _MIN_PENDING_NUMBERS // self.num_features):
            self._join_pending()

    def _join_pending(self) -> None:
        """Joins the pending batches with the moments. Tensors are replaced, not changed."""
        if not self._pending:
            return
        batches, self._pending = self._pending, []
        num_new, self._num_pending = self._num_pending, 0
        features = torch.cat(batches) if len(batches) > 1 else batches[0]
        features = features.to(wide_dtype(features))  # (B, D)
        high = features[0]
        deviations = features - high  # without a large offset; exactly 0 if all are equal
        low = deviations.mean(dim=0)
        deviations -= low
        num_old = self.num_examples - num_new
        if self._means is None or self._scatter is None:
            self._scatter = deviations.T @ deviations
        else:
            old_high, old_low, scatter = self._collapsed()
            offset = (high - old_high) + (low - old_low)
            # One more row for the distance of both means, so that one product adds everything.
            weight = math.sqrt(num_old * num_new / self.num_examples)
            rows = torch.cat((deviations, weight * offset[None]))
            self._scatter = torch.addmm(scatter, rows.T, rows)
            high, low = old_high, old_low + offset * (num_new / self.num_examples)
        count = high.new_full((1,), self.num_examples)
        self._means = torch.cat((count, high, low))[None]

    def _collapsed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns both parts of the mean of all rows, and the scatter about it."""
        assert self._means is not None
        assert self._scatter is not None
        counts = self._means[:, :1]  # (K, 1)
        highs, lows = self._means[:, 1:].chunk(2, dim=1)  # (K, D)
        high = highs[0]
        if len(counts) == 1:
            return high, lows[0], self._scatter
        offsets = (highs - high) + lows
        low = (counts / counts.sum() * offsets).sum(dim=0)
        rows = counts.sqrt() * (offsets - low)
        return high, low, torch.addmm(self._scatter, rows.T, rows)

    def joined(self) -> JoinedFeatures:
        """Returns mean and covariance of at least 2 examples."""
        self._join_pending()
        high, low, scatter = self._collapsed()
        scatter = (scatter + scatter.T) / 2  # rounding need not be symmetric
        return JoinedFeatures(high, low, scatter / (self.num_examples - 1))

    def sums(self) -> tuple[Tensor, Tensor]:
        r"""Returns the sums :math:`\sum_i x_i`, shape (D,), and :math:`\sum_i x_i x_i^T`."""
        self._join_pending()
        if self._means is None:
            total = torch.zeros(self.num_features, dtype=torch.float64, device=self.device)
            return total, torch.zeros(
                2 * [self.num_features], dtype=total.dtype, device=self.device
            )
        high, low, scatter = self._collapsed()
        mean = high + low
        return mean * self.num_examples, scatter + self.num_examples * torch.outer(mean, mean)

    def take_sums(self, num_examples: int, total: Tensor, squares: Tensor) -> None:
        """Replaces the moments by those of :meth:`sums`."""
        mean = total / num_examples
        means = torch.cat((mean.new_full((1,), num_examples), mean, torch.zeros_like(mean)))[None]
        scatter = squares - num_examples * torch.outer(mean, mean)
        parts = {"means": means, "scatter": scatter, "num_wrong": 0}
        self.take({"num_examples": num_examples, **parts})

    def check(self) -> None:
        """Raises if features on an accelerator were not finite, which ``update`` does not check."""
        if isinstance(self.num_wrong, Tensor) and self.num_wrong.item():
            raise ValueError(
                f"Features should be finite, but {int(self.num_wrong)} batches had NaN or infinite ones"
            )

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all updates from now on."""
        kept = {**vars(self), "_pending": list(self._pending)}
        return lambda: self._restore(kept)

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces the moments."""
        self.num_examples, self.num_wrong = values["num_examples"], values["num_wrong"]
        self._means, self._scatter = values["means"], values["scatter"]
        self._pending, self._num_pending = [], 0
        self.version += 1

    def load(self, values: Mapping[str, Any]) -> None:
        """Loads saved moments.

        Raises:
            ValueError: they are invalid, or the means are not of as many examples.
        """
        means = values["means"]
        counted = int(means[:, :1].sum()) if isinstance(means, Tensor) and means.ndim == 2 else 0
        if values["num_examples"] != counted:
            raise ValueError(
                f"means should be of {values['num_examples']} examples, but given those of {counted}"
            )
        super().load(values)

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        size, means = self.num_features, values["means"]
        num_rows = len(means) if isinstance(means, Tensor) and means.ndim else 0
        return {"means": (num_rows, 1 + 2 * size), "scatter": (size, size)}

    def __str__(self) -> str:
        return f"moments of {self.num_features} features"


def _check_finite(features: Tensor) -> None:
    """Raises ValueError if a feature is NaN or infinite."""
    if not features.is_floating_point() or math.isfinite(features.sum().item()):
        return
    is_wrong = ~features.isfinite()  # the sum of large finite numbers may overflow
    if is_wrong.any():
        raise ValueError(
            f"Features should be finite, but given {features[is_wrong][0].item()} "
            f"among features of shape {tuple(features.shape)}"
        )
