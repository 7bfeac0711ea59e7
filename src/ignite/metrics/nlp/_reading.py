"""Reads texts and sentences from outputs, and refuses inputs that would silently yield a wrong score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from numbers import Integral
from typing import Any, TypeAlias

from torch import Tensor

from ignite.metrics._outputs import _check_length
from ignite.metrics.nlp.utils import bits_by_token
from ignite.metrics.statistics import Totals

Tokens: TypeAlias = Sequence[Any]
Sentences: TypeAlias = tuple[Sequence[Tokens], Sequence[Sequence[Tokens]]]
"""The candidates of a batch, and the references of each of them."""

_LISTS = {list, tuple}
_SPLIT = "split texts into tokens, for example with text.split(), and put a single one into a list"
_NESTED = "write [[reference] for reference in y] if each candidate has one reference"


def read_sentences(output: Any, metric: str) -> Sentences:
    """Returns the candidates, and the references of each of them, as lists or tuples of tokens.

    Raises:
        TypeError: ``output`` is not a pair, an item in it should be a list and is not, or a token
            cannot be compared with others.
        ValueError: ``output`` does not have two items, the number of candidates differs from that
            of lists of references, a candidate has no reference, or only candidates or only
            references are words.
    """
    _check_length(output, (2,), "(y_pred, y), candidates and for each a list of references", metric)
    candidates = _lists(output[0], "y_pred", "candidates", "tokens", _SPLIT)
    lists = _lists(output[1], "y", "lists of references", "references", f"{_SPLIT}; {_NESTED}")
    references = [
        _lists(each, f"y[{i}]", "references", "tokens", f"{_SPLIT}; {_NESTED}")
        for i, each in enumerate(lists)
    ]
    if len(candidates) != len(references):
        raise ValueError(
            "y_pred and y should have as many candidates as lists of references, "
            f"but given {len(candidates)} and {len(references)}"
        )
    if not all(references):
        raise ValueError(
            "Each candidate should have at least one reference, "
            f"but given y[{[len(each) for each in references].index(0)}] without any"
        )
    _check_tokens(candidates, list(chain.from_iterable(references)))
    return candidates, references


def is_order(value: Any) -> bool:
    """Returns whether ``value`` can be the order of n-grams."""
    return isinstance(value, Integral) and int(value) >= 1


def read_texts(
    output: Any, metric: str, *, takes_words: bool
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Returns predicted and true texts, the same number of each.

    Args:
        output: two strings, or two lists of strings of the same length.
        metric: its name, for error messages.
        takes_words: whether a text may also be a list of words.

    Raises:
        TypeError: ``output`` is not a pair of these.
        ValueError: ``output`` does not have two items, or the lists differ in length.
    """
    _check_length(output, (2,), "(y_pred, y), two strings or two lists of strings", metric)
    y_pred, y = output
    if isinstance(y_pred, str) and isinstance(y, str):
        return [y_pred], [y]
    texts = [_texts(y_pred, "y_pred", takes_words), _texts(y, "y", takes_words)]
    if len(texts[0]) != len(texts[1]):
        raise ValueError(
            "y_pred and y must have the same length, as many texts, "
            f"but given {len(texts[0])} and {len(texts[1])}"
        )
    if takes_words:
        _check_tokens(*([each for each in of if not isinstance(each, str)] for of in texts))
    return texts[0], texts[1]


def _texts(value: Any, name: str, takes_words: bool) -> Sequence[Any]:
    advice = "pass two strings, or two lists of strings; decode token ids and bytes"
    texts = _as_list(value, name, "texts", advice)
    if set(map(type, texts)) <= {str}:
        return texts
    found: list[Any] = []
    for i, text in enumerate(texts):
        if isinstance(text, str):
            found.append(text)
        elif takes_words:
            found.append(_as_list(text, f"{name}[{i}]", "words, or a string", advice))
        else:
            raise TypeError(f"{name}[{i}] should be a string, but given {_shown(text)}: {advice}")
    return found


def _lists(value: Any, name: str, content: str, of_items: str, advice: str) -> Sequence[Any]:
    """Returns a list of lists, or raises TypeError."""
    values = _as_list(value, name, content, advice)
    if set(map(type, values)) <= _LISTS:
        return values
    return [_as_list(each, f"{name}[{i}]", of_items, advice) for i, each in enumerate(values)]


def _as_list(value: Any, name: str, content: str, advice: str) -> Sequence[Any]:
    """Returns a list or tuple, or a list of the items of another sequence, such as an array."""
    if type(value) in _LISTS:
        return value  # type: ignore[no-any-return]
    if isinstance(value, Tensor):
        advice = "write tensor.tolist(), and remove padding"
    elif not isinstance(value, str | bytes | Mapping) and hasattr(value, "__getitem__"):
        return list(value)
    raise TypeError(f"{name} should be a list of {content}, but given {_shown(value)}: {advice}")


def _check_tokens(candidates: Iterable[Tokens], references: Iterable[Tokens]) -> None:
    """Raises unless tokens can be compared with each other."""
    kinds = {
        "y_pred": set(map(type, chain.from_iterable(candidates))),
        "y": set(map(type, chain.from_iterable(references))),
    }
    for name, found in kinds.items():
        for kind in found:
            if issubclass(kind, Tensor) or kind.__hash__ is None:
                raise TypeError(
                    f"Tokens in {name} should be strings or numbers, but given a {kind.__name__}: "
                    "write tensor.tolist() for tensors, and check how deep lists are nested"
                )
    are_words = [{issubclass(kind, str) for kind in found} for found in kinds.values()]
    if [True] in map(list, are_words) and [False] in map(list, are_words):
        names = [", ".join(sorted(kind.__name__ for kind in found)) for found in kinds.values()]
        raise ValueError(
            f"Tokens in y_pred and y should be of the same kind, but given {names[0]} and {names[1]}: "
            "decode token ids, or encode words"
        )


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the string {value if len(value) <= 40 else value[:37] + '...'!r}"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return (
        f"{value!r}"
        if value is None or isinstance(value, int | float)
        else f"a {type(value).__name__}"
    )


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Returns the number of insertions, deletions and substitutions that turn one sequence into the other.

    The algorithm represents a column of the dynamic programming table by the bits of two integers:
    the rows in which the distance rises by one, and those in which it falls by one.

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
    """Removes the common start and end of two sequences. The second result is not longer than the first."""
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
