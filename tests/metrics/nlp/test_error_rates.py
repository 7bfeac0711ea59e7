import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.metrics import CharacterErrorRate, WordErrorRate
from support.text_oracles import levenshtein, sequences

TEXTS = st.lists(
    st.tuples(sequences(), sequences(1)).map(lambda pair: tuple(map(" ".join, pair))), min_size=1
)


def value_of(metric, pairs):
    half = len(pairs) // 2
    for batch in (pairs[:half], pairs[half:]):
        metric.update(tuple(list(each) for each in zip(*batch, strict=True)) or ([], []))
    return metric.compute()


@given(TEXTS)
def test_they_are_those_of_jiwer(pairs):
    predicted, true = (list(each) for each in zip(*pairs, strict=True))
    assert value_of(CharacterErrorRate(), pairs) == pytest.approx(
        jiwer.cer(true, predicted), rel=1e-12
    )
    assert value_of(WordErrorRate(), pairs) == pytest.approx(jiwer.wer(true, predicted), rel=1e-12)


@given(st.lists(st.tuples(st.text("ab é", max_size=30), st.text("ab é", max_size=30)), min_size=1))
def test_they_are_edits_per_character_and_per_word(pairs):
    for metric, split in ((CharacterErrorRate(), list), (WordErrorRate(), str.split)):
        num_errors = sum(levenshtein(split(a), split(b)) for a, b in pairs)
        num_tokens = sum(len(split(b)) for _, b in pairs)
        expected = num_errors / num_tokens if num_tokens else float(num_errors > 0)
        assert value_of(metric, pairs) == expected


@given(st.lists(st.tuples(sequences(), sequences()), min_size=1))
def test_words_may_be_split_already(pairs):
    joined = [tuple(map(" ".join, pair)) for pair in pairs]
    assert value_of(WordErrorRate(), pairs) == value_of(WordErrorRate(), joined)


@pytest.mark.parametrize("make", [CharacterErrorRate, WordErrorRate])
def test_a_single_text_is_a_batch_of_one(make):
    values = []
    for output in (("a b c", "a b d"), (["a b c"], ["a b d"])):
        engine = Engine(lambda engine, batch, output=output: output)
        make().attach(engine, "rate")
        values.append(engine.run([0]).metrics["rate"])
    assert values[0] == values[1] == pytest.approx(1 / (5 if make is CharacterErrorRate else 3))


@pytest.mark.parametrize("make", [CharacterErrorRate, WordErrorRate])
def test_without_a_true_token_all_is_wrong_or_nothing(make):
    for predicted, expected in (("", 0.0), ("a", 1.0), ("a b c", 1.0)):
        metric = make()
        metric.update((predicted, ""))
        assert metric.compute() == expected
    metric.update(("", "a"))
    assert metric.compute() == (6.0 if make is CharacterErrorRate else 4.0)


def test_counts_are_exact_where_single_precision_ends():
    metric = CharacterErrorRate()
    metric.update((["b" + "a" * 2**24], ["a" * (2**24 + 1)]))
    assert metric.compute() == 1 / (2**24 + 1)
