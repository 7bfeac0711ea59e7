"""Converts an engine's output to the arguments of a metric's ``update``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import is_pair


def identity(output: Any) -> Any:
    """Returns the output. A named function instead of a lambda, so that metrics can be pickled."""
    return output


def pick(output: Mapping[str, Any], keys: Sequence[str] | None, metric: str) -> tuple[Any, ...]:
    """Returns the values of ``keys`` in ``output``.

    Raises:
        TypeError: ``keys`` is None, because the metric does not accept mappings.
        ValueError: a key is missing.
    """
    if keys is None:
        raise TypeError(
            f"Transformed engine output for {metric} metric should be a tuple/list, but given {type(output)}"
        )
    if any(key not in output for key in keys):
        raise ValueError(
            f"When transformed engine's output is a mapping, it should contain {keys} keys, but given {list(output)}; "
            f"let the output_transform of {metric} return (y_pred, y)"
        )
    return tuple(output[key] for key in keys)


def as_pair(output: Any, metric: str) -> tuple[Tensor, Tensor]:
    """Returns ``(y_pred, y)``, each with a batch dimension.

    Tensors without a batch dimension, such as the result of ``squeeze()`` for a batch of one, count
    as one example. So do scores (C,) with a class ().

    Raises:
        TypeError: ``output`` is not a sequence of tensors.
        ValueError: it does not have two items.
    """
    if is_pair(output):
        found: tuple[Tensor, Tensor] = output
        return found
    _check_length(output, (2,), "(y_pred, y), two tensors", metric)
    y_pred, y = output
    if not isinstance(y_pred, Tensor) or not isinstance(y, Tensor):
        raise TypeError(_not_a_pair("(y_pred, y), two tensors", output, metric))
    return _with_batch(y_pred, y)


def as_predictions(output: Any, metric: str) -> tuple[Tensor, Any]:
    """Returns ``(y_pred, y)`` for a metric that ignores ``y``, which may be of any type.

    Raises:
        TypeError, ValueError: as in :func:`as_pair`.
    """
    if isinstance(output, Sequence) and len(output) == 2 and isinstance(output[0], Tensor):
        y_pred, y = output
        if not isinstance(y, Tensor):
            return y_pred, y
    return as_pair(output, metric)


def as_loss_arguments(output: Any, metric: str) -> tuple[Any, ...]:
    """Returns ``(y_pred, y)`` or ``(y_pred, y, kwargs)``, of any types that a loss accepts.

    Tensors get a batch dimension as in :func:`as_pair`.

    Raises:
        TypeError: ``output`` is not a sequence, or its third item is not a mapping.
        ValueError: it does not have two or three items.
    """
    if is_pair(output):
        return output  # type: ignore[no-any-return]
    expected = "(y_pred, y) or (y_pred, y, kwargs)"
    _check_length(output, (2, 3), expected, metric)
    y_pred, y, *rest = output
    if rest and not isinstance(rest[0], Mapping):
        raise TypeError(_not_a_pair(expected, output, metric))
    if isinstance(y_pred, Tensor) and isinstance(y, Tensor):
        y_pred, y = _with_batch(y_pred, y)
    return (y_pred, y, *rest)


def _with_batch(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if y.ndim == 0 and y_pred.ndim == 1 and y_pred.shape[0] > 1 and y_pred.is_floating_point():
        y_pred = y_pred.unsqueeze(0)
    return torch.atleast_1d(y_pred), torch.atleast_1d(y)


def _check_length(output: Any, lengths: tuple[int, ...], expected: str, metric: str) -> None:
    if not isinstance(output, Sequence) or isinstance(output, str):
        raise TypeError(_not_a_pair(expected, output, metric))
    if len(output) not in lengths:
        raise ValueError(_not_a_pair(expected, output, metric))


def _not_a_pair(expected: str, output: Any, metric: str) -> str:
    return f"{metric} should be given {expected}, but given {_described(output)}; choose them in output_transform"


def _described(output: Any) -> str:
    """Describes an output for an error message."""
    if output is None:
        return "None (does the engine's step return its output?)"
    if isinstance(output, Tensor):
        return f"one tensor of shape {tuple(output.shape)}"
    if isinstance(output, int | float):
        return f"the number {output!r}"
    if isinstance(output, Sequence) and not isinstance(output, str):
        items = [
            f"a tensor of shape {tuple(item.shape)}" if isinstance(item, Tensor) else _kind(item)
            for item in output
        ]
        return f"{len(items)} items: {', '.join(items[:4])}{', ...' if len(items) > 4 else ''}"
    return _kind(output)


def _kind(item: Any) -> str:
    return "None" if item is None else f"a {type(item).__name__}"


def unroll(output: Any) -> list[Any]:
    """Returns the outputs to update with: usually ``[output]``.

    If the output consists of two lists of tensors or numbers, for example of images of different
    sizes, each pair of items is a batch of one.

    Raises:
        ValueError: the output consists of lists, but not of two of the same length.
    """
    if (type(output) is tuple and output and isinstance(output[0], Tensor)) or not _is_ragged(
        output
    ):
        return [output]
    if len(output) != 2 or len(output[0]) != len(output[1]):
        raise ValueError(
            "Output should have 2 items of the same length, but given "
            f"{len(output)} of length {[len(part) for part in output]}"
        )
    return [(_as_batch(y_pred, y), _as_batch(y, y_pred)) for y_pred, y in zip(*output, strict=True)]


def _is_ragged(output: Any) -> bool:
    if not isinstance(output, Sequence) or isinstance(output, str) or not output:
        return False
    return all(
        isinstance(part, list | tuple)
        and all(isinstance(item, Tensor | int | float) for item in part)
        for part in output
    )


def _as_batch(item: Tensor | float, other: Tensor | float) -> Tensor:
    """Returns a batch of one. A number becomes a tensor on the device of the other item."""
    if isinstance(item, Tensor):
        return item.unsqueeze(0)
    return torch.tensor([item], device=other.device if isinstance(other, Tensor) else None)
