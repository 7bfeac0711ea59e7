"""Another generator behind ``numpy.random`` for a while, at 3 us instead of the 100 that copying its state takes.

``numpy.random.set_bit_generator`` exchanges the source of random bits, and keeps its position. But it forgets the one
number that the functions themselves keep: normal numbers are made in pairs, and the second waits for the next call.
Whether there is one, only a full copy of the state tells, or a draw: if the position has not moved by it, the number
was the one that had waited. The draw is undone through the memory of the generator, whose address numpy gives.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

__all__ = ["Exchanged", "exchange", "numpy_or_none", "put_back", "release"]

_SIZE = 624 * 4 + 4  # the key of a Mersenne twister, and the position in it

_spare: list[Any] = []  # to make a generator takes 120 us


class Exchanged(NamedTuple):
    """The program's generator, and its full state if it has a number waiting."""

    bits: Any
    state: dict[str, Any] | None


def exchange(new: Any = None) -> Exchanged:
    """Puts another generator behind ``numpy.random``: ``new``, or one in an unknown state, to be seeded."""
    numpy = numpy_or_none()
    bits = numpy.random.get_bit_generator()
    state = _state_with_waiting(bits)
    if new is None:
        new = _spare.pop() if _spare else numpy.random.MT19937(0)
    numpy.random.set_bit_generator(new)
    return Exchanged(bits, state)


def put_back(old: Exchanged) -> Any:
    """Puts the program's generator back, and returns the other one."""
    numpy = numpy_or_none()
    new = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(old.bits)
    if old.state is not None:
        numpy.random.set_state(old.state)
    return new


def release(bits: Any) -> None:
    """A generator that :func:`exchange` has made is not needed any more."""
    if bits is not None:
        _spare.append(bits)


def _state_with_waiting(bits: Any) -> dict[str, Any] | None:
    """The state behind ``numpy.random`` if a normal number is waiting, else None. The position stays as it is."""
    numpy = numpy_or_none()
    if type(bits) is not numpy.random.MT19937 or not _is_memory_known():
        state: dict[str, Any] = numpy.random.get_state(legacy=False)
        return state if state["has_gauss"] else None
    address = bits.ctypes.state_address
    before = ctypes.string_at(address, _SIZE)
    drawn = numpy.random.standard_normal()
    if ctypes.string_at(address, _SIZE) != before:
        ctypes.memmove(address, before, _SIZE)
        return None
    state = numpy.random.get_state(legacy=False)
    return state | {"has_gauss": 1, "gauss": drawn}


@functools.cache
def _is_memory_known() -> bool:
    """Whether the memory of a generator is laid out as this module takes it to be."""
    bits = numpy_or_none().random.MT19937(1)
    state = bits.state["state"]
    expected = state["key"].tobytes() + int(state["pos"]).to_bytes(4, "little")
    return bool(ctypes.string_at(bits.ctypes.state_address, _SIZE) == expected)


@functools.cache
def numpy_or_none() -> Any:
    """Numpy, if it is installed."""
    try:
        import numpy
    except ModuleNotFoundError:
        return None
    return numpy
