"""Facts that are learned from training data and saved with the weights: the task, columns, classes and shapes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from ignite.exceptions import CheckpointError
from ignite.learner._data.columns import Known
from ignite.learner._data.in_memory import Names, Parts
from ignite.learner._data.inspection import named_tensors_in

__all__ = [
    "Facts",
    "Kind",
    "KnownLoss",
    "Learnt",
    "Seen",
    "Task",
    "given_task",
    "infer_task",
    "known_loss",
    "wanted_by",
]

Kind: TypeAlias = Literal["multiclass", "binary", "multilabel", "regression", "heads", "unknown"]
_VERSION = 1
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


class KnownLoss(NamedTuple):
    """A loss of PyTorch, given by name, module or function."""

    name: str
    """``cross_entropy``, ``nll``, ``bce_with_logits``, ``bce``, ``gaussian_nll``, or ``difference`` of two numbers."""
    options: Mapping[str, Any] = MappingProxyType({})
    """Options such as ``ignore_index``, ``weight`` and ``label_smoothing``."""


def known_loss(loss: Any) -> KnownLoss | None:
    """Identifies a loss of PyTorch given by name, module, function, or ``partial``.

    Returns None for custom losses.

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
                return KnownLoss(
                    name,
                    {option: getattr(loss, option) for option in options if hasattr(loss, option)},
                )
        return None
    if isinstance(loss, functools.partial):
        inner = None if loss.args else known_loss(loss.func)
        return None if inner is None else KnownLoss(inner.name, {**inner.options, **loss.keywords})
    return next(
        (KnownLoss(name) for function, name in _FUNCTIONS.items() if loss is function), None
    )


@dataclass(frozen=True)
class Task:
    """The task that a model is trained for.

    Args:
        kind: the kind of the task; "unknown" if neither loss nor targets determine it. Then there
            are no metrics by name.
        num_classes: number of classes or labels; None if unknown or not applicable.
        reason: the task in words, with the reason for it.
        ignored: the class index that the loss ignores, if it occurs or there are several targets
            for each sample.
        heads: of the kind "heads", each head with its task.
    """

    kind: Kind
    num_classes: int | None
    reason: str
    ignored: int | None = None
    heads: tuple[tuple[Any, Task], ...] = ()

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Task:
        """Returns the task of a dictionary of its attributes."""
        heads = tuple((head, cls.of_json(task)) for head, task in found.get("heads", ()))
        return cls(**{**found, "heads": heads})

    def __str__(self) -> str:
        return self.reason


def given_task(kind: str) -> Task:
    """Returns the task that the user has specified.

    Raises:
        ValueError: there is no such kind of task.
    """
    known = [one for one in get_args(Kind) if one not in ("unknown", "heads")]
    if kind not in known:
        raise ValueError(f"task should be one of {', '.join(known)}, but given {kind!r}")
    return Task(kind, None, f"{kind}, as given")  # type: ignore[arg-type]


def wanted_by(loss: Any, task: Task | None = None) -> Literal["numbers", "classes"] | None:
    """Returns the kind of targets that a loss expects.

    For custom losses, it follows from the task; None if unknown.

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


def infer_task(
    loss: Any, y: Any, *, classes: Sequence[Any] = (), is_whole: bool = True, output: Any = None
) -> Task:
    """Infers the task from the loss; for custom losses, from the targets.

    Args:
        loss: the loss, a name, module or function.
        y: all targets or those of the first batch; None if there are none.
        classes: class names, if the data has any.
        is_whole: whether ``y`` contains all targets, so that its maximum gives the number of
            classes.
        output: output of the model for some samples; distinguishes binary from multiclass tasks for
            custom losses.

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
    """Returns the class index to ignore: that of the loss, -100 by default.

    None if it makes no difference.
    """
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


def _num_classes(
    kind: Kind, y: Any, classes: Sequence[Any], is_whole: bool, output: Any
) -> int | None:
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


class Seen(NamedTuple):
    """An array in the inputs of the training data."""

    path: str
    """Path of the array, such as ``x[0]``."""
    shape: tuple[int, ...]
    """Shape of one sample."""
    dtype: str = ""
    """Name of the dtype; empty in files of earlier versions."""

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return "float" in self.dtype


@dataclass(frozen=True)
class Facts:
    """Facts learned from data.

    Example:
        >>> facts = Facts(Known(features=("width", "height"), classes=("cat", "dog")))
        >>> Facts.from_text(facts.to_text()) == facts
        True
    """

    known: Known = field(default_factory=Known)
    """Columns and classes."""
    task: Task | None = None
    """The task; None if it is not known yet."""
    target: Names | None = None
    """Name of the target in data frames and dictionaries."""
    x: tuple[Seen, ...] = ()
    """The inputs of the model; empty if the data could not be inspected."""
    y: tuple[Seen, ...] = ()
    """The targets, likewise."""
    balance: tuple[float, ...] = ()
    """The weight of each class with ``class_weight="balanced"``; otherwise empty."""

    @property
    def is_learnt(self) -> bool:
        """Whether anything was learned."""
        return bool(self.x) or self.known.are_learnt

    def check(self, parts: Parts) -> None:
        """Raises a ValueError if the inputs do not match those that the model was trained on.

        The lengths of sequences and sizes of images may differ.
        """
        seen = _seen_in(parts.x)
        if not (self.x and seen):
            return
        if [one.path for one in seen] != [one.path for one in self.x]:
            expected, actual = (", ".join(one.path for one in some) for some in (self.x, seen))
            raise ValueError(
                f"The inputs should be {expected}, which the model was trained on, but given "
                f"{actual}"
            )
        num_rows = {path: len(tensor) for path, tensor in _arrays_in(parts.x)}
        for trained, given in zip(self.x, seen, strict=True):
            _check_shape(trained, given, num_rows[given.path])
            _check_dtype(trained, given)
        given_y = {one.path: one for one in _seen_in(parts.y, "y")}
        for trained in self.y:
            if trained.path in given_y:
                _check_target(trained, given_y[trained.path])

    @property
    def floats(self) -> frozenset[str]:
        """The paths of the inputs that are floating-point numbers."""
        return frozenset(one.path for one in self.x if one.is_float)

    def of(self, parts: Parts | None) -> Facts:
        """Returns the facts with the shapes of these inputs and targets, if there were none before."""
        if self.x or parts is None:
            return self
        return replace(self, x=_seen_in(parts.x), y=_seen_in(parts.y, "y"))

    def to_text(self) -> str:
        """Returns the facts as JSON."""
        known = {
            name: _json_of(value)
            for name, value in asdict(self.known).items()
            if name not in ("wants", "dtype", "floats", "are_separate")
        }
        task = None if self.task is None else asdict(self.task)
        return json.dumps(
            {
                "version": _VERSION, "known": known, "task": task, "target": _json_of(self.target), "x": self.x,
                "y": self.y, "balance": self.balance,
            }
        )  # fmt: skip

    @classmethod
    def from_text(cls, text: str) -> Facts:
        """Loads the result of :meth:`to_text`.

        Raises:
            CheckpointError: the text is invalid, or was written by a newer version.
        """
        try:
            found = json.loads(text)
            version = found["version"]
            if version > _VERSION:
                raise CheckpointError(
                    f"The facts about the training data should have version {_VERSION}, but given "
                    f"{version}: update reignition to load them"
                )
            known = {name: _tuples_of(value) for name, value in found["known"].items()}
            task = None if found["task"] is None else Task.of_json(found["task"])
            target = _tuples_of(found["target"])
            x, y = (
                tuple(
                    Seen(path, tuple(shape), *dtype) for path, shape, *dtype in found.get(name, ())
                )
                for name in ("x", "y")
            )
            balance = tuple(map(float, found.get("balance", ())))
            return cls(Known(**known), task, target, x, y, balance)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The facts about the training data are invalid: {error}"
            ) from error


class Learnt:
    """Holds the facts of a learner, so that they are saved in checkpoints.

    State:
        The facts, as JSON.
    """

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or Facts()

    def state_dict(self) -> dict[str, Any]:
        """Returns the facts as JSON."""
        return {"facts": self.facts.to_text()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the facts."""
        self.facts = Facts.from_text(state_dict["facts"])


def _arrays_in(x: Any, name: str = "x") -> list[tuple[str, Tensor]]:
    return [(path, tensor) for path, tensor in named_tensors_in(x, name) if tensor.ndim]


def _seen_in(x: Any, name: str = "x") -> tuple[Seen, ...]:
    return tuple(
        Seen(path, tuple(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch."))
        for path, tensor in _arrays_in(x, name)
    )


def _check_dtype(trained: Seen, given: Seen) -> None:
    if trained.dtype and given.dtype and trained.is_float != given.is_float:
        hint = f"x.to(torch.{trained.dtype})"
        if given.dtype == "uint8":
            hint += " / 255, if these are pixels and the training data were scaled"
        raise TypeError(
            f"{given.path} should be {trained.dtype}, which the model was trained on, but given "
            f"{given.dtype}: use {hint}"
        )


def _check_target(trained: Seen, given: Seen) -> None:
    """Raises a ValueError if targets have another number of dimensions or, as numbers, of outputs."""
    expected, shape = ([size for size in one.shape if size != 1] for one in (trained, given))
    is_other = len(expected) != len(shape)
    if trained.is_float and given.is_float and len(expected) == 1:
        is_other = expected != shape
    # Class indices may stand for probabilities of classes, and the reverse.
    if is_other and trained.is_float == given.is_float:
        raise ValueError(
            f"{given.path} should have shape {_with_samples(trained.shape)}, which the model was "
            f"trained on, but given {_with_samples(given.shape)}"
        )


def _check_shape(trained: Seen, given: Seen, num_rows: int) -> None:
    expected, shape = trained.shape, given.shape
    message = f"{given.path} should have shape {_with_samples(expected)}, which the model was trained on, but given "
    is_one_sample = len(shape) == len(expected) - 1
    if is_one_sample and (num_rows, *shape)[1:] == expected[1:]:
        raise ValueError(
            f"{message}{(num_rows, *shape)}: for a single sample, pass {given.path}[None]"
        )
    is_moved = (
        len(shape) == len(expected) > 1 and shape != expected and sorted(shape) == sorted(expected)
    )
    if (
        is_moved
        and len(expected) > 2
        and shape in (expected[1:] + expected[:1], expected[-1:] + expected[:-1])
    ):
        raise ValueError(f"{message}{_with_samples(shape)}: permute the dimensions")


def _with_samples(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape)])})" if shape else "(N,)"


def _json_of(value: Any) -> Any:
    """Converts names for JSON; those that are neither strings nor numbers become strings."""
    if isinstance(value, Mapping):
        return {"of": {key: _json_of(names) for key, names in value.items()}}
    if isinstance(value, tuple | list):
        return [_json_of(item) for item in value]
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def _tuples_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples_of(names) for key, names in value["of"].items()}
    return tuple(_tuples_of(item) for item in value) if isinstance(value, list) else value
