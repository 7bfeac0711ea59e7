import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from ignite.engine import Engine
from ignite.metrics import Metric, Rouge, RougeL, RougeN
from ignite.metrics.nlp.rouge import (
    MultiRefAverageReducer,
    MultiRefBestReducer,
    MultiRefReducer,
    Score,
    compute_lcs_scores,
    compute_ngram_scores,
)
from support.text_oracles import common_length, corpora, sequences


class WhiteSpace:
    def tokenize(self, text):
        return text.split()


NAMES = {"rouge1": "Rouge-1", "rouge2": "Rouge-2", "rouge4": "Rouge-4", "rougeL": "Rouge-L"}
SCORER = RougeScorer(list(NAMES), tokenizer=WhiteSpace())


def by_scorer(candidate, reference):
    """Of one pair: (variant, letter) -> score; the F-score is that of alpha = 0.5."""
    found = SCORER.score(" ".join(reference), " ".join(candidate))
    return {
        f"{NAMES[name]}-{letter}": value
        for name, score in found.items()
        for letter, value in zip("PRF", score, strict=True)
    }


def mean_of(scores):
    return pytest.approx(
        {key: sum(each[key] for each in scores) / len(scores) for key in scores[0]}, abs=1e-12
    )


def value_of(metric, corpus):
    half = len(corpus[0]) // 2
    for batch in (slice(half), slice(half, None)):
        metric.update((corpus[0][batch], corpus[1][batch]))
    return metric.compute()


@given(corpora(max_references=1), st.sampled_from(["average", "best"]))
def test_it_is_the_mean_of_rouge_score(corpus, multiref):
    scores = [
        by_scorer(candidate, reference) for candidate, (reference,) in zip(*corpus, strict=True)
    ]
    assert value_of(Rouge(multiref=multiref, alpha=0.5), corpus) == mean_of(scores)
    for metric, variant in ((RougeN(2, alpha=0.5), "2"), (RougeL(alpha=0.5), "L")):
        of_one = [{key: each[key] for key in each if f"-{variant}-" in key} for each in scores]
        assert value_of(metric, corpus) == mean_of(of_one)


@given(corpora())
def test_the_best_reference_is_that_of_the_highest_recall(corpus):
    for variant in ("1", "2", "L"):
        keys = [f"Rouge-{variant}-{letter}" for letter in "PRF"]
        scores = [
            max(
                (by_scorer(candidate, each) for each in references),
                key=lambda found: found[keys[1]],
            )
            for candidate, references in zip(*corpus, strict=True)
        ]
        metric = Rouge([variant if variant == "L" else int(variant)], multiref="best", alpha=0.5)
        assert value_of(metric, corpus) == mean_of(
            [{key: each[key] for key in keys} for each in scores]
        )


@given(corpora(), st.floats(0, 1))
def test_the_average_adds_up_counts(corpus, alpha):
    scores = []
    for candidate, references in zip(*corpus, strict=True):
        match = sum(common_length(candidate, each) for each in references)
        num_predicted, num_true = len(candidate) * len(references), sum(map(len, references))
        p, r = (match / count if count else 0.0 for count in (num_predicted, num_true))
        f = p * r / ((1 - alpha) * p + alpha * r) if match else 0.0
        scores.append({"Rouge-L-P": p, "Rouge-L-R": r, "Rouge-L-F": f})
    assert value_of(RougeL(alpha=alpha), corpus) == mean_of(scores)


@given(corpora())
def test_alpha_leads_from_recall_to_precision(corpus):
    found = value_of(Rouge([1], alpha=0), corpus)
    assert found["Rouge-1-F"] == pytest.approx(found["Rouge-1-R"])
    found = value_of(Rouge([1], alpha=1), corpus)
    assert found["Rouge-1-F"] == pytest.approx(found["Rouge-1-P"])


@given(sequences(), sequences(), st.integers(1, 4))
def test_scores_of_one_pair(candidate, reference, n):
    expected = by_scorer(candidate, reference)
    score = compute_lcs_scores(candidate, reference)
    assert (score.precision(), score.recall()) == (expected["Rouge-L-P"], expected["Rouge-L-R"])
    score = compute_ngram_scores(candidate, reference, n)
    if n != 3:
        assert score.precision() == expected[f"Rouge-{n}-P"]
        assert score.recall() == expected[f"Rouge-{n}-R"]


def test_reducers():
    scores = [Score(1, 4, 4), Score(2, 4, 8), Score(1, 4, 2)]
    assert MultiRefAverageReducer()(scores) == Score(4, 12, 14)
    assert MultiRefBestReducer()(scores) == Score(1, 4, 2)
    assert MultiRefBestReducer()([Score(0, 3, 0), Score(0, 4, 2)]) == Score(0, 3, 0)
    with pytest.raises(TypeError, match="abstract"):
        MultiRefReducer()


def test_by_default_the_variants_are_1_2_4_and_l():
    corpus = ([list("abcde")], [[list("abcde")]])
    expected = {f"Rouge-{variant}-{letter}": 1.0 for variant in (1, 2, 4, "L") for letter in "PRF"}
    assert value_of(Rouge(), corpus) == value_of(Rouge([]), corpus) == expected
    assert value_of(RougeN(), corpus) == {f"Rouge-4-{letter}": 1.0 for letter in "PRF"}
    assert list(value_of(Rouge(["L", "L"]), corpus)) == ["Rouge-L-P", "Rouge-L-R", "Rouge-L-F"]


def test_attached_its_values_have_their_own_names_and_directions():
    engine = Engine(lambda engine, batch: batch)
    Rouge([1, "L"]).attach(engine, "rouge")
    RougeN(2).attach(engine, "bigrams")
    metrics = engine.run([([list("abc")], [[list("abd")]])]).metrics
    assert metrics["Rouge-1-R"] == metrics["rouge"]["Rouge-1-R"] == pytest.approx(2 / 3)
    assert metrics["Rouge-2-P"] == 0.5
    assert set(Metric.directions(engine)) == set(metrics)
    assert set(Metric.directions(engine).values()) == {True}


def test_metrics_share_variants():
    engine = Engine(lambda engine, batch: batch)
    metric = Rouge([1, "L"])
    metric.attach(engine, "rouge")
    RougeL().attach(engine, "l")
    assert metric.describe_handler(engine, "iteration_completed").count("shared with RougeL") == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rouge(["l"]), "variants should be 'L' or integers of at least 1, but given 'l'"),
        (lambda: Rouge([1, 0]), "variants should be 'L' or integers of at least 1, but given 0"),
        (lambda: RougeN(0), "ngram should be an integer of at least 1, but given 0"),
        (
            lambda: RougeL("mean"),
            r"multiref should be one of \['average', 'best'\], but given 'mean'",
        ),
        (lambda: RougeL(alpha=1.5), "alpha should be from 0 to 1, but given 1.5"),
        (lambda: Rouge(alpha=float("nan")), "alpha should be from 0 to 1, but given nan"),
    ],
)
def test_arguments_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
