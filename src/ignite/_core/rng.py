"""Random states, of the process and of generators of the program: seeded, captured, restored; derived seeds."""

import json
import random
import sys
from typing import Any, NotRequired, TypedDict

import torch

from ignite._core.optional import numpy_or_none
from ignite._core.torch_private import is_default_generator

__all__ = [
    "RandomState",
    "capture_random_state",
    "generator_state",
    "is_own_generator",
    "manual_seed",
    "mix",
    "restore_random_state",
    "seed_generator",
    "set_generator_state",
]

_MASK = 2**64 - 1


class RandomState(TypedDict):
    """The state of all random number generators of the process.

    Contains only numbers, strings, tuples, dictionaries and tensors, so that
    ``torch.load(weights_only=True)`` can load it.
    """

    python: tuple[Any, ...]
    torch: torch.Tensor
    numpy: NotRequired[dict[str, Any]]
    accelerator: NotRequired[dict[str, list[torch.Tensor]]]  # device type -> state of each device
    own: NotRequired[dict[str, Any]]  # states of the program's own generators, by name
    data: NotRequired[
        dict[str, Any]
    ]  # of other data that draw random numbers, such as those of an evaluation


def manual_seed(seed: int) -> None:
    """Seeds Python, torch on all devices, and numpy and torch_xla where they are installed.

    Args:
        seed: a non-negative integer. Numpy's generator uses the lowest 32 bits.

    Example:
        >>> manual_seed(7)
        >>> first = torch.rand(3)
        >>> manual_seed(7)
        >>> bool((torch.rand(3) == first).all())
        True
    """
    random.seed(seed)
    torch.manual_seed(seed)
    numpy = numpy_or_none()
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    try:
        import torch_xla.core.xla_model as xm
    except ModuleNotFoundError:
        return
    xm.set_rng_state(seed)  # pragma: no cover - needs torch_xla


def capture_random_state() -> RandomState:
    """Captures the state of the generators of Python, numpy, torch and all accelerators.

    Example:
        >>> state = capture_random_state()
        >>> first = random.random()
        >>> restore_random_state(state)
        >>> random.random() == first
        True
    """
    state = RandomState(python=random.getstate(), torch=torch.get_rng_state())
    numpy = numpy_or_none()
    if numpy is not None:
        state["numpy"] = _map_dict(
            numpy.random.get_state(legacy=False),
            # int64, because few operations of torch support uint32.
            lambda value: (
                torch.from_numpy(value.astype("int64"))
                if isinstance(value, numpy.ndarray)
                else value
            ),
        )
    device_type = _accelerator_type()
    if device_type is not None:
        state["accelerator"] = {device_type: _device_states(device_type)}
    return state


def restore_random_state(state: RandomState) -> None:
    """Restores the state that ``capture_random_state`` returned.

    States of generators that this machine does not have are skipped: of numpy, an accelerator, or
    some of its devices.

    Args:
        state: the result of ``capture_random_state``, on this machine or another.
    """
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"].cpu())
    numpy = numpy_or_none()
    if numpy is not None and "numpy" in state:
        numpy.random.set_state(
            _map_dict(
                state["numpy"],
                lambda value: (
                    value.cpu().numpy().astype("uint32")
                    if isinstance(value, torch.Tensor)
                    else value
                ),
            )
        )
    device_type = _accelerator_type()
    if device_type is not None:
        _set_device_states(device_type, state.get("accelerator", {}).get(device_type, []))


def _accelerator_type() -> str | None:
    """Returns the type of the accelerator, such as ``cuda`` or ``mps``; None without one."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return None if accelerator is None else accelerator.type


def _device_states(device_type: str) -> list[torch.Tensor]:
    module = torch.get_device_module(device_type)
    if hasattr(module, "get_rng_state_all"):
        return list(module.get_rng_state_all())
    return [module.get_rng_state()]  # mps, which has one device


def _set_device_states(device_type: str, states: list[torch.Tensor]) -> None:
    module = torch.get_device_module(device_type)
    if not hasattr(module, "get_rng_state_all"):
        for state in states[:1]:
            module.set_rng_state(state.cpu())
        return
    for i, state in enumerate(states[: module.device_count()]):
        module.set_rng_state(state.cpu(), i)


def _map_dict(x: dict[str, Any], func: Any) -> dict[str, Any]:
    return {
        key: _map_dict(value, func) if isinstance(value, dict) else func(value)
        for key, value in x.items()
    }


def is_own_generator(value: Any) -> bool:
    """Returns whether a value is a generator of torch, Python or numpy, but not a global one.

    Example:
        >>> is_own_generator(random.Random(1)), is_own_generator(torch.default_generator)
        (True, False)
    """
    if isinstance(value, torch.Generator):
        return not is_default_generator(value)
    if isinstance(value, random.Random):
        is_global = value is getattr(random.random, "__self__", None)
        return not is_global and not isinstance(value, random.SystemRandom)
    numpy = sys.modules.get("numpy")  # without it, there are no generators of it
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


def seed_generator(generator: Any, seed: int) -> None:
    """Seeds a generator of torch, Python or numpy with a 64-bit integer.

    Example:
        >>> one, other = random.Random(1), random.Random(2)
        >>> seed_generator(one, 3), seed_generator(other, 3)
        (None, None)
        >>> one.random() == other.random()
        True
    """
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, random.Random):
        generator.seed(seed)
    elif hasattr(generator, "set_state"):  # numpy's RandomState
        generator.seed([seed & 0xFFFFFFFF, seed >> 32])
    else:
        generator.bit_generator.state = type(generator.bit_generator)(seed).state


def mix(seed: int, *numbers: int) -> int:
    """Derives a 64-bit seed from a seed and the numbers that it belongs to.

    A pure function, the same on every machine: the finalizer of splitmix64 is applied to the seed,
    then to the sum of the value so far and each number in turn. For one seed, different last
    numbers never give the same value; two lists of numbers in general collide with a probability of
    2**-64.

    Args:
        seed: any integer; only its lowest 64 bits count, as for ``numbers``.
        numbers: epoch, batch, rank, ...; their order matters.

    Example:
        >>> mix(0, 1) == mix(0, 1), mix(0, 1) == mix(0, 2), mix(0, 1, 2) == mix(0, 2, 1)
        (True, False, False)
        >>> hex(mix(0))
        '0xe220a8397b1dcdaf'

    References:
        Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014,
        https://doi.org/10.1145/2660193.2660195
    """
    value = _finalize(seed)
    for number in numbers:
        value = _finalize(value + number)
    return value


def _finalize(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
