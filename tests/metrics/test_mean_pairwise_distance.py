import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics import MeanPairwiseDistance
from support.distance_oracles import check_rejections, exact_rows, hard_pairs, near, value_of
from support.oracles_distances import (
    FLOATS,
    INTEGERS,
    cases,
    check,
    check_needs_examples,
    check_refused,
    mean_pairwise_distance,
    value_in_engine,
)


@given(
    cases(shapes=((1,), (4,), (2, 3)), dtypes=FLOATS + INTEGERS),
    st.sampled_from([1, 2, 3, math.inf]),
    st.sampled_from([0.0, 1e-6, 0.5]),
)
def test_it_is_the_mean_distance(case, p, eps):
    check(
        lambda: MeanPairwiseDistance(p=p, eps=eps),
        lambda *both: mean_pairwise_distance(*both, p, eps),
        case,
    )


def test_it_is_euclidean_by_default():
    metric = MeanPairwiseDistance()
    metric.update((torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)))
    assert metric.compute() == pytest.approx(math.hypot(3.000001, 4.000001), rel=1e-6)


class Stacking(MeanPairwiseDistance):
    """Takes lists of examples as they are."""

    def update(self, output):
        assert all(isinstance(part, list) for part in output)
        super().update(tuple(map(torch.stack, output)))


def test_lists_are_unrolled_unless_that_is_skipped():
    output = (
        [torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1.0])],
        [torch.zeros(2), torch.zeros(2)],
    )
    assert value_in_engine(MeanPairwiseDistance(eps=0.0), output) == 3.0
    assert value_in_engine(Stacking(eps=0.0, skip_unrolling=True), output) == 3.0


def test_without_examples():
    check_needs_examples(MeanPairwiseDistance, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2), torch.ones(2)), r"shape \(B, ..., D\), but given \(2,\) and \(2,\)"),
        ((torch.ones(2, 3), torch.ones(1, 3)), r"but given \(2, 3\) and \(1, 3\)"),
        ((torch.ones(2, 3), torch.ones(2, 2)), r"but given \(2, 3\) and \(2, 2\)"),
    ],
)
def test_invalid_shapes_are_refused(wrong, words):
    check_refused(
        MeanPairwiseDistance(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words
    )


def exact_distance(batch, p, eps):
    rows = [[abs(a - b + Fraction(eps)) for a, b in row] for row in exact_rows(batch)]
    if p == math.inf:
        return float(sum(map(max, rows)) / len(rows))
    return math.fsum(float(sum(x**p for x in row)) ** (1 / p) for row in rows) / len(rows)


@given(hard_pairs(), st.sampled_from([1, 2, 3, math.inf]), st.sampled_from([0.0, 1e-6, 0.25]))
def test_numbers_far_from_the_origin_or_from_each_other_lose_nothing(batch, p, eps):
    assert value_of(MeanPairwiseDistance(p, eps), batch) == near(
        exact_distance(batch, p, eps), 1e-12
    )


def test_degree_zero_counts_differences():
    batch = (
        torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        torch.tensor([[1.0, 2.5, 3.0], [0.0, 0.0, 0.0]]),
    )
    assert value_of(MeanPairwiseDistance(p=0, eps=0.0), batch) == 2.0


@pytest.mark.parametrize(("wrong", "expected"), [(math.inf, math.inf), (math.nan, math.nan)])
def test_values_that_are_not_finite_propagate(wrong, expected):
    first, second = (
        (torch.tensor([[1.0, wrong]]), torch.zeros(1, 2)),
        (torch.ones(3, 2), torch.zeros(3, 2)),
    )
    assert value_of(MeanPairwiseDistance(), first, second) == near(expected)


def test_invalid_outputs_do_not_change_the_value():
    wrongs = [
        (
            (torch.ones(2, 1), torch.ones(2)),
            ValueError,
            r"\(B, ..., D\), but given \(2, 1\) and \(2,\)",
        ),
        ((torch.ones(2, 3), torch.ones(3, 2)), ValueError, r"but given \(2, 3\) and \(3, 2\)"),
        (
            (torch.ones(1, 3), torch.ones(1, 1, 3)),
            ValueError,
            r"but given \(1, 3\) and \(1, 1, 3\)",
        ),
    ]
    first, second = (torch.eye(3), torch.ones(3, 3)), (torch.ones(1, 3), torch.zeros(1, 3))
    check_rejections(MeanPairwiseDistance, first, second, wrongs)
