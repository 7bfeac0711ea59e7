import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics.statistics import Reading, ScoreCounts
from support.classification_oracles import elsewhere
from support.score_oracles import rounded_down, score_cases


def pair(output):
    return output


def counted(batches, num_bins):
    counts = ScoreCounts(pair, num_bins=num_bins)
    for scores, targets in batches:
        counts.update(Reading((scores.reshape(targets.shape), targets)))
    return counts


@given(score_cases(columns=(None, 1, 3)), st.integers(2, 70))
def test_each_bin_holds_the_scores_from_its_lower_edge_on(case, num_bins):
    counts = counted(case.batches, num_bins)
    columns = list(
        zip(
            *(values.reshape(len(values), -1).T for values in (case.true, case.predicted)),
            strict=True,
        )
    )
    for i, (true, scores) in enumerate(columns):
        edges, negatives, positives = counts.as_samples(i)
        lower = rounded_down(scores, num_bins)
        assert edges.tolist() == [j / num_bins for j in range(num_bins)]
        for found, kind in ((negatives, 0), (positives, 1)):
            assert found.tolist() == [
                int(((lower == edge) & (true == kind)).sum()) for edge in edges.tolist()
            ]
    assert counts.num_examples == len(case.true)
    assert counts.num_columns == (1 if case.true.ndim == 1 else -len(columns))


@pytest.mark.parametrize("num_bins", [2, 10, 49, 98, 100, 103, 1000])
def test_a_score_that_is_a_lower_edge_is_in_its_bin_and_the_next_lower_one_is_not(num_bins):
    edges = np.arange(num_bins) / num_bins
    for scores, expected in (
        (edges, [1] * num_bins),
        (np.nextafter(edges[1:], 0), [1] * (num_bins - 1) + [0]),
    ):
        counts = counted([(torch.from_numpy(scores), torch.ones(len(scores)))], num_bins)
        assert counts.as_samples()[2].tolist() == expected


def test_one_is_in_the_last_bin():
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int64):
        counts = counted([(torch.tensor([1, 1, 0]).to(dtype), torch.tensor([1, 0, 1]))], num_bins=3)
        assert counts.counts.tolist() == [[[0, 0, 1], [1, 0, 1]]]


WRONG = [
    ([0.5, 1.5], [0, 1], "given the score 1.5 with the target 1"),
    ([0.5, math.nan], [0, 1], "given the score nan with the target 1"),
    ([-math.inf, 0.5], [0, 1], "given the score -inf with the target 0"),
    ([0.5, 0.25], [0, 2], "given the score 0.25 with the target 2"),
    ([0.5, 0.25], [0.5, 1], "given the score 0.5 with the target 0.5"),
]


@pytest.mark.parametrize(("scores", "targets", "words"), WRONG)
def test_invalid_values_are_refused_at_once_or_by_check(scores, targets, words):
    batch = (torch.tensor(scores), torch.tensor(targets))
    counts = counted([(torch.tensor([0.5]), torch.tensor([1]))], num_bins=2)
    before, version = repr(counts.parts()), counts.version
    with pytest.raises(ValueError, match=words):
        counts.update(Reading(batch))
    assert (repr(counts.parts()), counts.version) == (before, version)
    counts.check()
    for _ in range(2):
        counts.update(Reading(elsewhere(*batch)))
    assert int(counts.counts.sum()) == 3
    with pytest.raises(
        ValueError, match="Scores should be from 0 to 1 and targets 0 or 1, but 2 were not"
    ):
        counts.check()


def test_the_number_of_columns_stays():
    counts = counted([(torch.rand(2, 3), torch.ones(2, 3))], num_bins=2)
    for wrong, given_columns in ((torch.rand(2, 4), -4), (torch.rand(2), 1)):
        with pytest.raises(ValueError, match=f"should be -3 as before, but given {given_columns} "):
            counts.update(Reading((wrong, torch.ones_like(wrong))))
    assert counts.num_examples == 2
    counts.reset()
    counts.update(Reading((torch.rand(2), torch.ones(2))))
    assert counts.num_columns == 1


def test_keys_differ_with_the_bins():
    assert (
        ScoreCounts(pair, num_bins=3).key
        == ScoreCounts(pair, num_bins=3).key
        != ScoreCounts(pair, num_bins=4).key
    )
    for num_bins in (1, -1, 2.0):
        with pytest.raises(
            ValueError, match=f"num_bins should be an integer of at least 2, but given {num_bins}"
        ):
            ScoreCounts(pair, num_bins=num_bins)
