"""How much each sample counts, from weights of samples and of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["ClassWeight", "class_table", "per_sample"]

ClassWeight: TypeAlias = Mapping[Any, float] | Sequence[float] | Tensor | Literal["balanced"]


def per_sample(class_weight: ClassWeight, y: Any, classes: Sequence[Any] = ()) -> Tensor:
    """The weight of each sample's class, float32 of shape (N,).

    ``"balanced"`` gives class c the weight ``N / (K * N_c)``, for the K classes that occur.

    Args:
        class_weight: "balanced"; or one weight for each class, in their order; or by name or index, where classes that
            are left out count 1.
        y: class indices, shape (N,) or (N, 1), int64.
        classes: their names, if they have any.

    Raises:
        TypeError: ``y`` does not hold classes.
        ValueError: a weight is negative or not finite, a class has none, or a name is not known.

    Example:
        >>> per_sample("balanced", torch.tensor([0, 0, 0, 1]))
        tensor([0.6667, 0.6667, 0.6667, 2.0000])
        >>> per_sample({"cat": 5}, torch.tensor([0, 1]), classes=("cat", "dog"))
        tensor([5., 1.])
    """
    labels = y.flatten() if isinstance(y, Tensor) and y.numel() == len(y) else y
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        given = f"shape {tuple(y.shape)}, {y.dtype}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise TypeError(f"y should hold class indices, shape (N,), for class_weight, but given {given}")
    if int(labels.min()) < 0:
        raise ValueError(f"y should hold class indices from 0 on for class_weight, but given {int(labels.min())}")
    num_classes = max(len(classes), int(labels.max()) + 1)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight should be 'balanced', or weights by class, but given {class_weight!r}")
        counts = torch.bincount(labels, minlength=num_classes).double()  # (C,)
        table = len(labels) / ((counts > 0).sum() * counts)
    else:
        table = class_table(class_weight, num_classes, classes).to(labels.device)
    return table.float()[labels]


def class_table(
    class_weight: Mapping[Any, float] | Sequence[float] | Tensor, num_classes: int, classes: Sequence[Any] = ()
) -> Tensor:
    """The weight of each class, float64 of shape (C,) or longer, on the host.

    Args:
        class_weight: see :func:`per_sample`, without "balanced".
        num_classes: C.
        classes: their names, if they have any.

    Raises:
        ValueError: a weight is negative or not finite, a class has none, or a name is not known.
    """
    if isinstance(class_weight, Mapping):
        table = torch.ones(num_classes, dtype=torch.float64)  # (C,)
        for key, weight in class_weight.items():
            table[_index(key, num_classes, classes)] = weight
    else:
        if len(class_weight) < num_classes:
            raise ValueError(
                f"class_weight should have {num_classes} weights, one for each class, but given {len(class_weight)}"
            )
        table = torch.as_tensor(class_weight, dtype=torch.float64, device="cpu")
    if not bool((torch.isfinite(table) & (table >= 0)).all()):
        raise ValueError(f"class_weight should be finite and at least 0, but given {class_weight}")
    return table


def _index(key: Any, num_classes: int, classes: Sequence[Any]) -> int:
    if key in classes:
        return list(classes).index(key)
    are_numbers = any(isinstance(name, int) for name in classes)  # by which they are called: it is not their order
    if not are_numbers and isinstance(key, int) and 0 <= key < num_classes:
        return key
    accepted = list(classes) if classes else f"an index below {num_classes}"
    raise ValueError(f"A key of class_weight should be one of {accepted}, but given {key!r}")
