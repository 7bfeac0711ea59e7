"""The edit distance of two sequences, and what error rates count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ignite.metrics.nlp.utils import bits_by_token
from ignite.metrics.statistics import Totals


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Returns how many insertions, deletions and substitutions make one sequence the other.

    The algorithm handles a column of the table of dynamic programming as the bits of two integers:
    where the distance rises by one from a row to the next, and where it falls by one.

    Example:
        >>> edit_distance("kitten", "sitting")
        3

    References:
        Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic
        programming", 1999. Hyyro, "A bit-vector algorithm for computing Levenshtein and Damerau
        edit distances", 2003.
    """
    if a == b:
        return 0
    a, b = _without_common_ends(*((a, b) if len(a) >= len(b) else (b, a)))
    if not b:
        return len(a)
    positions = bits_by_token(a)
    full = (1 << len(a)) - 1
    rises, falls = full, 0
    for token in b:
        equal = positions.get(token, 0) | falls
        # Cells that equal the one diagonally before them.
        diagonal = ((((equal & rises) + rises) ^ rises) | equal) & full
        across = ((falls | (full ^ (diagonal | rises))) << 1) | 1  # rises from the last column
        rises = (((diagonal & rises) << 1) | ~(diagonal | across)) & full
        falls = diagonal & across
    return len(b) + rises.bit_count() - falls.bit_count()


def _without_common_ends(a: Sequence[Any], b: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Returns two sequences, the second of which is not longer, without their common ends."""
    start = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        start += 1
    end, most = 0, len(b) - start
    while end < most and a[-1 - end] == b[-1 - end]:
        end += 1
    return a[start : len(a) - end], b[start : len(b) - end]


def count_errors(
    texts: tuple[Sequence[Any], Sequence[Any]], split: Callable[[Any], Sequence[Any]]
) -> tuple[int, int, int]:
    """Returns the numbers of texts, of errors in predicted ones, and of tokens in true ones."""
    num_errors = num_tokens = 0
    for predicted, true in zip(*texts, strict=True):
        tokens = split(true)
        num_errors += edit_distance(split(predicted), tokens)
        num_tokens += len(tokens)
    return len(texts[0]), num_errors, num_tokens


def error_rate(totals: Totals) -> float:
    """Returns errors per token of true texts. Without such a token, 1 if there are errors, else 0."""
    num_errors, num_tokens = (int(total) for total in totals.values)
    return num_errors / num_tokens if num_tokens else float(num_errors > 0)
