"""Values as short text, for log lines."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import torch

__all__ = ["to_str_list"]

_MAX_ELEMENTS = 10


def to_str_list(data: Any) -> list[str]:
    """Formats numbers, tensors and nested containers of them for a line of text.

    Numbers have 4 decimals; entries of a dictionary read ``key: value``; of a 1-d tensor the first 10 elements are
    shown, of one with more dimensions the shape. None and empty lists have no text of their own.

    Example:
        >>> to_str_list({"loss": 0.5, "sizes": [1, 2], "none": None, "image": torch.zeros(3, 8, 8)})
        ['loss: 0.5000', 'sizes: 1.0000, 2.0000', 'none: ', 'image: Shape[3, 8, 8]']
    """
    if data is None:
        return []
    if isinstance(data, Mapping):
        return [f"{key}: {', '.join(to_str_list(value))}" for key, value in data.items()]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [text for value in data for text in to_str_list(value)]
    if isinstance(data, torch.Tensor):
        return [_format_tensor(data)]
    if isinstance(data, numbers.Number):
        return [f"{data:.4f}"]
    return [str(data)]


def _format_tensor(tensor: torch.Tensor) -> str:
    if tensor.ndim == 0:
        return f"{tensor.item():.4f}"
    if tensor.ndim > 1:
        return f"Shape{list(tensor.shape)}"
    texts = [f"{value:.4f}" for value in tensor[:_MAX_ELEMENTS].tolist()]
    if len(tensor) > _MAX_ELEMENTS:
        texts.append("...")
    return f"[{', '.join(texts)}]"
