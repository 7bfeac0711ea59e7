"""Bootstrap: the uncertainty of a metric's value."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite import distributed
from ignite.exceptions import NotComputableError
from ignite.metrics._reduction import synced
from ignite.metrics._views import View
from ignite.metrics.metric import Metric

__all__ = ["Bootstrap"]


class Bootstrap(Metric):
    """Mean, standard deviation and quantiles of a metric over bootstrap resamples.

    Each resample contains each example a number of times, drawn from a Poisson distribution with
    mean 1. This approximates drawing with replacement, without knowing the number of examples. The
    value is a dictionary with the keys "mean", "std" (with Bessel's correction) and, for each
    quantile in percent, "q2.5" and so on.

    Update with the arguments of the metric: a tuple of tensors of shape (B, ...).

    Args:
        metric: the metric, of which copies are updated. Its value must be a number or a tensor.
        num_resamples: number of resamples, at least 2.
        quantiles: quantiles to compute, in [0, 1].
        seed: seed of the draws. ``reset`` restarts them. Each process draws differently.

    Raises:
        TypeError: ``metric`` is not a metric. In ``update``, the output is not a tuple of tensors
            of the same length.
        ValueError: another argument is out of range.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> from ignite.metrics import Accuracy
        >>> metric = Bootstrap(Accuracy(), num_resamples=50)
        >>> metric.update((torch.ones(8), torch.ones(8)))  # all predictions are correct
        >>> metric.compute()
        {'mean': 1.0, 'std': 0.0, 'q2.5': 1.0, 'q97.5': 1.0}

    References:
        Chamandy et al., "Estimating uncertainty for massive data streams", 2012.
    """

    def __init__(
        self,
        metric: Metric,
        num_resamples: int = 100,
        quantiles: Sequence[float] = (0.025, 0.975),
        seed: int = 0,
    ) -> None:
        if not isinstance(metric, Metric):
            raise TypeError(f"metric should be a Metric, but given {type(metric)}")
        if num_resamples < 2:
            raise ValueError(f"num_resamples should be at least 2, but given {num_resamples}")
        if not all(0 <= quantile <= 1 for quantile in quantiles):
            raise ValueError(f"quantiles should be from 0 to 1, but given {quantiles}")
        self.required_output_keys = metric.required_output_keys
        self._probe = metric._fresh_copy()
        """Updated with one batch at a time, to check it."""
        self._resamples = [metric._fresh_copy() for _ in range(num_resamples)]
        self._quantiles = tuple(quantiles)
        self._seed = seed
        self._is_higher_better = metric.higher_is_better
        super().__init__(metric._output_transform, None, metric._skip_unrolling, "both")

    def reset(self) -> None:
        """Resets all resamples and restarts the draws."""
        for metric in self._resamples:
            metric.reset()
        self._probe.reset()
        self._generator_state: Tensor | None = None

    def update(self, output: Any) -> None:
        """Updates the resamples with one batch. If it raises, the metric is unchanged."""
        if isinstance(self._probe, View):
            output = self._probe._accepted(output)
        length = _length_of(output)
        # A resample may not contain the invalid example, so the whole batch is checked first.
        self._probe.reset()
        self._probe.update(output)
        generator = torch.Generator()
        if self._generator_state is None:
            # The large prime keeps the processes of different seeds from sharing a generator seed.
            generator.manual_seed(self._seed * 1_000_003 + distributed.get_rank())
        else:
            generator.set_state(self._generator_state)
        for metric in self._resamples:
            times = torch.poisson(torch.ones(length), generator).long()
            chosen = torch.arange(length).repeat_interleave(times)
            if len(chosen):
                metric.update(tuple(item[chosen.to(item.device)] for item in output))
        self._generator_state = generator.get_state()

    def compute(self) -> dict[str, Any]:
        """Returns the mean, the standard deviation and the quantiles."""
        with synced(self, self._resamples, self._resamples):
            values = torch.stack(list(self._values()))
        result: dict[str, Any] = {"mean": values.mean(dim=0), "std": values.std(dim=0)}
        for quantile in self._quantiles:
            result[f"q{100 * quantile:g}"] = values.quantile(quantile, dim=0)
        return {name: value.item() if value.ndim == 0 else value for name, value in result.items()}

    def _values(self) -> Iterator[Tensor]:
        """Yields the values of resamples. With few examples, a resample may be empty, and is skipped."""
        missing = None
        num_found = 0
        for metric in self._resamples:
            try:
                value = metric.compute()
            except NotComputableError as error:
                missing = error
                continue
            num_found += 1
            yield torch.as_tensor(value, dtype=torch.float64)
        if missing is not None and not num_found:
            raise missing

    def _directions(self, name: str) -> dict[str, bool | None]:
        keys = ["mean", *(f"q{100 * quantile:g}" for quantile in self._quantiles)]
        return super()._directions(name) | dict.fromkeys(keys, self._is_higher_better)

    def _statistics_in_use(self) -> list[Any]:
        return [
            statistic for metric in self._resamples for statistic in metric._statistics_in_use()
        ]

    def _state(self) -> OrderedDict[str, Any]:
        return OrderedDict(
            generator=self._generator_state,
            resamples=[metric._state() for metric in self._resamples],
        )

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        (state,) = states
        self._generator_state = state["generator"]
        for metric, saved in zip(self._resamples, state["resamples"], strict=True):
            metric._set_state([saved])


def _length_of(output: Any) -> int:
    """Returns the number of examples in a tuple of tensors.

    Raises:
        TypeError: ``output`` is something else, or the lengths differ.
    """
    items = output if isinstance(output, tuple | list) else [output]
    lengths = {item.shape[0] if isinstance(item, Tensor) and item.ndim else None for item in items}
    if not isinstance(output, tuple | list) or len(lengths) != 1 or None in lengths:
        given = [
            tuple(item.shape) if isinstance(item, Tensor) else type(item).__name__ for item in items
        ]
        raise TypeError(f"The output should be tensors of the same length, but given {given}")
    (length,) = lengths
    return length or 0
