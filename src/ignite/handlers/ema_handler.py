"""An exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ignite._core.old_arguments import OldOrder, takes_old, warn_program
from ignite.engine import Engine, Events
from ignite.handlers._averaging import AverageHandler
from ignite.handlers.state_param_scheduler import LambdaStateScheduler

__all__ = ["EMAHandler", "EMAWarmUp"]

_BUFFERS = ("copy", "update", "ema_train")


class EMAWarmUp:
    """Linear warm-up of the momentum.

    Args:
        momentum_warmup: the initial value, at index 1.
        warmup_iters: the index at which the final value is reached.
        momentum: the final value.

    Example:
        >>> warm_up = EMAWarmUp(momentum_warmup=0.5, warmup_iters=3, momentum=0.1)
        >>> [round(warm_up(index), 6) for index in (1, 2, 3, 4)]
        [0.5, 0.3, 0.1, 0.1]
    """

    def __init__(self, momentum_warmup: float, warmup_iters: int, momentum: float) -> None:
        self.momentum_warmup = momentum_warmup
        self.warmup_iters = warmup_iters
        self.momentum = momentum

    def __call__(self, event_index: int) -> float:
        """Returns the momentum at an index, counted from 1."""
        if event_index >= self.warmup_iters:
            return self.momentum
        share = (event_index - 1) / (self.warmup_iters - 1)
        return self.momentum_warmup + share * (self.momentum - self.momentum_warmup)


class EMAHandler(AverageHandler):
    r"""Exponential moving average of the weights of a model, kept in a copy.

    .. math:: \theta^{EMA} \leftarrow (1 - m) \, \theta^{EMA} + m \, \theta

    for each parameter, whenever the event fires. A small momentum :math:`m` means a slow average.

    With gradient accumulation, weights change once per window, but ``ITERATION_COMPLETED`` fires
    for each batch. Attach to ``BackpropEvents.OPTIM_STEP_COMPLETED`` to update the average once per
    optimizer step.

    All parameters of a dtype are updated by one fused operation. Averages of float16 and bfloat16
    are kept in float32. The training mode of the live model is never changed; that of ``ema_model``
    is set once, when it is created.

    Args:
        model: the live model; unwrapped from ``DistributedDataParallel`` and ``torch.compile``.
        momentum: :math:`m`, between 0 and 1.
        momentum_warmup: the initial momentum of a linear warm-up, if any, from 0 to 1. With 0, the
            first update leaves the average unchanged.
        warmup_iters: number of updates of the warm-up.
        handle_buffers: "copy" copies the buffers of the model; "update" averages floating-point
            buffers; both keep ``ema_model`` in evaluation mode. "ema_train" leaves buffers
            unchanged and ``ema_model`` in training mode, so that it computes its own, as in Mean
            Teacher.
        begins_fast: use :math:`\max\bigl(m, \frac{9}{10 + t}\bigr)` in place of :math:`m`, where
            :math:`t` is the number of previous updates, so that early averages follow the latest
            weights. The decay is then :math:`\min\bigl(1 - m, \frac{1 + t}{10 + t}\bigr)`, as in
            TensorFlow's ``ExponentialMovingAverage(decay, num_updates)``.

    Attributes:
        model: the live model, as passed.
        ema_model: the copy, without gradients.
        num_updates: number of updates, including earlier runs.
        momentum: the initial momentum; ``engine.state.ema_momentum`` is the current one.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: a momentum is not between 0 and 1, ``warmup_iters`` not positive, or
            ``handle_buffers`` unknown.

    State:
        The averaged weights and buffers, and the number of updates.
        ``Checkpoint(to_save={"ema": handler.ema_model})`` saves the weights, too.

    Example:
        >>> import torch
        >>> from ignite.engine import create_supervised_evaluator, create_supervised_trainer
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
        >>> ema = EMAHandler(model, momentum=0.1)
        >>> ema.attach(trainer)
        >>> evaluator = create_supervised_evaluator(model)
        >>> ema.swap_for(evaluator)  # it evaluates the averaged weights
        >>> _ = trainer.run([(torch.ones(2, 1), torch.ones(2, 1))] * 3)

    References:
        Tarvainen and Valpola, "Mean teachers are better role models", 2017,
        https://arxiv.org/abs/1703.01780.
        https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage on
        ``num_updates``.
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        momentum_warmup: float | None = None,
        warmup_iters: int | None = None,
        handle_buffers: str = "copy",
        *,
        begins_fast: bool = False,
    ) -> None:
        if not 0 < momentum < 1:
            raise ValueError(
                f"Invalid momentum: it should be between 0 and 1, but given {momentum}"
            )
        if momentum_warmup is not None and not 0 <= momentum_warmup <= 1:
            raise ValueError(
                "Invalid momentum_warmup: it should be between 0 and 1, "
                f"but given {momentum_warmup}"
            )
        if warmup_iters is not None and not (isinstance(warmup_iters, int) and warmup_iters > 0):
            raise ValueError(
                f"Invalid warmup_iters: it should be a positive integer, but given {warmup_iters!r}"
            )
        if handle_buffers not in _BUFFERS:
            raise ValueError(
                f"handle_buffers can only be one of {_BUFFERS}, but given {handle_buffers!r}"
            )
        super().__init__(model)
        self.model = model
        self.ema_model = self._average.model
        self.momentum = momentum
        self.begins_fast = begins_fast
        self.num_updates = 0
        self.handle_buffers = handle_buffers
        self.ema_model.train(handle_buffers == "ema_train")
        self.momentum_scheduler: EMAWarmUp | None = None
        if momentum_warmup is not None and warmup_iters is not None:
            self.momentum_scheduler = EMAWarmUp(momentum_warmup, warmup_iters, momentum)

    @takes_old(
        OldOrder(
            "engine name event", lambda values: len(values) > 2 and not isinstance(values[2], bool)
        )
    )
    def attach(
        self,
        engine: Engine[Any, Any],
        name: str = "ema_momentum",
        warn_if_exists: bool = True,
        event: Any = Events.ITERATION_COMPLETED,
    ) -> None:
        """Updates the average at an event.

        Args:
            engine: usually the trainer.
            name: attribute of ``engine.state`` that holds the momentum; must be unique per handler.
            warn_if_exists: whether to warn if the attribute exists. Its value is kept: it may come
                from a loaded state.
            event: when to update; with or without a filter.
        """
        if not hasattr(engine.state, name):
            setattr(engine.state, name, self.momentum)
        elif warn_if_exists:
            warn_program(
                f"Attribute '{name}' already exists in engine.state and keeps its value "
                f"{getattr(engine.state, name)}. Use another name if it belongs to another handler",
                UserWarning,
            )
        if self.momentum_scheduler is not None:
            LambdaStateScheduler(self.momentum_scheduler, param_name=name).attach(engine, event)
        engine.add_event_handler(event, self._update, name)

    def _update(self, engine: Engine[Any, Any], name: str) -> None:
        momentum = getattr(engine.state, name)
        if self.begins_fast:
            momentum = max(momentum, 9 / (10 + self.num_updates))
        self._average.update(momentum)
        self.num_updates += 1
        if self.handle_buffers == "update":
            self._average.update_buffers(momentum)
        elif self.handle_buffers == "copy":
            self._average.copy_buffers()

    def begin_anew(self) -> None:
        """Restarts the average from the live weights, such as after loading other weights."""
        self._average.begin_anew()
        self.num_updates = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the average and the number of updates.

        Raises:
            RuntimeError: the weights are swapped.
        """
        return {**super().state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads a saved average.

        Raises:
            ValueError: the state belongs to another model. Nothing is changed.
        """
        super().load_state_dict(state_dict)
        self.num_updates = state_dict.get("num_updates", self.num_updates)
