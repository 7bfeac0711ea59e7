"""One seed out of several numbers: a seed for each epoch, batch or sample, far from those of its neighbours."""

__all__ = ["mix"]

_MASK = 2**64 - 1


def mix(seed: int, *numbers: int) -> int:
    """Makes one 64-bit seed out of a seed and numbers that say what it is for.

    A pure function, the same on every machine: the finaliser of splitmix64 is applied to the seed, then to the sum of
    the value so far and each number in turn. For one seed, different numbers in the last place never give the same
    value; in general two lists of numbers do so with a probability of 2**-64.

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
    value = _finalise(seed)
    for number in numbers:
        value = _finalise(value + number)
    return value


def _finalise(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
