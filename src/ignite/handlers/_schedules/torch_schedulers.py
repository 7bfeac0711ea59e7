"""PyTorch's learning rate schedulers as handlers, and a warm-up for any scheduler."""

import math
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ignite._core.old_arguments import OldOrder, takes_old
from ignite._core.torch_private import STEP_COUNT
from ignite.engine import Engine
from ignite.handlers._schedules import param_groups
from ignite.handlers._schedules.combined import ConcatScheduler, ParamGroupScheduler
from ignite.handlers._schedules.interpolation import PiecewiseLinear
from ignite.handlers._schedules.scheduler import (
    ParamScheduler,
    check_number,
    is_integer,
)


class LRScheduler(ParamScheduler):
    """Steps a scheduler of ``torch.optim.lr_scheduler`` at each event except the first.

    Attached to ``Events.ITERATION_STARTED``, each iteration uses the same learning rate (and
    momentum, if scheduled) as in the loop ``optimizer.step(); lr_scheduler.step()``.

    Args:
        lr_scheduler: a PyTorch scheduler that steps without a metric. Do not call its ``step``.
        save_history: whether to append the learning rates to ``engine.state.param_history["lr"]``.
        use_legacy: whether to step at the first event, too. Use it with
            ``Events.ITERATION_COMPLETED``, when the optimizer has already used the first value.

    Raises:
        TypeError: ``lr_scheduler`` is not a PyTorch scheduler, or is ``ReduceLROnPlateau``.

    State:
        Includes the state of ``lr_scheduler``. Save the optimizer as well: most PyTorch schedulers
        compute a value from the previous one, which they read from the optimizer.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> scheduler = LRScheduler(torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5))
        >>> trainer = Engine(lambda engine, batch: optimizer.param_groups[0]["lr"])
        >>> scheduler.attach(trainer)
        >>> trainer.run([0] * 3).output
        0.25
    """

    def __init__(
        self, lr_scheduler: TorchScheduler, save_history: bool = False, use_legacy: bool = False
    ) -> None:
        check_torch_scheduler(lr_scheduler, "torch.optim.lr_scheduler.LRScheduler")
        super().__init__(lr_scheduler.optimizer, "lr", save_history)
        if use_legacy:
            warnings.warn(
                "With use_legacy=True, attach the LRScheduler to Events.ITERATION_COMPLETED: the "
                "first iteration takes the first lr value from the optimizer, otherwise it will be "
                "skipped",
                stacklevel=2,
            )
        self.lr_scheduler = lr_scheduler
        self.use_legacy = use_legacy
        self._is_fresh = True
        """Whether ``lr_scheduler`` has not been stepped in this process."""
        self._state_attrs += ["lr_scheduler", "use_legacy"]

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Steps the scheduler, except at the first event."""
        self._step(is_quiet=engine is None or self._is_fresh)
        self._is_fresh = self.event_index == 0
        if self.save_history:
            self._record(
                engine,
                name or self.param_name,
                param_groups.read(self.optimizer_param_groups, "lr"),
            )
        self.event_index += 1

    def get_param(self) -> Tensor | float | list[Tensor | float]:
        """Returns the learning rate that the next call sets; a list for several groups."""
        with param_groups.restored([self.optimizer], [self.lr_scheduler]):
            self._step(is_quiet=True)
            values = param_groups.read(self.optimizer_param_groups, "lr")
        return values[0] if len(values) == 1 else values

    @classmethod
    def simulate_values(  # type: ignore[override]
        cls, num_events: int, lr_scheduler: TorchScheduler, **kwargs: Any
    ) -> list[list[Any]]:
        """Returns the learning rates of the first ``num_events`` events.

        A row is ``[event index, lr of group 0, lr of group 1, ...]``.

        Args:
            num_events: the number of events.
            lr_scheduler: a PyTorch scheduler. It and its optimizer are restored afterwards.
            **kwargs: arguments of the class.
        """
        rows = []
        with param_groups.restored([lr_scheduler.optimizer], [lr_scheduler]):
            scheduler = cls(**{**kwargs, "lr_scheduler": lr_scheduler, "save_history": False})
            for event in range(num_events):
                scheduler(engine=None)
                rows.append([event, *param_groups.read(scheduler.optimizer_param_groups, "lr")])
        return rows

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state, including states saved by Ignite.

        Raises:
            TypeError: ``state_dict``, or the state of ``lr_scheduler`` in it, is not a mapping.
            ValueError: a key is missing. Nothing is changed.
        """
        if (
            isinstance(state_dict, Mapping)
            and "event_index" in state_dict
            and "use_legacy" not in state_dict
        ):
            state_dict = self._from_ignite(state_dict)
        super().load_state_dict(state_dict)
        self._is_fresh = True

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        if not isinstance(state_dict["lr_scheduler"], Mapping):
            raise TypeError(
                "lr_scheduler in state_dict should be a dictionary, "
                f"but given {type(state_dict['lr_scheduler'])}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns the state. Its ``lr_scheduler`` is as Ignite saves it; ours is ``lr_scheduler_now``."""
        state = super().state_dict()
        inner = state["lr_scheduler"]
        if (self.event_index > 0 or self.use_legacy) and "last_epoch" in inner:
            state["lr_scheduler"] = {**inner, "last_epoch": inner["last_epoch"] + 1}
        return {**state, "lr_scheduler_now": inner}

    def _take(self, state_dict: Mapping[str, Any]) -> None:
        inner = state_dict.get("lr_scheduler_now", state_dict["lr_scheduler"])
        super()._take({**state_dict, "lr_scheduler": inner})

    def _from_ignite(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Converts a state of Ignite, whose ``lr_scheduler`` is one step ahead."""
        num_calls, inner = state_dict["event_index"], state_dict.get("lr_scheduler")
        if num_calls == 0:
            return self.state_dict()  # before the first event
        if isinstance(inner, Mapping) and "last_epoch" in inner:
            inner = {**inner, "last_epoch": inner["last_epoch"] - 1, STEP_COUNT: num_calls + 1}
        return {**state_dict, "use_legacy": self.use_legacy, "lr_scheduler": inner}

    def _step(self, is_quiet: bool) -> None:
        if self.event_index == 0 and not self.use_legacy:
            return
        if not is_quiet:
            self.lr_scheduler.step()
            return
        # PyTorch expects a previous optimizer step. There may be none yet: the run was resumed,
        # gradients are accumulated, or a scaler skipped the step. Later steps do not enter this
        # block, because it resets the filter "once" of other warnings.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*optimizer\.step\(\)", UserWarning)
            self.lr_scheduler.step()

    def _begin(self) -> None:
        for group, lr in zip(
            self.optimizer_param_groups, self.lr_scheduler.get_last_lr(), strict=True
        ):
            param_groups.write(group, "lr", lr)


def check_torch_scheduler(lr_scheduler: Any, expected: str) -> None:
    """Checks that a PyTorch scheduler steps without a metric.

    Raises:
        TypeError: it is not a PyTorch scheduler, or needs a metric.
    """
    if isinstance(lr_scheduler, ReduceLROnPlateau):
        raise TypeError(
            f"Argument lr_scheduler should be a subclass of {expected} that steps without a "
            "metric, but given ReduceLROnPlateau: use ReduceLROnPlateauScheduler"
        )
    if not isinstance(lr_scheduler, TorchScheduler):
        raise TypeError(
            f"Argument lr_scheduler should be a subclass of {expected}, "
            f"but given {type(lr_scheduler)}"
        )


# Arguments of the constructor take precedence: Ignite saves zeros for these.
_NOT_LOADED = ("min_lrs", "default_min_lr")


class ReduceLROnPlateauScheduler(ParamScheduler):
    """Reduces the learning rate when a metric stops improving.

    Based on PyTorch's ``ReduceLROnPlateau``.

    Attach it to the engine that computes the metric: ``scheduler.attach(evaluator,
    Events.COMPLETED)``, or with ``add_event_handler``.

    Args:
        optimizer: the optimizer, or any object with ``param_groups``.
        metric_name: the metric in ``engine.state.metrics``.
        trainer: the engine that stores the history.
        save_history: whether to append the learning rates to ``trainer.state.param_history["lr"]``.
        param_group_index: index of the only group to change.
        **scheduler_kwargs: arguments of ``ReduceLROnPlateau``: ``mode``, ``factor``, ``patience``,
            ``min_lr``, ...

    Raises:
        TypeError: ``optimizer`` has no parameter groups; or ``param_group_index`` is given and
            ``min_lr`` is not a number; or ``ReduceLROnPlateau`` has no such argument.
        ValueError: ``ReduceLROnPlateau`` rejects an argument; or, when called, the engine has no
            such metric.

    State:
        The state of ``ReduceLROnPlateau``, such as the best metric and the number of bad epochs;
        without ``min_lr``, which the constructor sets.

    Example:
        >>> import torch
        >>> from ignite.engine import Events
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> scheduler = ReduceLROnPlateauScheduler(
        ...     optimizer, "loss", factor=0.5, patience=0, min_lr=0.3
        ... )
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
            raise TypeError(
                "When param_group_index is given, min_lr should be a float, "
                f"but given {type(min_lr)}"
            )
        if scheduler_kwargs.pop("verbose", False):
            warnings.warn(
                "verbose=True is ignored: PyTorch has removed it. Use save_history=True, or read "
                "optimizer.param_groups",
                stacklevel=2,
            )
        self.metric_name = metric_name
        # Weak, because the trainer may hold the engine that holds this handler.
        self._trainer = None if trainer is None else weakref.ref(trainer)
        groups = _GroupsView(optimizer, param_group_index)
        self.scheduler = ReduceLROnPlateau(groups, **scheduler_kwargs)
        self._state_attrs += ["metric_name", "scheduler"]

    @property
    def trainer(self) -> Engine[Any, Any] | None:
        """The engine that stores the history."""
        return None if self._trainer is None else self._trainer()

    def __call__(self, engine: Engine[Any, Any], name: str | None = None) -> None:  # type: ignore[override]
        """Passes the metric to the scheduler, which may reduce the learning rate."""
        metrics = getattr(engine.state, "metrics", {})
        if self.metric_name not in metrics:
            raise ValueError(
                "Argument engine should have in its 'state', attribute 'metrics' which itself has "
                f"the metric {self.metric_name}, but given one with the metrics {list(metrics)}"
            )
        self.scheduler.step(metrics[self.metric_name])
        self._record(
            self.trainer,
            name or self.param_name,
            param_groups.read(self.optimizer_param_groups, "lr"),
        )
        self.event_index += 1

    def get_param(self) -> float | list[float]:
        """Returns the current learning rate; a list for several groups."""
        values = param_groups.read(self.optimizer_param_groups, "lr")
        return values[0] if len(values) == 1 else values

    @classmethod
    def simulate_values(  # type: ignore[override]
        cls, num_events: int, metric_values: list[float], init_lr: float, **scheduler_kwargs: Any
    ) -> list[list[Any]]:
        """Returns the learning rates after each of ``metric_values``: ``[[0, lr], [1, lr], ...]``.

        Args:
            num_events: the number of events.
            metric_values: the metric of each event.
            init_lr: the initial learning rate.
            **scheduler_kwargs: arguments of ``ReduceLROnPlateau``.

        Raises:
            ValueError: ``metric_values`` does not have ``num_events`` values.

        Example:
            >>> ReduceLROnPlateauScheduler.simulate_values(
            ...     3, [0.5, 0.6, 0.6], init_lr=1.0, factor=0.1, patience=1
            ... )
            [[0, 1.0], [1, 1.0], [2, 0.1]]
        """
        if len(metric_values) != num_events:
            raise ValueError(
                "Length of argument metric_values should be equal to num_events. "
                f"{len(metric_values)} != {num_events}"
            )
        scheduler = cls(
            param_groups.dummy_optimizer(lr=init_lr),
            "metric",
            **{**scheduler_kwargs, "save_history": False},
        )
        rows = []
        for event, metric in enumerate(metric_values):
            scheduler.scheduler.step(metric)
            rows.append([event, scheduler.optimizer_param_groups[0]["lr"]])
        return rows

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        if not isinstance(state_dict["scheduler"], Mapping):
            raise TypeError(
                "scheduler in state_dict should be a dictionary, "
                f"but given {type(state_dict['scheduler'])}"
            )

    def _take(self, state_dict: Mapping[str, Any]) -> None:
        # A state of Ignite also holds methods, and PyTorch's load_state_dict would set all of them
        # as attributes.
        inner = {
            key: state_dict["scheduler"][key]
            for key in self.scheduler.state_dict()
            if key in state_dict["scheduler"] and key not in _NOT_LOADED
        }
        super()._take({**state_dict, "scheduler": inner})

    def _reduce_lr(self, epoch: int) -> None:
        """Does nothing. Ignite's states hold this method, and are not unpickled without it."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_trainer": None}


class _GroupsView(Optimizer):
    """Groups of an optimizer, looked up at each access, because loading a state replaces them."""

    def __init__(self, optimizer: Any, index: int | None) -> None:
        # Without super().__init__(), which creates groups.
        self._optimizer = optimizer
        self._index = index

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return param_groups.select(self._optimizer, self._index)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


@takes_old(
    OldOrder(
        "lr_scheduler warmup_start_value warmup_end_value warmup_duration save_history "
        "output_simulated_values",
        # Two integers may be in either order.
        lambda values: len(values) > 3 and isinstance(values[2], float),
    )
)
def create_lr_scheduler_with_warmup(
    lr_scheduler: ParamScheduler | TorchScheduler,
    warmup_start_value: float,
    warmup_duration: int,
    warmup_end_value: float | None = None,
    save_history: bool = False,
    output_simulated_values: list[Any] | None = None,
) -> ConcatScheduler:
    """Prepends a linear warm-up of the learning rates of all groups to a scheduler.

    Events 0 to ``warmup_duration - 1`` go from ``warmup_start_value`` to ``warmup_end_value``. Then
    ``lr_scheduler`` starts with its first value, or with its second if the first equals the end of
    the warm-up.

    Args:
        lr_scheduler: a PyTorch scheduler, or a :class:`ParamScheduler` of the learning rate. Do not
            attach it.
        warmup_start_value: the first value.
        warmup_duration: the number of events, at least 2.
        warmup_end_value: the last value; by default the current learning rate of each group.
        save_history: whether to append the values to ``engine.state.param_history["lr"]``.
        output_simulated_values: a list of None that is filled with rows ``[event index, lr of group
            0, lr of group 1, ...]`` of the first events.

    Returns:
        The scheduler to attach.

    Raises:
        TypeError: ``lr_scheduler`` is not a scheduler, ``warmup_duration`` not an integer,
            ``output_simulated_values`` not a list, or a value not a number.
        ValueError: ``warmup_duration`` is less than 2, a value is not finite, or ``lr_scheduler``
            schedules another parameter.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        >>> rows = [None] * 5
        >>> scheduler = create_lr_scheduler_with_warmup(decay, 0.0, 3, output_simulated_values=rows)
        >>> rows
        [[0, 0.0], [1, 0.5], [2, 1.0], [3, 0.5], [4, 0.25]]
    """
    if not isinstance(lr_scheduler, ParamScheduler):
        check_torch_scheduler(
            lr_scheduler, "torch.optim.lr_scheduler.LRScheduler or ParamScheduler"
        )
    if not is_integer(warmup_duration):
        raise TypeError(
            f"Argument warmup_duration should be integer, but given {warmup_duration!r}"
        )
    if warmup_duration < 2:
        raise ValueError(
            f"Argument warmup_duration should be at least 2 events, but given {warmup_duration}"
        )
    if not isinstance(output_simulated_values, list | None):
        raise TypeError(
            "Argument output_simulated_values should be a list of None, e.g. `[None] * 100`, "
            f"but given {type(output_simulated_values)}"
        )
    check_number("Argument warmup_start_value", warmup_start_value)
    if warmup_end_value is not None:
        check_number("Argument warmup_end_value", warmup_end_value)
    optimizer = lr_scheduler.optimizer
    ends = [
        group["lr"] if warmup_end_value is None else warmup_end_value
        for group in optimizer.param_groups
    ]
    warmups: list[Any] = [
        PiecewiseLinear(
            optimizer,
            "lr",
            [(0, warmup_start_value), (warmup_duration - 1, end)],
            param_group_index=i,
        )
        for i, end in enumerate(ends)
    ]
    warmup = ParamGroupScheduler(warmups)
    scheduler = (
        lr_scheduler if isinstance(lr_scheduler, ParamScheduler) else LRScheduler(lr_scheduler)
    )
    joined = ConcatScheduler([warmup, scheduler], [warmup_duration], save_history)
    _skip_first_value(
        scheduler, {id(group): end for group, end in zip(optimizer.param_groups, ends, strict=True)}
    )
    if output_simulated_values is not None:
        output_simulated_values[:] = ConcatScheduler.simulate_values(
            len(output_simulated_values), joined.schedulers, joined.durations
        )
    return joined


def _skip_first_value(scheduler: ParamScheduler, ends: dict[int, Any]) -> None:
    """Skips the first value of a scheduler if it equals the end of the warm-up in all groups."""
    with param_groups.restored([scheduler.optimizer]):
        first = scheduler.get_param()
        targets = scheduler.optimizer_param_groups
        values = first if isinstance(first, list) else [first] * len(targets)
        expected = [ends[id(group)] for group in targets]
        # The tolerance is that of float32, which learning rates in tensors have.
        if all(math.isclose(*pair, rel_tol=1e-6) for pair in zip(values, expected, strict=True)):
            scheduler(engine=None)
