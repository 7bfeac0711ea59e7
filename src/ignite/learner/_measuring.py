"""Metrics over the batches that a model is trained on."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from ignite import distributed as idist
from ignite.engine import Engine
from ignite.metrics import Metric, MetricGroup

__all__ = ["TrainingMetrics"]

_LARGE = 2**13
"""Outputs of this many numbers are not joined: the computation takes longer than the calls."""
_MAX_NUMBERS = 2**16
_MAX_BATCHES = 64
_PENDING = "pending"


class TrainingMetrics(MetricGroup):
    """Metrics of the outputs that the training has computed anyway.

    Small outputs are copied and joined, so that the metrics are updated once for many steps: they
    should not depend on how the samples are divided into batches.

    Args:
        metrics: name -> metric.
        take_pair: returns the predictions and targets of the current step, or None.
        is_joined: whether to join small outputs.

    State:
        That of :class:`~ignite.metrics.MetricGroup`, and the outputs that are not joined yet, so
        that a resumed run joins the same ones.
    """

    def __init__(
        self,
        metrics: dict[str, Metric],
        take_pair: Callable[[], tuple[Any, Any] | None],
        is_joined: bool = True,
    ) -> None:
        self._take_pair = take_pair
        self._is_joined = is_joined
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._num_pending = 0
        super().__init__(metrics, skip_unrolling=True)

    @property
    def members(self) -> dict[str, Metric]:
        """The metrics by the name of their value, those of groups among them."""
        found: dict[str, Metric] = {}
        for name, metric in self.metrics.items():
            found |= metric.metrics if isinstance(metric, MetricGroup) else {name: metric}
        return found

    def reset(self) -> None:
        """Resets all members."""
        self._pending, self._num_pending = [], 0
        super().reset()

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Takes the outputs of a training step."""
        pair = self._take_pair()
        if pair is None:
            return
        y_pred, y = pair
        if not self._can_wait(y_pred, y):
            self._join()
            with torch.no_grad():
                self.update(pair)
            return
        # Copies, since outputs may be overwritten by the next step, for instance in a CUDA graph.
        self._pending.append((y_pred.clone(), y.clone()))
        self._num_pending += y_pred.numel() + y.numel()
        if self._num_pending >= _MAX_NUMBERS or len(self._pending) >= _MAX_BATCHES:
            self._join()

    def _can_wait(self, y_pred: Any, y: Any) -> bool:
        if not (self._is_joined and isinstance(y_pred, Tensor) and isinstance(y, Tensor)):
            return False
        is_batch = y_pred.ndim > 0 and y.ndim > 0 and y_pred.shape[0] == y.shape[0]
        return is_batch and y_pred.numel() < _LARGE and y.numel() < _LARGE

    def _join(self) -> None:
        pending, self._pending, self._num_pending = self._pending, [], 0
        with torch.no_grad():
            for _, alike in itertools.groupby(pending, key=_rows_of):
                self.update(tuple(torch.cat(parts) for parts in zip(*alike, strict=True)))

    def compute(self) -> dict[str, Any]:
        """Returns the value of each member by its name."""
        self._join()
        found: dict[str, Any] = {}
        for name, value in super().compute().items():
            found |= value if isinstance(self.metrics[name], MetricGroup) else {name: value}
        return found

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Puts the value of each member into ``engine.state.metrics`` when an epoch ends."""
        super().completed(engine, name)
        engine.state.metrics.pop(name)

    def state_dict(self) -> OrderedDict[str, Any]:
        """Returns what each process has accumulated. All processes must call it."""
        pending: Any = [list(pair) for pair in self._pending]
        if idist.get_world_size() > 1:
            pending = [pair for pairs in idist.all_gather(pending) for pair in pairs]
        state = super().state_dict()
        state[_PENDING] = pending
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what was accumulated; outputs that wait are distributed over the processes."""
        pending = state_dict.get(_PENDING, [])  # files of earlier versions have none
        super().load_state_dict({k: v for k, v in state_dict.items() if k != _PENDING})
        mine = pending[idist.get_rank() :: idist.get_world_size()]
        self._pending = [(y_pred, y) for y_pred, y in mine]
        self._num_pending = sum(one.numel() for pair in self._pending for one in pair)


def _rows_of(pair: tuple[Tensor, Tensor]) -> Hashable:
    """Equal for pairs that can be joined."""
    return tuple((one.shape[1:], one.dtype, one.device) for one in pair)
