"""Stochastic weight averaging."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from ignite.engine import Engine, Events
from ignite.handlers._averaging import AverageHandler

__all__ = ["SWAHandler"]


class SWAHandler(AverageHandler):
    r"""Stochastic weight averaging: keeps the mean of the weights in a copy of the model.

    The weights are added to the mean at each firing of an event. Use an event filter for the start
    and the interval: ``Events.EPOCH_COMPLETED(after=75)``. The learning rate is not changed; use a
    scheduler. Models with batch normalization need :meth:`update_bn` at the end.

    Args:
        model: the live model; unwrapped from ``DistributedDataParallel`` and ``torch.compile``.

    Attributes:
        swa_model: the copy, without gradients, in evaluation mode.
        num_averaged: number of averaged weights. At 0, the copy has the initial weights.

    Raises:
        TypeError: ``model`` is not a module.

    State:
        The mean, and ``num_averaged``.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> swa = SWAHandler(model)
        >>> trainer = Engine(lambda engine, batch: model.weight.data.fill_(batch))
        >>> swa.attach(trainer, Events.ITERATION_COMPLETED(after=1))
        >>> _ = trainer.run([7.0, 1.0, 2.0])
        >>> swa.swa_model.weight.item(), swa.num_averaged
        (1.5, 2)

    References:
        Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018,
        https://arxiv.org/abs/1803.05407
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.swa_model = self._average.model.eval()
        self.num_averaged = 0

    def attach(self, engine: Engine[Any, Any], event: Any = Events.EPOCH_COMPLETED) -> None:
        """Adds the weights of the model to the mean at ``event``."""
        engine.add_event_handler(event, self._update)

    def update_bn(self, batches: Iterable[Any], device: str | torch.device | None = None) -> None:
        """Recomputes the statistics of the batch normalization layers of ``swa_model``.

        Args:
            batches: the training data: inputs, or tuples that start with the inputs.
            device: the device for the inputs.
        """
        update_bn(batches, self.swa_model, None if device is None else torch.device(device))

    def state_dict(self) -> dict[str, Any]:
        """Returns the mean and ``num_averaged``.

        Raises:
            RuntimeError: the weights are swapped.
        """
        return {**super().state_dict(), "num_averaged": self.num_averaged}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads a saved mean.

        Raises:
            ValueError: the state belongs to another model. Nothing is changed.
        """
        super().load_state_dict(state_dict)
        self.num_averaged = state_dict["num_averaged"]

    def _update(self) -> None:
        self.num_averaged += 1
        self._average.update(1 / self.num_averaged)
        self._average.copy_buffers()
