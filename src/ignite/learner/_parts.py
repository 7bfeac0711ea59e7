"""Losses, optimizers and devices, made of what the user says in a word."""

from __future__ import annotations

import contextlib
import copy
import fnmatch
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ignite.learner._data.task import known_loss
from ignite.learner._measures import same_shape
from ignite.learner._names import LOSSES, OPTIMIZERS, find

__all__ = ["TrainingLoss", "choose_device", "freeze", "make_optimizer", "make_training_loss"]


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device that is asked for; by default the accelerator there is, else the processor."""
    if device is not None:
        return torch.device(device)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def make_training_loss(loss: Any, class_weight: Any) -> TrainingLoss:
    """The loss of a step, of a name or of ``loss(y_pred, y)``.

    Raises:
        ValueError: the name is not known.
        TypeError: the loss cannot be called, or cannot be weighted.
    """
    if not isinstance(loss, str):
        if not callable(loss):
            raise TypeError(f"loss should be a name or loss(y_pred, y), but given {loss!r}")
        return TrainingLoss(loss, _without_mean(loss), class_weight)
    make = find("loss", loss, LOSSES)
    return TrainingLoss(make(), make(reduction="none"), class_weight)


def _without_mean(loss: Any) -> Any:
    """A loss of torch with ``reduction="none"``; None for others."""
    if not (isinstance(loss, nn.Module) and hasattr(loss, "reduction")):
        return None
    each = copy.deepcopy(loss)
    each.reduction = "none"  # type: ignore[assignment]
    return each


class TrainingLoss:
    """The loss of a step: targets in the shape and dtype that it needs, and weights of classes and samples.

    Args:
        loss: ``loss(y_pred, y)``.
        each: the same without a mean over samples, for weights; None if there is no such thing.
        class_weight: a weight for each class, shape (C,), or by its number, where 1 is left out; or None.

    Raises:
        ValueError: when called, there is another number of weights than of classes.
        TypeError: when called, there are weights, but no ``each``.
    """

    def __init__(
        self, loss: Callable[..., Tensor], each: Callable[..., Tensor] | None = None, class_weight: Any = None
    ) -> None:
        self.loss = loss
        self._each = each
        self._class_weight = class_weight
        known = known_loss(loss)
        self.name = None if known is None else known.name
        """Which loss of torch it is, as :func:`~ignite.learner._data.task.known_loss` calls it; None for others."""
        self._has_classes = self.name in ("cross_entropy", "nll")

    def __call__(self, y_pred: Tensor, target: Any) -> Tensor:
        y, weight = target if isinstance(target, tuple) else (target, None)
        y = self.fitted(y_pred, y)
        if self._class_weight is not None:
            table = self._weights_of(y_pred.shape[1] if self._has_classes else 2)
            of_class = table.to(y.device)[y.reshape(len(y), -1)[:, 0].long()]
            weight = of_class if weight is None else weight * of_class
        if weight is None:
            return self.loss(y_pred, y)
        if self._each is None:
            raise TypeError(
                f"loss should be a name or a loss of torch to be weighted, but given {self.loss!r}: leave out weights"
            )
        losses = self._each(y_pred, y)
        of_samples = losses.reshape(len(losses), -1).mean(1)
        mean: Tensor = (of_samples * weight.to(of_samples)).sum() / weight.sum()
        return mean

    def _weights_of(self, num_classes: int) -> Tensor:
        given = self._class_weight
        if isinstance(given, Mapping):
            given = [given.get(number, 1.0) for number in range(num_classes)]
        self._class_weight = table = torch.as_tensor(given, dtype=torch.get_default_dtype())
        if len(table) != num_classes:
            raise ValueError(
                f"class_weight should have a weight for each of {num_classes} classes, but has {len(table)}"
            )
        return table

    def fitted(self, y_pred: Any, y: Any) -> Any:
        """Targets as the loss needs them, where that cannot be mistaken."""
        if self.name is None or not isinstance(y, Tensor) or not isinstance(y_pred, Tensor):
            return y
        if self._has_classes:
            return y if y.dtype == torch.int64 or y.dtype.is_floating_point else y.long()
        y = same_shape(y_pred, y)[1]
        return y if y.dtype == y_pred.dtype else y.to(y_pred.dtype)


def make_optimizer(
    optimizer: Any,
    model: nn.Module,
    lr: float | None,
    options: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Any]],
) -> torch.optim.Optimizer:
    """An optimizer of the parameters that are not frozen; by its name, its class, or as it is.

    Args:
        optimizer: a name, a class or function ``optimizer(parameters, lr=...)``, or an optimizer.
        model: whose parameters are trained.
        lr: the learning rate; None for the optimizer's own.
        options: further arguments of the optimizer.
        groups: other options for parameters whose names match a pattern, such as ``{"head.*": {"lr": 0.1}}``.

    Raises:
        ValueError: the name is not known, or a pattern matches no parameter.
        TypeError: options are given for an optimizer that is made already.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        if lr is not None or options or groups:
            raise TypeError(
                "lr, optimizer_options and param_groups should be given to the optimizer that is made already"
            )
        return optimizer
    make = find("optimizer", optimizer, OPTIMIZERS) if isinstance(optimizer, str) else optimizer
    arguments = {**({} if lr is None else {"lr": lr}), **options}
    parameters = _grouped(model, groups)
    can_be_fused = isinstance(optimizer, str) and "fused" in inspect.signature(make).parameters
    is_faster = next(model.parameters()).device.type != "cpu" or make in (torch.optim.Adam, torch.optim.AdamW)
    if can_be_fused and is_faster and "fused" not in arguments:
        with contextlib.suppress(RuntimeError):  # not on this device, or not for these dtypes
            return make(parameters, fused=True, **arguments)
    made: torch.optim.Optimizer = make(parameters, **arguments)
    return made


def _grouped(model: nn.Module, groups: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each parameter in the group of the first pattern that its name matches."""
    parts: dict[str | None, list[nn.Parameter]] = {pattern: [] for pattern in (*groups, None)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pattern = next((one for one in groups if fnmatch.fnmatch(name, one)), None)
            parts[pattern].append(parameter)
    for pattern in groups:
        if not parts[pattern]:
            raise ValueError(f"param_groups: no parameter that is trained matches {pattern!r}. {_names_of(model)}")
    return [{"params": part, **(groups[key] if key else {})} for key, part in parts.items() if part]


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Takes parameters whose names match out of training.

    Raises:
        ValueError: a pattern matches none, or nothing is left to train.
    """
    for pattern in patterns:
        chosen = [parameter for name, parameter in model.named_parameters() if fnmatch.fnmatch(name, pattern)]
        if not chosen:
            raise ValueError(f"freeze: no parameter matches {pattern!r}. {_names_of(model)}")
        for parameter in chosen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"freeze={list(patterns)} leaves nothing to train")


def _names_of(model: nn.Module) -> str:
    names = [name for name, _ in model.named_parameters()]
    return f"There are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
