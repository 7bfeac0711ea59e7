"""Perplexity of a language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ignite.exceptions import NotComputableError
from ignite.metrics._distances import odds_of
from ignite.metrics._output_arrays import array_of, detached, largest, numpy, scratch, smallest
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, no_count, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Reading, Statistic, Totals
from ignite.metrics.statistics._statistic import LARGE, wide_dtype

__all__ = ["Perplexity"]


class Perplexity(View):
    r"""Perplexity of a language model: the exponential of the mean cross entropy of all tokens.

    .. math:: \exp \Bigl( - \frac{1}{N} \sum_i \ln q_i(y_i) \Bigr), \quad q_i = \mathrm{softmax}(p_i)

    where the sum is over all tokens of all batches that are not ignored. It is 1 for a model that
    predicts each token with probability 1, and V for one that assigns all tokens the same
    probability. NaN logits make it NaN.

    Update with ``(y_pred, y)``; V is the size of the vocabulary:

    - ``y_pred``: logits, shape (B, V) or (B, V, S, ...), floating point. Models with logits of
      shape (B, S, V): pass ``logits.transpose(1, 2)``.
    - ``y``: indices of the true tokens, shape (B) or (B, S, ...), integers in [0, V) or
      ``ignore_index``.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate, in float64 (float32 on MPS). By default, that of the
            logits.
        ignore_index: target that is ignored, such as padding.

    Raises:
        TypeError: ``ignore_index`` is not an integer. In ``update``, logits are not floating point,
            or targets not integers.
        ValueError: in ``update``, the shapes do not match, or a target is out of range. The metric
            is unchanged. For tensors on an accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, all tokens so far are ignored, or there are none.

    Example:
        >>> metric = Perplexity()
        >>> logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]]))
        >>> metric.update((logits, torch.tensor([0, 1, -100])))
        >>> round(metric.compute(), 4)  # 1 / sqrt(0.5 * 0.1)
        4.4721

    References:
        Jelinek et al., "Perplexity - a measure of the difficulty of speech recognition tasks",
        1977.
    """

    higher_is_better = False

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        ignore_index: int = -100,
    ) -> None:
        given: Any = ignore_index
        if not isinstance(given, Integral):
            raise TypeError(f"ignore_index should be an integer, but given {ignore_index!r}")
        self._ignore_index = int(ignore_index)
        super().__init__(output_transform, device)

    _sum_of_nll = StatisticPart("total_0", zero)
    _num_tokens = StatisticPart("total_1", no_count)

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        super()._take_from_ignite(state)
        self._own_statistic().assign("num_examples", state["_num_tokens"])  # or any other number

    def _declare(self) -> list[Statistic]:
        return [
            Totals(
                _sum_cross_entropies,
                (self._ignore_index,),
                num_values=3,
                device=self._accumulates_on,
                select=_read_tokens,
                is_rowwise=True,
            )
        ]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if reading.output[0].numel() < LARGE:
            reading.once(_check_range, self._ignore_index)

    def _value(self, *statistics: Any) -> float:
        total, num_tokens, num_outside = (value.item() for value in statistics[0].values)
        if num_outside:
            raise ValueError(
                f"y should be indices below the size of the vocabulary, or {self._ignore_index}, "
                f"but given {num_outside} targets that are not"
            )
        if not num_tokens:
            raise NotComputableError(
                "Perplexity must have at least one example before it can be computed, "
                f"and one that is not {self._ignore_index}"
            )
        try:
            return math.exp(total / num_tokens)
        except OverflowError:
            return math.inf


def _read_tokens(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns logits, and targets as int64, detached.

    Raises:
        ValueError, TypeError: the shapes do not match, or a dtype is not supported.
    """
    logits, y = detached(output[0]), detached(output[1])
    shape = logits.shape
    if len(shape) < 2:
        raise ValueError(
            f"y_pred must be at least 2-dimensional, (batch_size, vocabulary), but given {tuple(shape)}"
        )
    if shape[0] != y.shape[0] or shape[2:] != y.shape[1:]:
        advice = ""
        if len(shape) > 2 and shape[:-1] == y.shape:
            advice = ": the vocabulary should be the second dimension, write y_pred.movedim(-1, 1)"
        raise ValueError(
            "y_pred and y should have the shapes (batch_size, vocabulary, ...) and (batch_size, ...), "
            f"but given {tuple(shape)} and {tuple(y.shape)}{advice}"
        )
    if not logits.is_floating_point():
        raise TypeError(f"y_pred should be floating point logits, but given {logits.dtype}")
    if y.dtype not in _INTEGERS:
        raise TypeError(f"y should be integers, the indices of tokens, but given {y.dtype}")
    return logits, y if y.dtype is torch.int64 else y.long()


_INTEGERS = frozenset((torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8))


def _check_range(reading: Reading, ignore_index: int) -> None:
    """Raises ValueError if a target of a small batch on the CPU is neither a token nor ignored.

    Small batches are joined before they are measured; large ones raise when they are measured.
    """
    logits, y = reading.derive(_read_tokens)
    if not y.is_cpu or not y.numel():
        return
    targets = array_of(y)
    if targets is None or smallest(targets) < 0 or largest(targets) >= logits.shape[1]:
        _refuse_outside(y, logits.shape[1], ignore_index)


def _refuse_outside(y: Tensor, num_tokens: int, ignore_index: int) -> None:
    counted = y[y != ignore_index]
    if counted.numel() and (counted.min() < 0 or counted.max() >= num_tokens):
        raise ValueError(
            f"y should be indices in [0, {num_tokens}), or {ignore_index} to be ignored, "
            f"but given {counted.min().item()} to {counted.max().item()}"
        )


def _sum_cross_entropies(
    pair: tuple[Tensor, Tensor], ignore_index: int
) -> tuple[int, Tensor | float, Tensor | int, Tensor | int]:
    """Returns the batch size, the sum of cross entropies, and the number of tokens that count.

    The last value is the number of targets that are out of range, on an accelerator.
    """
    logits, y = pair
    if y.is_cpu:
        try:
            total = float(_sum_in_pieces(logits, y, ignore_index))
        except IndexError:
            _refuse_outside(y, logits.shape[1], ignore_index)
            raise
        targets = array_of(y)
        count = torch.count_nonzero if targets is None else numpy.count_nonzero
        return y.shape[0], total, int(count((y if targets is None else targets) != ignore_index)), 0
    is_outside = ((y < 0) | (y >= logits.shape[1])) & (y != ignore_index)
    y = torch.where(is_outside, ignore_index, y)
    return (
        y.shape[0],
        _sum_in_pieces(logits, y, ignore_index),
        torch.count_nonzero(y != ignore_index),
        is_outside.sum(),
    )


def _sum_in_pieces(logits: Tensor, y: Tensor, ignore_index: int) -> Tensor | float:
    """Returns the sum of cross entropies, in the widest dtype, without a copy of large logits."""
    logits, y = _in_order(logits, y)
    if logits.numel() <= _PIECE:
        return _sum_of_piece(logits, y, ignore_index)
    length = max(_PIECE // math.prod(logits.shape[1:]), 1)
    pieces = zip(logits.split(length), y.split(length), strict=True)
    return sum(_sum_of_piece(*piece, ignore_index) for piece in pieces)


def _sum_of_piece(logits: Tensor, y: Tensor, ignore_index: int) -> Tensor | float:
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if y.is_cpu and logits.dtype is torch.float32 and logits.numel() > _MANY_LOGITS:
        total = _quick_sum(logits, y, ignore_index)
        if total is not None:
            return total
    each = cross_entropy(logits, y, ignore_index=ignore_index, reduction="none")
    array = array_of(each)
    if array is not None:
        return float(array.sum(dtype="float64"))
    return each.sum(dtype=wide_dtype(each))


def _quick_sum(logits: Tensor, y: Tensor, ignore_index: int) -> float | None:
    """Sums cross entropies with one pass over the logits; None if that is not precise enough, or fails."""
    found = odds_of(logits, out=scratch(logits))
    if found is None:
        return None
    counts = y != ignore_index
    targets = y if counts.all() else y.where(counts, 0)
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        return None
    each = found[1].log_() - logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    return (each if targets is y else each[counts]).sum(dtype=torch.float64).item()


_MANY_LOGITS = 2**15
"""For fewer logits, the calls take longer than the passes."""
_PIECE = 2**24
"""Size of the logits that are handled at once: 64 MiB of float32."""


def _in_order(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the logits and targets in the layout in which the softmax is fastest.

    Logits (B, S, V) that were transposed become rows (N, V), in the order of memory. Few, short rows
    become columns (1, V, B).
    """
    if logits.ndim > 2 and logits.stride(1) == 1:
        rows = logits.movedim(1, -1)
        if rows.is_contiguous():
            return rows.flatten(0, -2), y.flatten()
    if logits.ndim == 2 and logits.shape[1] < _FEW_TOKENS:
        return logits.T.contiguous().unsqueeze(0), y.unsqueeze(0)
    return logits, y


_FEW_TOKENS = 32
