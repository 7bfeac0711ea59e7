"""Equivalents of private functions of Ignite that programs call. Nothing in the library uses them.

Programs find them in Ignite's modules, through :mod:`ignite.contrib.old_paths`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite._core.calls import name_of, signature_of
from ignite._core.rng import capture_random_state, restore_random_state
from ignite._core.trees import apply_to_tensor

__all__ = [
    "_check_signature",
    "_detach_hidden",
    "_get_rng_states",
    "_is_list_of_tensors_or_numbers",
    "_set_rng_states",
    "_to_batched_tensor",
    "_to_hours_mins_secs",
]


def _check_signature(
    fn: Callable[..., Any], fn_description: str, *args: Any, **kwargs: Any
) -> None:
    """Raises if ``fn`` cannot be called with these arguments.

    Raises:
        ValueError: the arguments do not fit the signature.
    """
    signature = signature_of(fn)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        given = [*args, *kwargs]
        raise ValueError(
            f"Error adding {name_of(fn)} '{fn_description}': takes parameters "
            f"{list(signature.parameters)} but will be called with {given} ({error})"
        ) from None


def _to_hours_mins_secs(time_taken: float) -> tuple[int, int, float]:
    """Splits seconds into hours, minutes and seconds.

    Example:
        >>> _to_hours_mins_secs(3661.5)
        (1, 1, 1.5)
    """
    minutes, seconds = divmod(time_taken, 60)
    hours, minutes = divmod(minutes, 60)
    return int(hours), int(minutes), seconds


def _get_rng_states() -> list[Any]:
    """Returns the random states of Python, torch and, if it is loaded, NumPy."""
    state = capture_random_state()
    return [state["python"], state["torch"], state.get("numpy")]


def _set_rng_states(rng_states: Sequence[Any]) -> None:
    """Restores what ``_get_rng_states`` returned, here or in Ignite."""
    python, cpu, *others = rng_states
    version, internal, gauss = python
    python = (version, tuple(internal), gauss)
    random.Random().setstate(python)  # raises before anything changes
    state: dict[str, Any] = {"python": python, "torch": cpu}
    numpy_state = others[0] if others else None
    if isinstance(numpy_state, Mapping):
        state["numpy"] = numpy_state
    restore_random_state(state)  # type: ignore[arg-type]
    if isinstance(numpy_state, tuple):  # Ignite's form
        import numpy

        numpy.random.set_state(numpy_state)


def _detach_hidden(hidden: Any) -> Any:
    """Detaches all tensors of a hidden state."""
    return apply_to_tensor(hidden, Tensor.detach)


def _is_list_of_tensors_or_numbers(x: Any) -> bool:
    """Whether ``x`` is a sequence, and each element a tensor or a number."""
    return isinstance(x, Sequence) and all(isinstance(e, Tensor | int | float) for e in x)


def _to_batched_tensor(x: Tensor | float, device: str | torch.device | None = None) -> Tensor:
    """Converts a number or a tensor of one sample to a batch of one sample."""
    if isinstance(x, Tensor):
        return x.unsqueeze(0)
    return torch.tensor([x], device=device)
