"""Random number generators that a program has made for itself: their states, saved and restored."""

from __future__ import annotations

import json
import random
from typing import Any

import torch

from ignite._core.optional import numpy_or_none

__all__ = ["generator_state", "is_own_generator", "set_generator_state"]


def is_own_generator(value: Any) -> bool:
    """Returns whether a value is a generator of torch, Python or numpy, but not a global one.

    Example:
        >>> is_own_generator(random.Random(1)), is_own_generator(torch.default_generator)
        (True, False)
    """
    if isinstance(value, torch.Generator):
        defaults = (torch.default_generator, *torch.cuda.default_generators)
        return not any(value is one for one in defaults)
    if isinstance(value, random.Random):
        is_global = value is getattr(random.random, "__self__", None)
        return not is_global and not isinstance(value, random.SystemRandom)
    numpy = numpy_or_none()
    if numpy is None or not isinstance(value, numpy.random.Generator | numpy.random.RandomState):
        return False
    return value is not getattr(numpy.random.random, "__self__", None)


def generator_state(generator: Any) -> Any:
    """Returns the state of a generator: a tensor for one of torch, else a string.

    Example:
        >>> generator = random.Random(3)
        >>> state, first = generator_state(generator), generator.random()
        >>> set_generator_state(generator, state)
        >>> generator.random() == first
        True
    """
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return json.dumps(generator.getstate())
    state = (
        generator.get_state(legacy=False)
        if hasattr(generator, "get_state")
        else generator.bit_generator.state
    )
    # Its integers are too large for other formats.
    return json.dumps(state, default=lambda array: array.tolist())


def set_generator_state(generator: Any, state: Any) -> None:
    """Sets the state that ``generator_state`` returned for a generator of this kind.

    Raises:
        ValueError: the state is of another kind of generator.
    """
    if isinstance(generator, torch.Generator) != isinstance(state, torch.Tensor):
        raise ValueError(
            "state should be of the same kind of generator, but given a "
            f"{type(state).__name__} for a {type(generator).__name__}"
        )
    if isinstance(generator, torch.Generator):
        generator.set_state(state.cpu())
        return
    found = json.loads(state)
    if isinstance(generator, random.Random):
        version, numbers, gauss = found
        generator.setstate((version, tuple(numbers), gauss))
    elif hasattr(generator, "set_state"):
        generator.set_state(found)
    else:
        generator.bit_generator.state = found
