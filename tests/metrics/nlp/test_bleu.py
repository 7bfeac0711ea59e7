import math
import warnings

import pytest
import sacrebleu
import torch
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu

from ignite.metrics import Bleu
from support.text_oracles import corpora

OF_NLTK = {
    "no_smooth": SmoothingFunction().method0,
    "smooth1": SmoothingFunction().method1,
    "nltk_smooth2": SmoothingFunction().method2,
}
OF_SACREBLEU = {"no_smooth": ("none", None), "smooth1": ("floor", 0.1), "smooth2": ("add-k", 1)}
ORDERS = st.integers(1, 5)


def value_of(corpus, *args, **kwargs):
    metric = Bleu(*args, **kwargs)
    half = len(corpus[0]) // 2
    for batch in (slice(half), slice(half, None)):
        metric.update((corpus[0][batch], corpus[1][batch]))
    return metric.compute()


def by_sacrebleu(candidates, references, order, smooth):
    most = max(map(len, references))
    method, value = OF_SACREBLEU[smooth]
    metric = sacrebleu.metrics.BLEU(
        tokenize="none", smooth_method=method, smooth_value=value, max_ngram_order=order, force=True
    )
    streams = [[" ".join(each[i % len(each)]) for each in references] for i in range(most)]
    return metric.corpus_score([" ".join(each) for each in candidates], streams).score / 100


@given(corpora(), ORDERS, st.sampled_from(sorted(OF_NLTK)))
def test_of_sentences_it_is_the_mean_of_nltk(corpus, order, smooth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scores = [
            sentence_bleu(references, candidate, (1 / order,) * order, OF_NLTK[smooth])
            for candidate, references in zip(*corpus, strict=True)
        ]
    value = value_of(corpus, order, smooth)
    assert isinstance(value, torch.Tensor)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(sum(scores) / len(scores), abs=1e-12)


@given(corpora(min_size=5), ORDERS, st.sampled_from(sorted(OF_NLTK)))
def test_of_a_corpus_it_is_that_of_nltk(corpus, order, smooth):
    """Of a candidate that is too short for an n-gram, nltk counts one that does not match."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = corpus_bleu(corpus[1], corpus[0], (1 / order,) * order, OF_NLTK[smooth])
    value = value_of(corpus, order, smooth, average="micro")
    assert value == pytest.approx(expected, abs=1e-12)


@given(corpora(min_size=1), ORDERS)
def test_of_a_corpus_it_is_that_of_sacrebleu(corpus, order):
    value = value_of(corpus, order, average="micro")
    assert value == pytest.approx(by_sacrebleu(*corpus, order, "no_smooth"), abs=1e-12)


@given(corpora(min_size=5), ORDERS, st.sampled_from(sorted(OF_SACREBLEU)))
def test_smoothed_it_is_that_of_sacrebleu_if_any_token_matches(corpus, order, smooth):
    value = value_of(corpus, order, smooth, average="micro")
    has_match = any(
        set(candidate) & set().union(*references)
        for candidate, references in zip(*corpus, strict=True)
    )
    expected = by_sacrebleu(*corpus, order, smooth) if has_match else 0.0
    assert value == pytest.approx(expected, abs=1e-12)


def test_short_candidates_are_smoothed_in_two_ways():
    one = ([["a"]], [[["a"]]])
    assert value_of(one, 4, "smooth2") == 1.0
    assert value_of(one, 4, "nltk_smooth2").item() == pytest.approx(0.5**0.75)
    assert value_of(one, 4, "smooth1").item() == pytest.approx(0.1**0.75)
    assert value_of(one, 4) == 0.0


def test_of_references_as_close_the_shorter_counts():
    corpus = ([list("aaaa")], [[list("aaaaa"), list("aaa")]])
    assert value_of(corpus, 1, average="micro") == 1.0
    corpus = ([list("aaaa")], [[list("aaaaa"), list("aa")]])
    assert value_of(corpus, 1, average="micro") == pytest.approx(math.exp(1 - 5 / 4))


def test_what_is_empty_scores_0():
    for corpus in (([[]], [[["a"]]]), ([["a"]], [[[]]]), ([[]], [[[]]])):
        for average in ("macro", "micro"):
            assert value_of(corpus, 4, "smooth1", average=average) == 0.0


def test_tokens_may_be_numbers_and_lists_tuples():
    assert value_of(([(1, 2, 3, 4)], [([1, 2, 3, 4], (5,))])) == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ngram": 0}, "ngram should be an integer of at least 1, but given 0"),
        ({"ngram": 1.5}, "ngram should be an integer of at least 1, but given 1.5"),
        ({"smooth": "smooth3"}, "smooth should be one of .*'smooth2'.*, but given 'smooth3'"),
        ({"average": "mean"}, "average should be 'macro' or 'micro', but given 'mean'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Bleu(**arguments)


def test_its_arguments_can_be_read():
    metric = Bleu(2, "smooth1", average="micro")
    assert (metric.ngrams_order, metric.weights, metric.smooth, metric.average) == (
        2,
        [0.5, 0.5],
        "smooth1",
        "micro",
    )
