"""The schedulers of torch as handlers."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ignite.engine import Engine
from ignite.handlers._schedules import groups
from ignite.handlers._schedules.optimizer_param import ParamScheduler


class LRScheduler(ParamScheduler):
    """Steps a scheduler of ``torch.optim.lr_scheduler`` at each event but the first.

    Attached to ``Events.ITERATION_STARTED``, each iteration uses the learning rate, and the momentum if that is
    scheduled, that it has in the loop ``optimizer.step(); lr_scheduler.step()``.

    Args:
        lr_scheduler: any of torch's schedulers that step without a metric. Do not call its ``step``.
        save_history: whether to append the learning rates to ``engine.state.param_history["lr"]``.
        use_legacy: step at the first event, too, for ``Events.ITERATION_COMPLETED``: the first iteration is over by
            then, and the optimizer has used the first value.

    Raises:
        TypeError: ``lr_scheduler`` is none of torch's, or ``ReduceLROnPlateau``.

    State:
        That of ``lr_scheduler`` is part of it. Save the optimizer as well: most of torch's schedulers compute a value
        from the one before, which they read from the optimizer.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> scheduler = LRScheduler(torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5))
        >>> trainer = Engine(lambda engine, batch: optimizer.param_groups[0]["lr"])
        >>> scheduler.attach(trainer)
        >>> trainer.run([0] * 3).output
        0.25
    """

    def __init__(self, lr_scheduler: TorchScheduler, save_history: bool = False, use_legacy: bool = False) -> None:
        check_torch_scheduler(lr_scheduler, "torch.optim.lr_scheduler.LRScheduler")
        super().__init__(lr_scheduler.optimizer, "lr", save_history)
        if use_legacy:
            warnings.warn(
                "With use_legacy=True, attach the LRScheduler to Events.ITERATION_COMPLETED: the first iteration takes "
                "the first lr value from the optimizer, otherwise it will be skipped",
                stacklevel=2,
            )
        self.lr_scheduler = lr_scheduler
        self.use_legacy = use_legacy
        self._is_fresh = True
        """Whether torch's scheduler has not been stepped here, in this process."""
        self._state_attrs += ["lr_scheduler", "use_legacy"]

    def __call__(self, engine: Engine[Any, Any] | None, name: str | None = None) -> None:
        """Steps, unless the value at hand has not been used yet."""
        self._step(is_quiet=engine is None or self._is_fresh)
        self._is_fresh = self.event_index == 0
        if self.save_history:
            self._record(engine, name or self.param_name, groups.read(self.optimizer_param_groups, "lr"))
        self.event_index += 1

    def get_param(self) -> Tensor | float | list[Tensor | float]:
        """The learning rate that the next call will write; a list if there are several groups."""
        with groups.untouched([self.optimizer], [self.lr_scheduler]):
            self._step(is_quiet=True)
            values = groups.read(self.optimizer_param_groups, "lr")
        return values[0] if len(values) == 1 else values

    @classmethod
    def simulate_values(  # type: ignore[override]
        cls, num_events: int, lr_scheduler: TorchScheduler, **kwargs: Any
    ) -> list[list[Any]]:
        """The learning rates of the first ``num_events`` events: ``[[0, lr of group 0, lr of group 1, ...], ...]``.

        Args:
            num_events: how many events.
            lr_scheduler: a scheduler of torch. It and its optimizer are put back to what they were.
            **kwargs: arguments of the class.
        """
        rows = []
        with groups.untouched([lr_scheduler.optimizer], [lr_scheduler]):
            scheduler = cls(**{**kwargs, "lr_scheduler": lr_scheduler, "save_history": False})
            for event in range(num_events):
                scheduler(engine=None)
                rows.append([event, *groups.read(scheduler.optimizer_param_groups, "lr")])
        return rows

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state that was saved, also by Ignite.

        Raises:
            TypeError: ``state_dict``, or that of torch's scheduler in it, is not a mapping.
            ValueError: a key is missing. Nothing is changed.
        """
        if isinstance(state_dict, Mapping) and "event_index" in state_dict and "use_legacy" not in state_dict:
            state_dict = self._from_ignite(state_dict)
        super().load_state_dict(state_dict)
        self._is_fresh = True

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        if not isinstance(state_dict["lr_scheduler"], Mapping):
            raise TypeError(
                f"lr_scheduler in state_dict should be a dictionary, but given {type(state_dict['lr_scheduler'])}"
            )

    def _from_ignite(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Ignite counts torch's scheduler up behind each call, not before it, and never calls its ``step``."""
        num_calls, inner = state_dict["event_index"], state_dict.get("lr_scheduler")
        if num_calls == 0:
            return self.state_dict()  # it has not begun
        if isinstance(inner, Mapping) and "last_epoch" in inner:
            inner = {**inner, "last_epoch": inner["last_epoch"] - 1, "_step_count": num_calls + 1}
        return {**state_dict, "use_legacy": self.use_legacy, "lr_scheduler": inner}

    def _step(self, is_quiet: bool) -> None:
        if self.event_index == 0 and not self.use_legacy:
            return
        if not is_quiet:
            self.lr_scheduler.step()
            return
        # Torch wants to have seen a step of the optimizer before. There may be none yet: the run was resumed, gradients
        # are accumulated, or were skipped by a scaler. Not for each step: it makes other warnings come again and again.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*optimizer\.step\(\)", UserWarning)
            self.lr_scheduler.step()

    def _begin(self) -> None:
        for group, lr in zip(self.optimizer_param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            groups.write(group, "lr", lr)


def check_torch_scheduler(lr_scheduler: Any, expected: str) -> None:
    """Checks that a scheduler of torch can be stepped.

    Raises:
        TypeError: it is none, or wants a metric.
    """
    if isinstance(lr_scheduler, ReduceLROnPlateau):
        raise TypeError(
            f"Argument lr_scheduler should be a subclass of {expected} that steps without a metric, but given "
            "ReduceLROnPlateau: use ReduceLROnPlateauScheduler"
        )
    if not isinstance(lr_scheduler, TorchScheduler):
        raise TypeError(f"Argument lr_scheduler should be a subclass of {expected}, but given {type(lr_scheduler)}")
