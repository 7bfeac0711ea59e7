"""From what an engine puts out to what a metric is updated with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def identity(output: Any) -> Any:
    """The output as it is. A function with a name, so that metrics can be pickled."""
    return output


def pick(output: Mapping[str, Any], keys: Sequence[str] | None, metric: str) -> tuple[Any, ...]:
    """The values of ``keys``.

    Raises:
        TypeError: ``keys`` is None: the metric takes no mappings.
        ValueError: a key is missing.
    """
    if keys is None:
        raise TypeError(
            f"Transformed engine output for {metric} metric should be a tuple/list, but given {type(output)}"
        )
    if any(key not in output for key in keys):
        raise ValueError(
            f"When transformed engine's output is a mapping, it should contain {keys} keys, but given {list(output)}"
        )
    return tuple(output[key] for key in keys)


def unroll(output: Any) -> list[Any]:
    """The output alone; but each pair of items as a batch of one, if it consists of two lists of tensors or numbers.

    Such lists are batches of items whose sizes differ, that no tensor could hold.

    Raises:
        ValueError: it consists of other than two lists of the same length.
    """
    if (type(output) is tuple and output and isinstance(output[0], Tensor)) or not _is_ragged(output):
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
        isinstance(part, list | tuple) and all(isinstance(item, Tensor | int | float) for item in part)
        for part in output
    )


def _as_batch(item: Tensor | float, other: Tensor | float) -> Tensor:
    """A batch of one; of a number, where the other item is."""
    if isinstance(item, Tensor):
        return item.unsqueeze(0)
    return torch.tensor([item], device=other.device if isinstance(other, Tensor) else None)
