"""Seeds for epochs, batches and samples, and random numbers that do not affect the program's.

Covers the generators that datasets and samplers draw from on the CPU: Python's ``random``, torch's
default generator and ``numpy.random``. Generators of accelerators are not touched, because reading
their state waits for the device.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ignite._core.optional import numpy_or_none
from ignite._core.rng import mix

__all__ = ["PrivateRandom", "mix", "random_scope", "seed_all"]


class random_scope:  # noqa: N801 - reads as a function: `with random_scope():`
    """Restores the program's generators at the end of the block.

    Args:
        seed: 64-bit seed for the generators inside of the block; None to leave them in an unknown
            state there.

    Example:
        >>> _ = torch.manual_seed(1)
        >>> with random_scope(5):
        ...     inside = torch.rand(1)
        >>> outside = torch.rand(1)
        >>> _ = torch.manual_seed(1)
        >>> bool(torch.rand(1) == outside), bool(inside == outside)
        (True, False)
    """

    __slots__ = ("_program", "_seed")

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._program = _ProgramState()
        if self._seed is not None:
            seed_all(self._seed)

    def __exit__(self, *_: object) -> None:
        _release(self._program.restore())


def seed_all(seed: int) -> None:
    """Seeds the generators of Python, torch and numpy, 20 times faster than ``torch.manual_seed``."""
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    numpy = numpy_or_none()
    if numpy is not None:
        # The upper half, since torch's generator uses only the lower one.
        numpy.random.seed(seed >> 32)


class PrivateRandom:
    """A separate stream of random numbers, which continues from block to block.

    Args:
        seed: 64-bit seed of the stream.
        generators: other generators that are used in the blocks, such as that of a sampler.

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
        self._bits: Any = None  # numpy's generator, which is swapped, not copied

    def __enter__(self) -> PrivateRandom:
        self._program = _ProgramState(self._bits)
        self._program_others = [generator.get_state() for generator in self._generators]
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
        self._bits = self._program.restore()
        for generator, state in zip(self._generators, self._program_others, strict=True):
            generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the stream, made of numbers, strings, tuples and tensors."""
        state: dict[str, Any] = {
            "seed": self._seed,
            "python": self._python,
            "torch": self._torch,
            "others": list(self._others),
        }
        if self._bits is not None:
            bits = self._bits.state["state"]
            state["numpy"] = {
                "key": torch.from_numpy(bits["key"].astype("int64")),
                "pos": int(bits["pos"]),
            }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state of the stream."""
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
            self._bits.state = {
                "bit_generator": "MT19937",
                "state": {"key": key, "pos": state["numpy"]["pos"]},
            }


class _ProgramState:
    """The state of the program's generators when this was created.

    Numpy's generator is swapped for another one.
    """

    __slots__ = ("_numpy", "_python", "_torch")

    def __init__(self, bits: Any = None) -> None:
        self._python = random.getstate()
        self._torch = torch.default_generator.get_state()
        self._numpy = None if numpy_or_none() is None else _exchange(bits)

    def restore(self) -> Any:
        """Restores the generators; returns the generator that numpy used in the meantime."""
        random.setstate(self._python)
        torch.default_generator.set_state(self._torch)
        return None if self._numpy is None else _restore(self._numpy)


_spare: list[Any] = []  # creating a generator takes longer than everything else here


class _Exchanged(NamedTuple):
    """The program's generator, and its full state if ``numpy.random`` has cached a normal number."""

    bits: Any
    state: dict[str, Any] | None


def _exchange(new: Any = None) -> _Exchanged:
    """Makes ``numpy.random`` use another generator: ``new``, or one that is still to be seeded.

    An exchange leaves the program's generator as it is. But normal numbers are drawn in pairs, and
    ``numpy.random`` forgets the second one when its generator changes. So if there is one, the full
    state has to be restored.
    """
    numpy = numpy_or_none()
    bits = numpy.random.get_bit_generator()
    state = numpy.random.get_state(legacy=False)
    if new is None:
        new = _spare.pop() if _spare else numpy.random.MT19937(0)
    numpy.random.set_bit_generator(new)
    return _Exchanged(bits, state if state["has_gauss"] else None)


def _restore(old: _Exchanged) -> Any:
    """Makes ``numpy.random`` use the program's generator again.

    Returns the one it used in the meantime.
    """
    numpy = numpy_or_none()
    new = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(old.bits)
    if old.state is not None:
        numpy.random.set_state(old.state)
    return new


def _release(bits: Any) -> None:
    """Keeps a generator that is no longer needed for the next exchange."""
    if bits is not None:
        _spare.append(bits)
