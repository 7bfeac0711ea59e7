"""Finds the number of elements that a loss averages, from its autograd graph."""

from typing import Any, NamedTuple

from torch import Tensor

from ignite._core.torch_private import saved_for_backward

__all__ = ["Averaged", "averaged", "num_averaged"]

_KEEPS_MEANS = (
    "Mul",
    "Div",
    "Neg",
    "ToCopy",
    "View",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Select",
    "Alias",
    "Clone",
)
"""Autograd operations that do not change the number of averaged elements, if one input is tracked."""
_SCALES = ("Mul", "Div")
_MEAN, _SUM = 1, 2
"""Reductions by their number in autograd."""


class Averaged(NamedTuple):
    """The reduction of a loss."""

    num_elements: Any
    """Number of averaged elements; the sum of weights for a weighted mean, and 1 for a sum."""
    is_sum: bool = False


def num_averaged(loss: Tensor) -> Any:
    """Returns the number of elements that a custom loss averages, from its autograd graph.

    None if it is not a mean. For a weighted mean, returns the sum of the weights.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> num_averaged(0.5 * (x - 1).square().mean())
        6
        >>> num_averaged(x.sum()) is None
        True
    """
    found = averaged(loss)
    return None if found is None or found.is_sum else found.num_elements


def averaged(loss: Tensor) -> Averaged | None:
    """Returns the reduction of a loss, from its autograd graph; None if unknown.

    The reduction of a sum that is multiplied or divided is unknown, because the factor may depend
    on the number of elements.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> averaged(x.sum()), averaged(x.sum() / 6)
        (Averaged(num_elements=1, is_sum=True), None)
    """
    node: Any = loss.grad_fn
    is_scaled = False
    while node is not None:
        name, inputs = (
            node.name().partition("Backward")[0],
            [one for one, _ in node.next_functions if one is not None],
        )
        if name == "Mean":
            return _number(saved_for_backward(node, "self_sym_numel"))
        if name == "Sum":
            return None if is_scaled else Averaged(1, is_sum=True)
        reduction = saved_for_backward(node, "reduction")
        if reduction == _SUM:
            return None if is_scaled else Averaged(1, is_sum=True)
        if reduction is not None:
            return _of_torch(node) if reduction == _MEAN else None
        is_scaled |= name in _SCALES
        node = inputs[0] if name in _KEEPS_MEANS and len(inputs) == 1 else None
    return None


def _of_torch(node: Any) -> Averaged | None:
    """Returns the reduction of a loss of torch with ``reduction="mean"``."""
    weight = saved_for_backward(node, "total_weight")
    if weight is None:
        given = saved_for_backward(node, "self")
        return None if given is None else _number(given.numel())
    return _number(weight.item() if weight.is_cpu else weight)


def _number(number: Any) -> Averaged | None:
    return None if number is None else Averaged(number)
