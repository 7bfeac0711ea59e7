"""N-grams, common subsequences and edit distances, compared with tables filled cell by cell."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nltk.translate.bleu_score import modified_precision as precision_of_nltk
from nltk.util import ngrams as ngrams_of_nltk

from ignite.metrics.nlp._reading import edit_distance
from ignite.metrics.nlp.utils import lcs, modified_precision, ngrams
from support.text_oracles import common_length, levenshtein, sequences

LONG = st.text("ab", min_size=60, max_size=140)  # longer than a digit of Python's integers


@given(sequences(), sequences())
def test_lcs_is_that_of_the_table(a, b):
    assert lcs(a, b) == lcs(b, a) == common_length(a, b)


@given(sequences(), sequences())
@example([], [])
@example(["a"], [])
@example(list("aab"), list("ab"))
def test_the_edit_distance_is_that_of_the_table(a, b):
    assert edit_distance(a, b) == edit_distance(b, a) == levenshtein(a, b)


@given(LONG, LONG)
def test_so_are_those_of_long_strings(a, b):
    assert lcs(a, b) == common_length(a, b)
    assert edit_distance(a, b) == levenshtein(a, b)


@given(st.text("abc é😀", max_size=20), st.text("abc é😀", max_size=20))
def test_characters_are_code_points(a, b):
    assert edit_distance(a, b) == levenshtein(a, b)


@given(sequences(), st.integers(1, 5))
def test_ngrams_are_those_of_nltk(sequence, n):
    assert ngrams(sequence, n) == Counter(ngrams_of_nltk(sequence, n))


@given(st.lists(sequences(), min_size=1, max_size=3), sequences(), st.integers(1, 5))
@example([["a", "a"], ["a"]], ["a", "a"], 1)
def test_modified_precision_is_that_of_nltk(references, candidate, n):
    found, total = modified_precision(references, candidate, n)
    expected = precision_of_nltk(references, candidate, n)
    assert (found, max(total, 1)) == (expected.numerator, expected.denominator)


def test_short_sequences_have_no_ngrams():
    assert ngrams(["a"], 2) == Counter()
    assert modified_precision([["a", "b"]], ["a"], 2) == (0, 0)
    assert modified_precision([], ["a"], 1) == (0, 1)
    with pytest.raises(ValueError, match="at least 1, but given 0"):
        ngrams(["a"], 0)
