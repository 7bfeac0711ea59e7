"""Which kind of problem it is, from the loss and the targets."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor, nn

__all__ = ["Kind", "Task", "check_kind", "infer"]

Kind = Literal["multiclass", "binary", "multilabel", "regression"]

OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)
OF_YES_OR_NO = (nn.BCELoss, nn.BCEWithLogitsLoss)
OF_NUMBERS = (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss)


class Task(NamedTuple):
    """The kind of problem, and how it is known."""

    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})"


def check_kind(kind: str) -> Kind:
    """The same.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"task should be one of {', '.join(get_args(Kind))}, but given {kind!r}")
    return kind  # type: ignore[return-value]


def infer(loss: Any, target: Tensor | None) -> Task:
    """What the loss and some targets, shape (N, ...), tell.

    Raises:
        ValueError: they do not tell.
    """
    name = getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, OF_CLASSES):
        return Task("multiclass", f"{name} is a loss of classes")
    if isinstance(loss, OF_NUMBERS):
        return Task("regression", f"{name} is a loss of numbers")
    if target is None:
        raise ValueError(
            f"The kind of problem cannot be told from the loss {name} without looking at targets: give "
            f"Learner(..., task=...), one of {', '.join(get_args(Kind))}"
        )
    shape = f"targets have the shape {('N', *target.shape[1:])}".replace("'", "")
    if isinstance(loss, OF_YES_OR_NO):
        is_one = target.ndim == 1 or (target.ndim == 2 and target.shape[1] == 1)
        return Task("binary" if is_one else "multilabel", f"{name}, and {shape}")
    if target.dtype.is_floating_point:
        return Task("regression", f"{name}, and targets are numbers with a fraction")
    return Task("multiclass", f"{name}, and targets are integers")
