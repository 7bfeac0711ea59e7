"""Creates the model of an estimator: a default network, a copy of a module, or the result of a function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ignite._core.calls import signature_of

__all__ = ["make_model", "make_network"]


def make_network(in_features: int, out_features: int, hidden: Sequence[int]) -> nn.Sequential:
    """Creates linear layers with ReLU between them.

    Args:
        in_features: number of values of a sample, which is flattened.
        out_features: number of outputs.
        hidden: width of each hidden layer.

    Raises:
        TypeError: ``hidden`` is not a sequence of integers.
        ValueError: a width is not positive.

    Example:
        >>> [type(layer).__name__ for layer in make_network(4, 3, hidden=(8,))]
        ['Flatten', 'Linear', 'ReLU', 'Linear']
    """
    if isinstance(hidden, str | int) or not all(isinstance(width, int) for width in hidden):
        raise TypeError(
            f"hidden should be a tuple of the widths of layers, such as (64,), but given {hidden!r}"
        )
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden should have widths of at least 1, but given {hidden!r}")
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(in_features, width), nn.ReLU()]
        in_features = width
    return nn.Sequential(*layers, nn.Linear(in_features, out_features))


def make_model(
    model: nn.Module | Callable[..., nn.Module] | None,
    in_features: int,
    out_features: int,
    hidden: Sequence[int],
    options: Mapping[str, Any] | None,
) -> nn.Module:
    """Creates a model to train.

    Args:
        model: None for the default network; a module, which is copied; or a function or class that
            creates one. It is called with ``options``, and with ``in_features`` and
            ``out_features`` if it has parameters of these names.
        in_features: number of values of a sample.
        out_features: number of outputs.
        hidden: widths of the default network.
        options: further arguments of the function or class.

    Raises:
        TypeError: ``model`` has another type, does not accept the arguments, or does not return a
            module.
        ValueError: ``options`` are given without a function or class.

    Example:
        >>> make_model(nn.Linear, 4, 3, (), {"bias": False})
        Linear(in_features=4, out_features=3, bias=False)
    """
    if options and (model is None or isinstance(model, nn.Module)):
        raise ValueError(
            "model_options should be empty unless model is a function or class that creates a "
            f"module, but given {dict(options)!r}"
        )
    if model is None:
        return make_network(in_features, out_features, hidden)
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    if not callable(model):
        raise TypeError(
            "model should be a torch.nn.Module, a function or class that creates one, or None, but "
            f"given {model!r:.100}"
        )
    sizes = {"in_features": in_features, "out_features": out_features}
    given = {
        **{name: size for name, size in sizes.items() if _takes(model, name)},
        **(options or {}),
    }
    try:
        signature_of(model).bind(**given)
    except TypeError as error:
        raise TypeError(
            f"model should accept in_features and out_features, or no arguments, besides model_options, "
            f"but {_name_of(model)}{signature_of(model)} was given {given}: {error}"
        ) from error
    made = model(**given)
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"model should return a torch.nn.Module, but {_name_of(model)} returned {made!r:.100}"
        )
    return made


def _takes(model: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name."""
    return name in signature_of(model).parameters


def _name_of(model: Callable[..., Any]) -> str:
    return getattr(model, "__name__", type(model).__name__)
