"""Weights of samples and of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ignite.data.arrays import named_tensors
from ignite.learner._data.columns import as_features
from ignite.learner._data.trial import described, is_finite, tensors_in

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
    """Returns weights with which all classes count equally: ``N / (K * N_c)`` for each of the K classes that occur.

    Args:
        y: class indices of any shape; or probabilities, shape (N, C, ...), of which each class has
            a part of N.
        ignored: the index that does not count.
        is_binary: whether values are 0 and 1, or probabilities of 1, one or several for each
            sample.

    Returns:
        float64 of shape (C,), on the host; 1 for classes that do not occur.

    Raises:
        TypeError: ``y`` does not hold classes.
        ValueError: an index is negative, or there is none.

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
                f"y should hold class indices from 0 on for class_weight, but given {int(labels.min())}"
            )
        counts = torch.bincount(labels).double()
    if not bool((counts > 0).any()):
        raise ValueError("y should hold a class for class_weight='balanced', but given none")
    weights = counts.sum() / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, 1.0).cpu()


def class_table(class_weight: ClassWeight, num_classes: int, classes: Sequence[Any] = ()) -> Tensor:
    """The weight of each class, float64 of shape (C,), on the host.

    Args:
        class_weight: one weight for each class, in their order: a list, array, tensor or column; or
            by name or index, where classes that are left out weigh 1: a dictionary, or a series
            with names as its index.
        num_classes: C.
        classes: their names, if they have any.

    Raises:
        ValueError: a weight is negative or not finite, a class has none, or a name is not known.
        TypeError: the weights are no numbers.

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
                f"class_weight should be a number for each class, by class or in their order, but given "
                f"{class_weight!r:.100}"
            ) from error
        if len(table) != num_classes:
            raise ValueError(
                f"class_weight should have {num_classes} weights, one for each class, but given {len(table)}"
            )
    if not bool((torch.isfinite(table) & (table >= 0)).all()):
        raise ValueError(f"class_weight should be finite and at least 0, but given {class_weight}")
    return table


def _as_plain(class_weight: Any) -> Any:
    """Arrays, tensors and columns as lists, a series whose index are names as a dictionary; keys as plain objects."""
    index = getattr(class_weight, "index", None)
    if (
        hasattr(class_weight, "to_dict") and index is not None and not callable(index)
    ):  # a series of pandas
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
    to_list = getattr(weights, "to_list", None)  # a column of polars
    return to_list() if callable(to_list) else weights


def _as_plain_key(key: Any) -> Any:
    """A number or word of numpy as one of Python: arrays have one, and names of classes are the other."""
    item = getattr(key, "item", None)
    return item() if callable(item) else key


def _index(key: Any, num_classes: int, classes: Sequence[Any]) -> int:
    names = [_as_plain_key(name) for name in classes]
    if key in names:
        return names.index(key)
    are_numbers = any(
        isinstance(name, int) for name in names
    )  # by which they are called: it is not their order
    if not are_numbers and isinstance(key, int) and 0 <= key < num_classes:
        return key
    accepted = names or f"an index below {num_classes}"
    raise ValueError(f"A key of class_weight should be one of {accepted}, but given {key!r}")


def as_sample_weight(w: Any, x: Any) -> Tensor:
    weights = as_features(w, "sample_weight")
    given = (
        f"{tuple(weights.shape)} {weights.dtype}"
        if isinstance(weights, Tensor)
        else f"a {type(w).__name__}"
    )
    if not isinstance(weights, Tensor) or weights.ndim != 1 or weights.is_complex():
        raise ValueError(
            f"sample_weight, the third of (x, y, w), should be numbers of shape (N,), but given {given}; "
            "several inputs are nested: ((a, b), y)"
        )
    num_samples = [len(tensor) for _, tensor in named_tensors(x) if tensor.ndim]
    if num_samples and len(weights) != num_samples[0]:
        raise ValueError(
            f"sample_weight should have shape ({num_samples[0]},), one for each sample, but given {given}"
        )
    weights = weights if weights.is_floating_point() else weights.to(torch.get_default_dtype())
    if len(weights) and not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        row = int((~(torch.isfinite(weights) & (weights >= 0))).nonzero()[0])
        raise ValueError(
            f"sample_weight should be finite and at least 0, but given {weights[row].item()} in row {row}"
        )
    return weights


def check_sample_weight(w: Any, y: Any) -> None:
    if w is None:
        return
    given = f"shape {tuple(w.shape)}" if isinstance(w, Tensor) else f"a {type(w).__name__}"
    lengths = [len(tensor) for tensor in tensors_in(y)[:1] if tensor.ndim]
    if not isinstance(w, Tensor) or (lengths and tuple(w.shape) != (lengths[0],)):
        raise ValueError(
            f"w, the third of a batch (x, y, w), should be weights of shape ({lengths[0] if lengths else 'N'},), "
            f"but given {given}; several inputs are nested: ((a, b), y)"
        )
    if not is_finite(w) or bool((w < 0).any()):
        raise ValueError(
            f"w, the weights of samples, should be finite and at least 0, but given {w.min().item()}"
        )


class Weighted(NamedTuple):
    """Targets, and how much each sample counts."""

    y: Any
    weight: Tensor


def shaped_weight(weight: Tensor, losses: Tensor) -> Tensor:
    """Weights of samples (or of elements) in as many dimensions as the losses."""
    if losses.ndim and weight.numel() == len(losses) == len(weight):
        return weight.to(losses).reshape(-1, *[1] * (losses.ndim - 1))
    if weight.shape == losses.shape[: weight.ndim]:
        return weight.to(losses).reshape(*weight.shape, *[1] * (losses.ndim - weight.ndim))
    raise ValueError(
        f"w, the weights of samples, should have shape ({losses.shape[0] if losses.ndim else 1},), but given "
        f"{described(weight)} for losses of {described(losses)}"
    )
