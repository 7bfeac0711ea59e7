"""N-grams and longest common subsequences of sequences of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

__all__ = ["lcs", "modified_precision", "ngrams"]


def ngrams(sequence: Sequence[Any], n: int) -> Counter[tuple[Any, ...]]:
    """Counts the n-grams of a sequence.

    Raises:
        ValueError: ``n`` is less than 1.

    Example:
        >>> ngrams(["a", "b", "a", "b"], 2)
        Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    if n < 1:
        raise ValueError(f"n should be at least 1, but given {n}")
    return Counter(zip(*(sequence[i:] for i in range(n)), strict=False))


def lcs(seq_a: Sequence[Any], seq_b: Sequence[Any]) -> int:
    """Returns the length of the longest common subsequence.

    The algorithm represents a row of the dynamic programming table by the bits of one integer.

    Example:
        >>> lcs("the cat sat down".split(), "the dog sat down".split())
        3

    References:
        Crochemore et al., "A fast and practical bit-vector algorithm for the longest common
        subsequence problem", 2001. Hyyro, "Bit-parallel LCS-length computation revisited", 2004.
    """
    if len(seq_a) < len(seq_b):
        seq_a, seq_b = seq_b, seq_a  # the number of steps is the length of the second sequence
    positions = bits_by_token(seq_a)
    row = full = (1 << len(seq_a)) - 1
    for token in seq_b:
        matches = row & positions.get(token, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(seq_a) - row.bit_count()


def bits_by_token(sequence: Iterable[Hashable]) -> dict[Hashable, int]:
    """Returns the positions of each token, as the bits of an integer."""
    positions: dict[Hashable, int] = {}
    bit = 1
    for token in sequence:
        positions[token] = positions.get(token, 0) | bit
        bit <<= 1
    return positions


def modified_precision(
    references: Sequence[Sequence[Any]], candidate: Sequence[Any], n: int
) -> tuple[int, int]:
    """Returns the numerator and the denominator of the modified n-gram precision of BLEU.

    An n-gram of the candidate counts as matched at most as often as it occurs in one reference.

    Returns:
        The number of matched n-grams of the candidate, and the number of all of them. Both are 0
        if there is no reference, or the candidate has fewer than ``n`` tokens.

    Example:
        >>> modified_precision([["the", "cat"], ["the", "the"]], ["the", "the", "the"], 1)
        (2, 3)
    """
    total = max(len(candidate) - n + 1, 0)
    return (num_matches(references, candidate, n) if total else 0), total


def num_matches(references: Iterable[Sequence[Any]], candidate: Sequence[Any], n: int) -> int:
    """Returns how many n-grams of the candidate match a reference, as in BLEU."""
    distinct = set(_ngrams_of(candidate, n))
    if len(distinct) == len(candidate) - n + 1:  # without repeated n-grams, counting is faster
        return len(
            distinct.intersection(chain.from_iterable(_ngrams_of(each, n) for each in references))
        )
    most: dict[Any, int] = {}
    for reference in references:
        for ngram, count in Counter(
            filter(distinct.__contains__, _ngrams_of(reference, n))
        ).items():
            most[ngram] = max(count, most.get(ngram, 0))
    counts = Counter(_ngrams_of(candidate, n))
    return sum(min(count, counts[ngram]) for ngram, count in most.items())


def _ngrams_of(sequence: Sequence[Any], n: int) -> Iterator[Any]:
    """Iterates over the n-grams; for ``n=1`` over the tokens, which is faster."""
    return iter(sequence) if n == 1 else zip(*(sequence[i:] for i in range(n)), strict=False)
