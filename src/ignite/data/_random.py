"""Random numbers that are drawn apart: the generators of the process stand afterwards where they stood before.

Concerns what a data set or sampler draws from in the CPU's process: python's ``random``, torch's default generator, and
``numpy.random``. Generators of accelerators are left alone: to look at one waits for the device.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ignite.data._numpy_bits import exchange, numpy_or_none, put_back, release

__all__ = ["PrivateRandom", "random_scope", "seed_all"]


class random_scope:  # noqa: N801 - reads as a function: `with random_scope():`
    """Behind the block, the generators of the process stand where they stood before it.

    Args:
        seed: of 64 bits, to seed them with inside.

    Example:
        >>> _ = torch.manual_seed(1)
        >>> with random_scope(5):
        ...     inside = torch.rand(1)
        >>> outside = torch.rand(1)
        >>> _ = torch.manual_seed(1)
        >>> bool(torch.rand(1) == outside), bool(inside == outside)
        (True, False)
    """

    __slots__ = ("_outer", "_seed")

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._outer = _Outer()
        if self._seed is not None:
            seed_all(self._seed)

    def __exit__(self, *_: object) -> None:
        release(self._outer.put_back())


def seed_all(seed: int) -> None:
    """Seeds python's, torch's default, and numpy's generator; 7 us, where ``torch.manual_seed`` takes 170."""
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    numpy = numpy_or_none()
    if numpy is not None:
        numpy.random.seed(seed >> 32)  # the halves differ: torch's generator makes use of the lower 32 bits only


class PrivateRandom:
    """A stream of random numbers of its own, which goes on from block to block.

    Args:
        seed: of 64 bits; where the stream begins.
        generators: further generators that draw in the blocks, such as that of a sampler.

    Example:
        >>> mine = PrivateRandom(3)
        >>> with mine:
        ...     first = torch.rand(1)
        >>> with mine:
        ...     second = torch.rand(1)
        >>> with PrivateRandom(3):
        ...     bool((torch.rand(2) == torch.cat([first, second])).all())
        True
    """

    def __init__(self, seed: int, generators: Sequence[torch.Generator] = ()) -> None:
        self._seed = seed
        self._generators = tuple(generators)
        self._python: tuple[Any, ...] | None = None
        self._torch: torch.Tensor | None = None
        self._others: list[torch.Tensor] = []
        self._bits: Any = None  # numpy's; it is swapped, not copied

    def __enter__(self) -> PrivateRandom:
        self._outer = _Outer(self._bits)
        self._outer_others = [generator.get_state() for generator in self._generators]
        if self._python is None or self._torch is None:
            seed_all(self._seed)
            for generator in self._generators:
                generator.manual_seed(self._seed)
            return self
        random.setstate(self._python)
        torch.default_generator.set_state(self._torch)
        for generator, state in zip(self._generators, self._others, strict=True):
            generator.set_state(state)
        return self

    def __exit__(self, *_: object) -> None:
        self._python = random.getstate()
        self._torch = torch.default_generator.get_state()
        self._others = [generator.get_state() for generator in self._generators]
        self._bits = self._outer.put_back()
        for generator, state in zip(self._generators, self._outer_others, strict=True):
            generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands; numbers, strings, tuples and tensors only."""
        state: dict[str, Any] = {
            "seed": self._seed,
            "python": self._python,
            "torch": self._torch,
            "others": list(self._others),
        }
        if self._bits is not None:
            bits = self._bits.state["state"]
            state["numpy"] = {"key": torch.from_numpy(bits["key"].astype("int64")), "pos": int(bits["pos"])}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts the stream to where ``state_dict`` found it."""
        self._seed = state["seed"]
        version_key_gauss = state["python"]
        if version_key_gauss is not None:
            version, key, gauss = version_key_gauss
            self._python = (version, tuple(key), gauss)
        self._torch = state["torch"]
        self._others = list(state["others"])
        numpy = numpy_or_none()
        if numpy is not None and "numpy" in state:
            self._bits = numpy.random.MT19937()
            key = state["numpy"]["key"].numpy().astype("uint32")
            self._bits.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": state["numpy"]["pos"]}}


class _Outer:
    """Where the generators of the process stood when this was made. Numpy's is not copied but exchanged."""

    __slots__ = ("_numpy", "_python", "_torch")

    def __init__(self, bits: Any = None) -> None:
        self._python = random.getstate()
        self._torch = torch.default_generator.get_state()
        self._numpy = None if numpy_or_none() is None else exchange(bits)

    def put_back(self) -> Any:
        """Puts them back; returns numpy's generator that was there in the meantime."""
        random.setstate(self._python)
        torch.default_generator.set_state(self._torch)
        return None if self._numpy is None else put_back(self._numpy)
