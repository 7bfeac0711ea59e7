"""Curves of counts and scores; values from samples are compared in the tests of the metrics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics._curves import (
    Ranking,
    average_precision,
    precision_recall_curve,
    rank_counts,
    rank_scores,
    roc_auc,
    roc_curve,
)


def ranked(pairs):
    """Highest score first: each with how many positives and negatives have at least it."""
    scores = sorted({score for score, _ in pairs}, reverse=True)
    positives, negatives = (
        [score for score, target in pairs if target is kind] for kind in (True, False)
    )
    return [
        (
            score,
            sum(other >= score for other in positives),
            sum(other >= score for other in negatives),
        )
        for score in scores
    ]


def rows_of(ranking):
    return list(zip(*(values.tolist() for values in ranking), strict=True))


def ranking_of(positives, negatives):
    return Ranking(
        torch.arange(len(positives), 0, -1) / 8, torch.tensor(positives), torch.tensor(negatives)
    )


pairs = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=20)


@given(pairs)
def test_scores_are_ranked(pairs):
    scores, targets = (
        torch.tensor([float(score) for score, _ in pairs]),
        torch.tensor([target for _, target in pairs]),
    )
    assert rows_of(rank_scores(scores, targets)) == ranked(pairs)


numbers = st.sampled_from([-math.inf, -2.0, -(2.0**-14), -0.0, 0.0, 2.0**-14, 0.5, 3.0, math.inf])
dtypes = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])


@given(
    st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=20),
    dtypes,
    st.sampled_from([bool, int, float]),
)
def test_so_are_scores_of_any_sign_and_dtype(pairs, dtype, kind):
    scores, targets = (
        torch.tensor([score for score, _ in pairs]).to(dtype),
        [kind(target) for _, target in pairs],
    )
    ranking = rank_scores(scores, torch.tensor(targets))
    assert rows_of(ranking) == ranked(pairs)
    assert ranking.thresholds.dtype == dtype


@given(pairs)
def test_counts_are_ranked_as_the_scores_that_they_count(pairs):
    counts = [
        [sum(pair == (score, kind) for pair in pairs) for score in range(5)]
        for kind in (False, True)
    ]
    assert rows_of(rank_counts(torch.arange(5.0), *map(torch.tensor, counts))) == ranked(pairs)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64]
)
def test_targets_have_any_dtype(dtype):
    ranking = rank_scores(torch.tensor([0.5, 0.25, 0.75]), torch.tensor([1, 0, 1]).to(dtype))
    assert rows_of(ranking) == [(0.75, 1, 0), (0.5, 2, 0), (0.25, 2, 1)]


def test_zero_has_no_sign_and_infinity_ties_with_itself():
    ranking = rank_scores(torch.tensor([0.0, -0.0, math.inf, math.inf]), torch.tensor([1, 0, 1, 0]))
    assert rows_of(ranking) == [(math.inf, 1, 1), (0.0, 2, 2)]


@pytest.mark.parametrize("wrong", [2, -1, 0.5, math.nan])
def test_other_targets_and_scores_are_refused(wrong):
    with pytest.raises(ValueError, match=f"Targets should be 0 or 1, but given {wrong}"):
        rank_scores(torch.tensor([0.5, 0.5]), torch.tensor([1, wrong]))
    with pytest.raises(ValueError, match="Scores should be numbers, but given 1 that are NaN"):
        rank_scores(torch.tensor([0.5, math.nan]), torch.tensor([1, 1]))


def test_points_on_a_straight_line_are_left_out():
    fpr, tpr, thresholds = roc_curve(ranking_of([1, 2, 3, 3], [0, 0, 0, 2]))
    assert (fpr.tolist(), thresholds.tolist()) == ([0, 0, 0, 1], [math.inf, 4 / 8, 2 / 8, 1 / 8])
    assert tpr.tolist() == pytest.approx([0, 1 / 3, 1, 1])
    diagonal = roc_curve(ranking_of([1, 2, 3, 4], [1, 2, 3, 4]))
    assert [values.tolist() for values in diagonal] == [
        [0, 0.25, 1],
        [0, 0.25, 1],
        [math.inf, 4 / 8, 1 / 8],
    ]


def test_the_area_is_that_under_the_curve():
    ranking = ranking_of(
        [1, 3, 4], [2, 2, 5]
    )  # steps of 2, 0 and 3 to the right, from 0 to 1, to 3, to 4
    assert roc_auc(ranking) == pytest.approx((2 * (0 + 1) / 2 + 0 + 3 * (3 + 4) / 2) / (4 * 5))


def test_gains_of_recall_weigh_precisions():
    ranking = ranking_of([1, 3, 4], [2, 2, 5])
    assert average_precision(ranking) == pytest.approx(
        1 / 4 * 1 / 3 + 2 / 4 * 3 / 5 + 1 / 4 * 4 / 9
    )
    precision, recall, thresholds = precision_recall_curve(ranking)
    assert precision.tolist() == pytest.approx([4 / 9, 3 / 5, 1 / 3, 1])
    assert (recall.tolist(), thresholds.tolist()) == ([1, 3 / 4, 1 / 4, 0], [1 / 8, 2 / 8, 3 / 8])


def test_without_positives_or_negatives():
    for ranking in (ranking_of([0, 0], [1, 3]), ranking_of([1, 3], [0, 0])):
        assert math.isnan(roc_auc(ranking))
    assert average_precision(ranking_of([0, 0], [1, 3])) == 0.0
    assert average_precision(ranking_of([1, 3], [0, 0])) == 1.0
    precision, recall, _ = precision_recall_curve(ranking_of([0, 0], [1, 3]))
    assert (precision.tolist(), recall.tolist()) == ([0, 0, 1], [1, 1, 0])
