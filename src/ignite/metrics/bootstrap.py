"""How certain the value of a metric is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite import distributed
from ignite.exceptions import NotComputableError
from ignite.metrics._reduction import synced
from ignite.metrics._shared_statistics import View
from ignite.metrics.metric import Metric

__all__ = ["Bootstrap"]


class Bootstrap(Metric):
    """Mean, standard deviation and quantiles of a metric's values over resamples of the examples.

    Each resample takes each example a number of times drawn from the Poisson distribution with mean
    1, which is drawing with replacement for data whose number is not known beforehand. Its value is
    a dictionary with the keys "mean", "std" (of the resamples, with Bessel's correction) and, for
    the quantiles q in percent, "q2.5" and so on.

    Update with what the metric takes: a tuple of tensors of shape (B, ...).

    Args:
        metric: the metric; copies of it are fed. Its value has to be a number or a tensor.
        num_resamples: how many, at least 2.
        quantiles: in [0, 1].
        seed: of the draws, which are the same each time that the metric is reset. Each process
            draws others.

    Raises:
        TypeError: ``metric`` is no metric; in ``update``, an output is not tensors of the same
            length.
        ValueError: another argument is out of range.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> from ignite.metrics import Accuracy
        >>> metric = Bootstrap(Accuracy(), num_resamples=50)
        >>> metric.update((torch.ones(8), torch.ones(8)))  # all are right, whatever is drawn
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
        """Is updated with each batch alone, to see whether it fits."""
        self._resamples = [metric._fresh_copy() for _ in range(num_resamples)]
        self._quantiles = tuple(quantiles)
        self._seed = seed
        self._is_higher_better = metric.higher_is_better
        super().__init__(metric._output_transform, None, metric._skip_unrolling, "both")

    def reset(self) -> None:
        """Forgets all that was seen."""
        for metric in self._resamples:
            metric.reset()
        self._probe.reset()
        self._generator_state: Tensor | None = None

    def update(self, output: Any) -> None:
        """Takes in the output of one batch, or raises and stays as it was."""
        if isinstance(self._probe, View):
            output = self._probe._accepted(output)
        length = _length_of(output)
        # Before any resample, which may not have drawn the example that is refused.
        self._probe.reset()
        self._probe.update(output)
        generator = torch.Generator()
        if self._generator_state is None:
            # A prime apart, so that the processes of neighbouring seeds draw differently.
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
        """Mean, standard deviation and quantiles."""
        with synced(self, self._resamples, self._resamples):
            values = torch.stack(list(self._values()))
        result: dict[str, Any] = {"mean": values.mean(dim=0), "std": values.std(dim=0)}
        for quantile in self._quantiles:
            result[f"q{100 * quantile:g}"] = values.quantile(quantile, dim=0)
        return {name: value.item() if value.ndim == 0 else value for name, value in result.items()}

    def _values(self) -> Iterator[Tensor]:
        """Of the resamples that have drawn an example; of few examples, some have drawn none."""
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
    """The number of examples in a tuple of tensors.

    Raises:
        TypeError: it is something else, or their lengths differ.
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
