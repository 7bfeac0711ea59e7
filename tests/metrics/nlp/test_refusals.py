"""Inputs that metrics of texts refuse; Ignite returns numbers for many of them."""

import numpy as np
import pytest
import torch

from ignite.engine import Engine
from ignite.metrics import Bleu, CharacterErrorRate, Rouge, RougeL, RougeN, WordErrorRate

WORDS = "the cat sat on the mat".split()  # noqa: SIM905 - a sentence
SENTENCE = " ".join(WORDS)
OF_SENTENCES = pytest.mark.parametrize(
    "make", [Bleu, lambda: Bleu(average="micro"), Rouge, lambda: RougeN(1), RougeL]
)


def refused(metric, output, error, words):
    """``output`` raises, says why, and changes nothing."""
    before = repr(metric.state_dict())
    with pytest.raises(error, match=words):
        metric.update(output)
    assert repr(metric.state_dict()) == before
    engine = Engine(lambda engine, batch: output)
    metric.attach(engine, "value")
    with pytest.raises(error, match=words):
        engine.run([0])


@OF_SENTENCES
@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        (None, TypeError, "should be given .*candidates.*None .*output_transform"),
        (SENTENCE, TypeError, "candidates and for each a list of references.*output_transform"),
        (([WORDS], [[WORDS]], 1), ValueError, "3 items.*choose them in output_transform"),
        ((SENTENCE, [[WORDS]]), TypeError, r"y_pred should be a list of candidates, but given .*text.split\(\)"),
        (([SENTENCE], [[SENTENCE]]), TypeError, r"y_pred\[0\] should be a list of tokens.*string 'the cat"),
        ((WORDS, [WORDS]), TypeError, r"y_pred\[0\] should be a list of tokens.*'the'.*put a single one into a list"),
        (([WORDS], [SENTENCE]), TypeError, r"y\[0\] should be a list of references, but given the string"),
        (([WORDS], [WORDS]), TypeError, r"y\[0\]\[0\] should be a list of tok.*\[\[reference\] for reference in y\]"),
        (([WORDS], [[SENTENCE]]), TypeError, r"y\[0\]\[0\] should be a list of tokens, but given the string"),
        (([[1, 2]], [[1, 2]]), TypeError, r"y\[0\]\[0\] should be a list of tokens, but given 1"),
        (([[WORDS]], [[WORDS]]), TypeError, "Tokens in y_pred should be strings or numbers, but given a list"),
        (([WORDS], [[[WORDS]]]), TypeError, "Tokens in y should be .*given a list.*how deep lists are nested"),
        (([{"a": 1}], [[WORDS]]), TypeError, r"y_pred\[0\] should be a list of tokens, but given a dict"),
        ((None, [[WORDS]]), TypeError, "y_pred should be a list of candidates, but given None"),
        (([WORDS], 3), TypeError, "y should be a list of lists of references, but given 3"),
        ((torch.ones(2, 3), [[WORDS]]), TypeError, r"shape \(2, 3\): write tensor.tolist\(\), and remove"),
        (([torch.tensor([1, 2])], [[[1, 2]]]), TypeError, r"y_pred\[0\] should be .* write tensor.tolist\(\)"),
        (([list(torch.tensor([1, 2]))], [[[1, 2]]]), TypeError, "Tokens in y_pred should be .* given a Tensor"),
        (([WORDS, WORDS], [[WORDS]]), ValueError, "as many candidates as lists of references, but given 2 and 1"),
        (([WORDS], []), ValueError, "as many candidates as lists of references, but given 1 and 0"),
        (([WORDS, WORDS], [[WORDS], []]), ValueError, r"at least one reference, but given y\[1\] without any"),
        (([WORDS], [[[1, 2]]]), ValueError, "of the same kind, but given str and int: decode token ids"),
    ],
)  # fmt: skip
def test_sentences(make, output, error, words):
    metric = make()
    metric.update(([WORDS], [[WORDS]]))
    refused(metric, output, error, words)


def test_long_strings_are_shown_in_part():
    with pytest.raises(
        TypeError, match=r"the string 'the cat sat on the mat the cat sat on\.\.\.'"
    ):
        Bleu().update(([SENTENCE + " " + SENTENCE], [[WORDS]]))


@OF_SENTENCES
def test_arrays_and_tuples_are_as_good_as_lists(make):
    metric, other = make(), make()
    metric.update((np.array([WORDS]), ((np.array(WORDS), tuple(WORDS[1:])),)))
    other.update(([WORDS], [[WORDS, WORDS[1:]]]))
    assert metric.compute() == other.compute()


OF_TEXTS = pytest.mark.parametrize("make", [CharacterErrorRate, WordErrorRate])


@OF_TEXTS
@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        (None, TypeError, "two strings or two lists of strings, but given None .*output_transform"),
        ((SENTENCE,), ValueError, "but given 1 items: a str; choose them in output_transform"),
        ((SENTENCE, SENTENCE, 1), ValueError, "but given 3 items"),
        (
            (SENTENCE, [SENTENCE]),
            TypeError,
            "y_pred should be a list of texts, but given the string",
        ),
        (([SENTENCE], SENTENCE), TypeError, "y should be a list of texts, but given the string"),
        ((b"a", b"a"), TypeError, "y_pred should be a list of texts, but given a bytes: .*decode"),
        (([b"a"], ["a"]), TypeError, r"y_pred\[0\] should be a .*, but given a bytes"),
        ((["a"], [1]), TypeError, r"y\[0\] should be a .*, but given 1: pass two strings"),
        ((["a"], [None]), TypeError, r"y\[0\] should be a .*, but given None"),
        (
            (torch.ones(2), ["a", "b"]),
            TypeError,
            r"y_pred should be a list of texts, .* tensor.tolist\(\)",
        ),
        (
            (["a"], ["a", "b"]),
            ValueError,
            "must have the same length, as many texts, but given 1 and 2",
        ),
    ],
)
def test_texts(make, output, error, words):
    metric = make()
    metric.update((SENTENCE, "the dog"))
    refused(metric, output, error, words)


def test_characters_in_lists_are_no_texts():
    refused(
        CharacterErrorRate(),
        ([["a"]], ["a"]),
        TypeError,
        r"y_pred\[0\] should be a string, but given a list",
    )


def test_words_that_are_no_strings_or_numbers():
    refused(WordErrorRate(), ([[["a"]]], [["a"]]), TypeError, "Tokens in y_pred .* given a list")
    refused(
        WordErrorRate(), ([[1]], [["a"]]), ValueError, "of the same kind, but given int and str"
    )
