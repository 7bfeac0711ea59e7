"""What is to be learnt: classes, several labels, or numbers; and what the loss expects for it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

__all__ = ["Kind", "KnownLoss", "Task", "given_task", "infer_task", "known_loss", "wanted_by"]

Kind: TypeAlias = Literal["multiclass", "binary", "multilabel", "regression", "unknown"]


class KnownLoss(NamedTuple):
    """A loss of torch, whichever way it was given."""

    name: str
    """``cross_entropy``, ``nll``, ``bce_with_logits``, ``bce``, ``gaussian_nll``, or ``difference`` of two numbers."""
    options: Mapping[str, Any] = MappingProxyType({})
    """Such as ``ignore_index``, ``weight`` and ``label_smoothing``."""


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Args:
        kind: "unknown" if neither loss nor targets tell; there are no metrics by name then.
        num_classes: or labels; None if unknown or without meaning.
        reason: a sentence for the user.
        ignored: the class index that the loss does not count, if the targets have it or are several for each sample.
    """

    kind: Kind
    num_classes: int | None
    reason: str
    ignored: int | None = None

    def __str__(self) -> str:
        return self.reason


_CLASSES: dict[type[nn.Module], str] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.NLLLoss: "nll",
    nn.BCEWithLogitsLoss: "bce_with_logits",
    nn.BCELoss: "bce",
    nn.GaussianNLLLoss: "gaussian_nll",
    nn.MSELoss: "difference",
    nn.L1Loss: "difference",
    nn.HuberLoss: "difference",
    nn.SmoothL1Loss: "difference",
}
_FUNCTIONS: dict[Any, str] = {
    F.cross_entropy: "cross_entropy",
    F.nll_loss: "nll",
    F.binary_cross_entropy_with_logits: "bce_with_logits",
    F.binary_cross_entropy: "bce",
    F.gaussian_nll_loss: "gaussian_nll",
    F.mse_loss: "difference",
    F.l1_loss: "difference",
    F.huber_loss: "difference",
    F.smooth_l1_loss: "difference",
}
_NAMES = {
    **{name: name for name in ("cross_entropy", "nll", "bce_with_logits", "bce", "gaussian_nll")},
    **dict.fromkeys(("mse", "l1", "mae", "huber", "smooth_l1"), "difference"),
}


def given_task(kind: str) -> Task:
    """What the user says.

    Raises:
        ValueError: there is no such kind.
    """
    known = [one for one in get_args(Kind) if one != "unknown"]
    if kind not in known:
        raise ValueError(f"task should be one of {', '.join(known)}, but given {kind!r}")
    return Task(kind, None, f"{kind}, as given")  # type: ignore[arg-type]


def known_loss(loss: Any) -> KnownLoss | None:
    """Which loss of torch it is: a name, a module, a function, or a ``partial`` of one. None: one of the user's.

    Example:
        >>> known_loss(nn.CrossEntropyLoss()).name, known_loss("mse").name, known_loss(lambda y_pred, y: 0)
        ('cross_entropy', 'difference', None)
    """
    if isinstance(loss, str):
        return KnownLoss(_NAMES[loss]) if loss in _NAMES else None
    if isinstance(loss, nn.Module):
        for known, name in _CLASSES.items():
            if isinstance(loss, known) and type(loss).forward is known.forward:
                options = ("ignore_index", "weight", "pos_weight", "label_smoothing")
                return KnownLoss(name, {option: getattr(loss, option) for option in options if hasattr(loss, option)})
        return None
    if isinstance(loss, functools.partial):
        inner = None if loss.args else known_loss(loss.func)
        return None if inner is None else KnownLoss(inner.name, {**inner.options, **loss.keywords})
    return next((KnownLoss(name) for function, name in _FUNCTIONS.items() if loss is function), None)


def wanted_by(loss: Any, task: Task | None = None) -> Literal["numbers", "classes"] | None:
    """What targets are to a loss; as the task says if the loss is the user's own, and None if that is not known.

    Example:
        >>> wanted_by("mse"), wanted_by("cross_entropy"), wanted_by(lambda y_pred, y: 0)
        ('numbers', 'classes', None)
    """
    known = known_loss(loss)
    if known is not None:
        return "numbers" if known.name in ("difference", "gaussian_nll") else "classes"
    if task is None or task.kind == "unknown":
        return None
    return "numbers" if task.kind == "regression" else "classes"


def infer_task(loss: Any, y: Any, *, classes: Sequence[Any] = (), is_whole: bool = True, output: Any = None) -> Task:
    """Infers from the loss what is to be learnt; from the targets if the loss is the user's own.

    Args:
        loss: name, module or function.
        y: targets, all of them or of the first batch; None if there are none.
        classes: names of the classes, if the data tell.
        is_whole: whether ``y`` is all targets, so that its largest one tells the number of classes.
        output: of the model for some samples; tells binary from multiclass for a loss of the user's own.

    Example:
        >>> task = infer_task("cross_entropy", torch.tensor([0, 2, 1]))
        >>> task.kind, task.num_classes
        ('multiclass', 3)
        >>> task.reason
        'multiclass with 3 classes, because the loss is cross_entropy and y has integers from 0 to 2, shape (3,)'
    """
    known = known_loss(loss)
    says = _describe(y)
    if known is None:
        kind = _kind_of_targets(y, output)
        why = f"because the loss is your own and y has {says}"
    else:
        kind = _kind_of_loss(known.name, y)
        why = f"because the loss is {_name_of(loss)} and y has {says}"
    num_classes = _num_classes(kind, y, classes, is_whole, output)
    noun = "labels" if kind == "multilabel" else "classes"
    told = "" if num_classes is None or kind == "binary" else f" with {num_classes} {noun}"
    hint = "; there are no metrics by name" if kind == "unknown" else ""
    return Task(kind, num_classes, f"{kind}{told}, {why}{hint}", _ignored(known, y))


def _ignored(known: KnownLoss | None, y: Any) -> int | None:
    """Class index that does not count: -100 unless the loss says otherwise."""
    if known is None or known.name not in ("cross_entropy", "nll") or not isinstance(y, Tensor):
        return None
    index = int(known.options.get("ignore_index", -100))
    if y.is_floating_point():
        return None
    return index if y.ndim > 1 or index >= 0 or bool((y == index).any()) else None


def _kind_of_loss(name: str, y: Any) -> Kind:
    if name in ("cross_entropy", "nll"):
        return "multiclass"
    if name in ("bce", "bce_with_logits"):
        is_one = not isinstance(y, Tensor) or y.ndim < 2 or y.shape[1] == 1
        return "binary" if is_one else "multilabel"
    return "regression"


def _kind_of_targets(y: Any, output: Any) -> Kind:
    if not isinstance(y, Tensor) or y.numel() == 0 or y.is_complex():
        return "unknown"
    low, high = (value.item() for value in torch.aminmax(y if y.is_floating_point() else y.long()))
    if y.is_floating_point():
        is_zero_or_one = bool(((y == 0) | (y == 1)).all())
        return "unknown" if is_zero_or_one else "regression"
    if low < 0:
        return "unknown"
    if y.ndim == 2 and y.shape[1] > 1:
        return "multilabel" if high <= 1 else "unknown"
    if y.ndim > 2:
        return "unknown"
    if high > 1:
        return "multiclass"
    if not isinstance(output, Tensor):
        return "unknown"
    return "multiclass" if output.ndim == 2 and output.shape[1] > 1 else "binary"


def _num_classes(kind: Kind, y: Any, classes: Sequence[Any], is_whole: bool, output: Any) -> int | None:
    if kind == "binary":
        return 2
    if kind == "multilabel" and isinstance(y, Tensor):
        return y.shape[1]
    if kind != "multiclass":
        return None
    if classes:
        return len(classes)
    if isinstance(output, Tensor) and output.ndim > 1:
        return output.shape[1]
    if not isinstance(y, Tensor) or y.numel() == 0:
        return None
    if y.is_floating_point():
        return y.shape[1] if y.ndim > 1 else None
    return int(y.max()) + 1 if is_whole else None


def _describe(y: Any) -> str:
    if y is None:
        return "not been given"
    if not isinstance(y, Tensor):
        return f"the type {type(y).__name__}"
    shape = f"shape {tuple(y.shape)}"
    if y.is_floating_point() or y.is_complex() or y.numel() == 0:
        return f"{str(y.dtype).removeprefix('torch.')} numbers, {shape}"
    low, high = torch.aminmax(y.long())
    return f"integers from {int(low)} to {int(high)}, {shape}"


def _name_of(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    if isinstance(loss, functools.partial):
        return _name_of(loss.func)
    return getattr(loss, "__name__", type(loss).__name__)
