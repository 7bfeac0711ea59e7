"""Losses and devices, made of what the user says in a word, and what is trained."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ignite.learner._data.fitting import check_numbers, one_row, same_shape
from ignite.learner._data.task import known_loss
from ignite.learner._data.weights import class_table
from ignite.learner._names import LOSSES, find
from ignite.learner._optimizers import names_of

__all__ = ["TrainingLoss", "check_model", "choose_device", "freeze", "make_training_loss"]


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
        if isinstance(loss, type):
            raise TypeError(f"loss should be an object, but given the class {loss.__name__}: write {loss.__name__}()")
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
        class_weight: a weight for each class, shape (C,), or by its name or number, where 1 is left out; or None.

    Raises:
        ValueError: when called, there is another number of weights than of classes, or a weight for a class that is not
            there.
        TypeError: when called, there are weights, but no ``each``.
    """

    def __init__(
        self, loss: Callable[..., Tensor], each: Callable[..., Tensor] | None = None, class_weight: Any = None
    ) -> None:
        self.loss = loss
        self._each = each
        self._class_weight = class_weight
        self._classes: Sequence[Any] = ()
        self._table: Tensor | None = None
        known = known_loss(loss)
        self.name = None if known is None else known.name
        """Which loss of torch it is, as :func:`~ignite.learner._data.task.known_loss` calls it; None for others."""
        self._has_classes = self.name in ("cross_entropy", "nll")
        self._is_of_numbers = self.name in ("bce", "bce_with_logits", "difference")

    def __call__(self, y_pred: Tensor, target: Any) -> Tensor:
        y, weight = target if isinstance(target, tuple) else (target, None)
        y_pred = self.row_kept(y_pred, y)
        y = self.fitted(y_pred, y)
        if self._is_of_numbers and y_pred.shape != y.shape:
            check_numbers(str(self.name), y_pred, y)  # torch would let each output meet each target
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

    def name_classes(self, classes: Sequence[Any]) -> None:
        """From here on, classes may have weights by these names, too, in the order of their numbers."""
        if list(classes) != list(self._classes):
            self._classes, self._table = classes, None

    def _weights_of(self, num_classes: int) -> Tensor:
        if self._table is None:
            table = class_table(self._class_weight, num_classes, self._classes)
            if len(table) != num_classes:
                raise ValueError(
                    f"class_weight should have {num_classes} weights, one for each class, but given {len(table)}"
                )
            self._table = table.to(torch.get_default_dtype())
        return self._table

    def row_kept(self, y_pred: Any, y: Any) -> Any:
        """The output for a batch of one sample as a row, if the model has squeezed it and the loss is one of torch."""
        if self.name is None or not isinstance(y, Tensor) or y.ndim == 0:
            return y_pred
        return one_row(y_pred, len(y))

    def paired(self, x: Any, y: Any, y_pred: Any) -> tuple[Any, Any]:
        """What metrics are given of an evaluation step."""
        return self.row_kept(y_pred, y), y

    def fitted(self, y_pred: Any, y: Any) -> Any:
        """Targets as the loss needs them, where that cannot be mistaken."""
        if self.name is None or not isinstance(y, Tensor) or not isinstance(y_pred, Tensor):
            return y
        if self._has_classes:
            return y if y.dtype == torch.int64 or y.dtype.is_floating_point else y.long()
        y = same_shape(y_pred, y)[1]
        return y if y.dtype == y_pred.dtype else y.to(y_pred.dtype)


def check_model(model: Any) -> None:
    """Raises a TypeError unless it is a module."""
    if isinstance(model, type):
        raise TypeError(
            f"model should be a torch.nn.Module, but given the class {model.__name__}: write {model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        given = repr(model) if model is None or isinstance(model, str) else f"a {type(model).__name__}"
        raise TypeError(f"model should be a torch.nn.Module, but given {given}")


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Takes parameters whose names match out of training.

    Raises:
        ValueError: a pattern matches none, or nothing is left to train.
    """
    for pattern in patterns:
        chosen = [parameter for name, parameter in model.named_parameters() if fnmatch.fnmatch(name, pattern)]
        if not chosen:
            raise ValueError(f"freeze: no parameter matches {pattern!r}. {names_of(model)}")
        for parameter in chosen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"freeze={list(patterns)} leaves nothing to train")
