"""Weights of samples and of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ignite.data.arrays import named_tensors
from ignite.learner._data.columns import as_features
from ignite.learner._data.inspection import described, is_finite, tensors_in

__all__ = [
    "ClassWeight",
    "Weighted",
    "as_sample_weight",
    "balanced",
    "check_sample_weight",
    "class_table",
    "shaped_weight",
]

ClassWeight: TypeAlias = Mapping[Any, float] | Sequence[float] | Tensor | Literal["balanced"]


def balanced(y: Any, ignored: int | None = None, *, is_binary: bool = False) -> Tensor:
    """Returns weights with which all K classes that occur count equally: ``N / (K * N_c)``.

    Args:
        y: class indices of any shape; or class probabilities, shape (N, C, ...), whose sums take
            the place of the counts N_c.
        ignored: class index to ignore.
        is_binary: whether values are 0 and 1, or probabilities of 1, one or several for each
            sample.

    Returns:
        Weights, float64 of shape (C,), on the CPU; 1 for classes that do not occur.

    Raises:
        TypeError: ``y`` does not hold classes.
        ValueError: an index is negative, or ``y`` has no class.

    Example:
        >>> balanced(torch.tensor([0, 0, 0, 1])).tolist()
        [0.6666666666666666, 2.0]
    """
    if (
        not isinstance(y, Tensor)
        or y.is_complex()
        or (y.is_floating_point() and not is_binary and y.ndim < 2)
    ):
        given = (
            f"shape {tuple(y.shape)}, {y.dtype}"
            if isinstance(y, Tensor)
            else f"a {type(y).__name__}"
        )
        raise TypeError(
            f"y should hold class indices for class_weight='balanced', but given {given}"
        )
    if is_binary:
        num_yes = y.double().sum()
        counts = torch.stack([y.numel() - num_yes, num_yes])
    elif y.is_floating_point():
        counts = y.double().movedim(1, -1).reshape(-1, y.shape[1]).sum(0)
    else:
        labels = y.flatten().long()
        labels = labels if ignored is None else labels[labels != ignored]
        if len(labels) and int(labels.min()) < 0:
            raise ValueError(
                "y should hold class indices of at least 0 for class_weight, but given "
                f"{int(labels.min())}"
            )
        counts = torch.bincount(labels).double()
    if not bool((counts > 0).any()):
        raise ValueError(
            "y should hold at least one class for class_weight='balanced', but given none"
        )
    weights = counts.sum() / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, 1.0).cpu()


def class_table(class_weight: ClassWeight, num_classes: int, classes: Sequence[Any] = ()) -> Tensor:
    """Returns the weight of each class, float64 of shape (C,), on the CPU.

    Args:
        class_weight: a list, array, tensor or series with a weight for each class, in order; or a
            dictionary, or a series with an index, of weights by class name or index, where missing
            classes have the weight 1.
        num_classes: number of classes, C.
        classes: names of the classes, if they have any.

    Raises:
        ValueError: a weight is negative or not finite, the number of weights is wrong, or a name
            is unknown.
        TypeError: the weights are not numbers.

    Example:
        >>> class_table({"cat": 5}, 2, ("cat", "dog"))
        tensor([5., 1.], dtype=torch.float64)
    """
    given = _as_plain(class_weight)
    if isinstance(given, Mapping):
        table = torch.ones(num_classes, dtype=torch.float64)  # (C,)
        for key, weight in given.items():
            table[_index(key, num_classes, classes)] = float(weight)
    else:
        try:
            table = torch.tensor([float(weight) for weight in given], dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                "class_weight should be a number for each class, by class or in their order, but "
                f"given {class_weight!r:.100}"
            ) from error
        if len(table) != num_classes:
            raise ValueError(
                f"class_weight should have {num_classes} weights, one for each class, but given "
                f"{len(table)}"
            )
    if not bool((torch.isfinite(table) & (table >= 0)).all()):
        raise ValueError(f"class_weight should be finite and at least 0, but given {class_weight}")
    return table


def _as_plain(class_weight: Any) -> Any:
    """Converts weights to a list, or to a dictionary if they have names."""
    index = getattr(class_weight, "index", None)
    is_series = hasattr(class_weight, "to_dict") and index is not None and not callable(index)
    if is_series:
        values = class_weight.to_dict()
        return [*values.values()] if list(values) == list(range(len(values))) else _as_plain(values)
    if isinstance(class_weight, Mapping):
        return {_as_plain_key(key): weight for key, weight in class_weight.items()}
    return (
        class_weight.tolist()
        if callable(getattr(class_weight, "tolist", None))
        else _listed(class_weight)
    )


def _listed(weights: Any) -> Any:
    to_list = getattr(weights, "to_list", None)  # a series of polars
    return to_list() if callable(to_list) else weights


def _as_plain_key(key: Any) -> Any:
    """Converts a numpy scalar to a Python number or string, as which class names are saved."""
    item = getattr(key, "item", None)
    return item() if callable(item) else key


def _index(key: Any, num_classes: int, classes: Sequence[Any]) -> int:
    names = [_as_plain_key(name) for name in classes]
    if key in names:
        return names.index(key)
    # Where class names are integers, an integer key is a name and not an index.
    are_integers = any(isinstance(name, int) for name in names)
    if not are_integers and isinstance(key, int) and 0 <= key < num_classes:
        return key
    accepted = names or f"an index below {num_classes}"
    raise ValueError(f"A key of class_weight should be one of {accepted}, but given {key!r}")


def as_sample_weight(w: Any, x: Any) -> Tensor:
    """Converts sample weights to a tensor, shape (N,).

    Raises:
        ValueError: the shape is wrong, or a weight is negative or not finite.
    """
    weights = as_features(w, "sample_weight")
    given = (
        f"{tuple(weights.shape)} {weights.dtype}"
        if isinstance(weights, Tensor)
        else f"a {type(w).__name__}"
    )
    if not isinstance(weights, Tensor) or weights.ndim != 1 or weights.is_complex():
        raise ValueError(
            "sample_weight, the third item of (x, y, w), should be numbers of shape (N,), but "
            f"given {given}; for several inputs, nest them: ((a, b), y)"
        )
    num_samples = [len(tensor) for _, tensor in named_tensors(x) if tensor.ndim]
    if num_samples and len(weights) != num_samples[0]:
        raise ValueError(
            f"sample_weight should have shape ({num_samples[0]},), one for each sample, but given "
            f"{given}"
        )
    weights = weights if weights.is_floating_point() else weights.to(torch.get_default_dtype())
    if len(weights) and not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        row = int((~(torch.isfinite(weights) & (weights >= 0))).nonzero()[0])
        raise ValueError(
            f"sample_weight should be finite and at least 0, but given {weights[row].item()} in "
            f"row {row}"
        )
    return weights


def check_sample_weight(w: Any, y: Any) -> None:
    """Raises a ValueError unless the sample weights of a batch have shape (N,), and are finite and >= 0."""
    given = f"shape {tuple(w.shape)}" if isinstance(w, Tensor) else f"a {type(w).__name__}"
    lengths = [len(tensor) for tensor in tensors_in(y)[:1] if tensor.ndim]
    if not isinstance(w, Tensor) or (lengths and tuple(w.shape) != (lengths[0],)):
        raise ValueError(
            "w, the third item of a batch (x, y, w), should be weights of shape "
            f"({lengths[0] if lengths else 'N'},), but given {given}; for several inputs, nest "
            "them: ((a, b), y)"
        )
    if not is_finite(w) or bool((w < 0).any()):
        raise ValueError(
            f"w, the sample weights, should be finite and at least 0, but given {w.min().item()}"
        )


class Weighted(NamedTuple):
    """Targets, and the weight of each sample."""

    y: Any
    weight: Tensor


def shaped_weight(weight: Tensor, losses: Tensor) -> Tensor:
    """Reshapes weights of samples or elements to broadcast with the losses."""
    if losses.ndim and weight.numel() == len(losses) == len(weight):
        return weight.to(losses).reshape(-1, *[1] * (losses.ndim - 1))
    if weight.shape == losses.shape[: weight.ndim]:
        return weight.to(losses).reshape(*weight.shape, *[1] * (losses.ndim - weight.ndim))
    raise ValueError(
        f"w, the sample weights, should have shape ({losses.shape[0] if losses.ndim else 1},), but "
        f"given {described(weight)} for losses of {described(losses)}"
    )
