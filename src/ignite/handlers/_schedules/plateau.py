"""A learning rate that is reduced when a metric has stopped improving."""

import warnings
import weakref
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ignite.engine import Engine
from ignite.handlers._schedules import groups
from ignite.handlers._schedules.optimizer_param import ParamScheduler

# What the program says of each group stays: Ignite has saved zeros for it.
_NOT_LOADED = ("min_lrs", "default_min_lr")


class ReduceLROnPlateauScheduler(ParamScheduler):
    """Reduces the learning rate when a metric has stopped improving, by torch's ``ReduceLROnPlateau``.

    Attach it to the engine that computes the metric: ``scheduler.attach(evaluator, Events.COMPLETED)``, or with
    ``add_event_handler``.

    Args:
        optimizer: whose learning rate is reduced; anything that has ``param_groups``.
        metric_name: the metric in ``engine.state.metrics``.
        trainer: the engine that keeps the history.
        save_history: whether to append the learning rates to ``trainer.state.param_history["lr"]``.
        param_group_index: the only group to reduce.
        **scheduler_kwargs: arguments of ``ReduceLROnPlateau``: ``mode``, ``factor``, ``patience``, ``min_lr``, ...

    Raises:
        TypeError: ``optimizer`` has no parameter groups; or there is a ``param_group_index``, and ``min_lr`` is not a
            number; or torch does not know an argument.
        ValueError: torch does not accept an argument; or, when called, the engine has no such metric.

    State:
        The best metric, how long ago it was, and the rest of torch's state; not ``min_lr``, which the program says.

    Example:
        >>> import torch
        >>> from ignite.engine import Events
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> scheduler = ReduceLROnPlateauScheduler(optimizer, "loss", factor=0.5, patience=0, min_lr=0.3)
        >>> evaluator = Engine(lambda engine, batch: None)
        >>> scheduler.attach(evaluator, Events.COMPLETED)
        >>> for evaluator.state.metrics["loss"] in (0.9, 0.8, 0.8, 0.8):
        ...     _ = evaluator.run([0])
        >>> optimizer.param_groups[0]["lr"]
        0.3
    """

    def __init__(
        self,
        optimizer: Optimizer,
        metric_name: str,
        trainer: Engine[Any, Any] | None = None,
        save_history: bool = False,
        param_group_index: int | None = None,
        **scheduler_kwargs: Any,
    ) -> None:
        super().__init__(optimizer, "lr", save_history, param_group_index)
        min_lr = scheduler_kwargs.get("min_lr", 0.0)
        if param_group_index is not None and not isinstance(min_lr, int | float):
            raise TypeError(f"When param_group_index is given, min_lr should be a float, but given {type(min_lr)}")
        if scheduler_kwargs.pop("verbose", False):
            warnings.warn(
                "verbose=True is ignored: torch does not print any more. Use save_history=True, or read "
                "optimizer.param_groups",
                stacklevel=2,
            )
        self.metric_name = metric_name
        # Weak, because the trainer may hold the engine that holds this handler.
        self._trainer = None if trainer is None else weakref.ref(trainer)
        self.scheduler = ReduceLROnPlateau(_View(optimizer, param_group_index), **scheduler_kwargs)
        self._state_attrs += ["metric_name", "scheduler"]

    @property
    def trainer(self) -> Engine[Any, Any] | None:
        """The engine that keeps the history."""
        return None if self._trainer is None else self._trainer()

    def __call__(self, engine: Engine[Any, Any], name: str | None = None) -> None:  # type: ignore[override]
        """Takes in the metric, and reduces the learning rate if it is time."""
        metrics = getattr(engine.state, "metrics", {})
        if self.metric_name not in metrics:
            raise ValueError(
                "Argument engine should have in its 'state', attribute 'metrics' which itself has the metric "
                f"{self.metric_name}, but given one with the metrics {list(metrics)}"
            )
        self.scheduler.step(metrics[self.metric_name])
        self._record(self.trainer, name or self.param_name, groups.read(self.optimizer_param_groups, "lr"))
        self.event_index += 1

    def get_param(self) -> float | list[float]:
        """The learning rate as it is; a list if there are several groups."""
        values = groups.read(self.optimizer_param_groups, "lr")
        return values[0] if len(values) == 1 else values

    @classmethod
    def simulate_values(  # type: ignore[override]
        cls, num_events: int, metric_values: list[float], init_lr: float, **scheduler_kwargs: Any
    ) -> list[list[Any]]:
        """The learning rates after each of ``metric_values``: ``[[0, lr], [1, lr], ...]``.

        Args:
            num_events: how many events.
            metric_values: the metric of each event.
            init_lr: the learning rate to begin with.
            **scheduler_kwargs: arguments of ``ReduceLROnPlateau``.

        Raises:
            ValueError: there are not ``num_events`` metrics.

        Example:
            >>> ReduceLROnPlateauScheduler.simulate_values(3, [0.5, 0.6, 0.6], init_lr=1.0, factor=0.1, patience=1)
            [[0, 1.0], [1, 1.0], [2, 0.1]]
        """
        if len(metric_values) != num_events:
            raise ValueError(
                f"Length of argument metric_values should be equal to num_events. {len(metric_values)} != {num_events}"
            )
        scheduler = cls(groups.stand_in(lr=init_lr), "metric", **{**scheduler_kwargs, "save_history": False})
        rows = []
        for event, metric in enumerate(metric_values):
            scheduler.scheduler.step(metric)
            rows.append([event, scheduler.optimizer_param_groups[0]["lr"]])
        return rows

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        if not isinstance(state_dict["scheduler"], Mapping):
            raise TypeError(
                f"scheduler in state_dict should be a dictionary, but given {type(state_dict['scheduler'])}"
            )

    def _take(self, state_dict: Mapping[str, Any]) -> None:
        # A state of Ignite holds methods, too, and all that is given replaces attributes of torch's scheduler.
        inner = {
            key: state_dict["scheduler"][key]
            for key in self.scheduler.state_dict()
            if key in state_dict["scheduler"] and key not in _NOT_LOADED
        }
        super()._take({**state_dict, "scheduler": inner})

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_trainer": None}


class _View(Optimizer):
    """The groups of an optimizer, or one of them, as they are when asked: loading a state replaces them."""

    def __init__(self, optimizer: Any, index: int | None) -> None:  # the base would make groups of its own
        self._optimizer = optimizer
        self._index = index

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return groups.select(self._optimizer, self._index)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
