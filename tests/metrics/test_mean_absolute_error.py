import math

import pytest
import torch
from hypothesis import given

from ignite.metrics import MeanAbsoluteError
from support.distance_oracles import (
    check_rejections,
    exact_error,
    hard_pairs,
    near,
    rounding,
    value_of,
)
from support.oracles_distances import (
    FLOATS,
    INTEGERS,
    cases,
    check,
    check_follows_wide_sums,
    check_needs_examples,
    check_refused,
    mean_absolute_error,
)


@given(cases(shapes=((), (1,), (3,), (2, 2)), dtypes=FLOATS + INTEGERS))
def test_it_is_the_mean_of_absolute_errors(case):
    check(
        MeanAbsoluteError, mean_absolute_error, case, rel=1e-6
    )  # float32 is subtracted in float32, and added up in float64


def test_ten_million_numbers():
    check_follows_wide_sums(MeanAbsoluteError, mean_absolute_error)


def test_unsigned_integers_do_not_wrap():
    metric = MeanAbsoluteError()
    metric.update(
        (torch.tensor([0, 250], dtype=torch.uint8), torch.tensor([3, 255], dtype=torch.uint8))
    )
    assert metric.compute() == 4.0


def test_dtypes_may_differ():
    metric = MeanAbsoluteError()
    metric.update((torch.tensor([0.5, 1.5], dtype=torch.float16), torch.tensor([1, 3])))
    assert metric.compute() == 1.0


@pytest.mark.parametrize("shape", [(6, 1), (6, 1, 1), (6,)])
def test_further_dimensions_of_size_one_do_not_count(shape):
    for pair in (
        (torch.arange(6.0).reshape(shape), torch.zeros(6)),
        (torch.zeros(6), torch.arange(6.0).reshape(shape)),
    ):
        metric = MeanAbsoluteError()
        metric.update(pair)
        assert metric.compute() == 15 / 6


@pytest.mark.parametrize(
    ("y_pred", "y"),
    [((3, 2), (2, 3)), ((12,), (1, 12)), ((6,), (2, 3)), ((4, 1), (1, 4)), ((2, 3, 4), (2, 4, 3))],
)
def test_numbers_are_not_paired_by_their_place_in_memory(y_pred, y):
    metric = MeanAbsoluteError()
    with pytest.raises(ValueError, match="should have the same shape, but given"):
        metric.update((torch.ones(y_pred), torch.ones(y)))


def test_without_examples():
    check_needs_examples(MeanAbsoluteError)
    check_needs_examples(MeanAbsoluteError, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2), torch.ones(3)), r"same shape, but given \(2,\) and \(3,\)"),
        ((torch.ones(2, 3), torch.ones(2)), r"same shape, but given \(2, 3\) and \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong, words):
    check_refused(
        MeanAbsoluteError(), (torch.tensor([1.0, 2.0]), torch.zeros(2)), wrong, ValueError, words
    )


@given(hard_pairs(shapes=((), (2,), (1, 2))))
def test_numbers_far_from_the_origin_or_from_each_other_lose_nothing(batch):
    assert value_of(MeanAbsoluteError(), batch) == near(exact_error(batch, 1), rounding(batch))


@pytest.mark.parametrize(
    ("wrong", "expected"), [(math.inf, math.inf), (-math.inf, math.inf), (math.nan, math.nan)]
)
def test_what_is_not_finite_stays_in_the_value(wrong, expected):
    first, second = (torch.tensor([1.0, wrong]), torch.zeros(2)), (torch.ones(3), torch.zeros(3))
    assert value_of(MeanAbsoluteError(), first, second) == near(expected)


def test_truth_values_are_zeros_and_ones():
    assert (
        value_of(MeanAbsoluteError(), (torch.tensor([True, False]), torch.tensor([False, False])))
        == 0.5
    )


def test_targets_in_any_memory_layout():
    y = torch.arange(6.0, dtype=torch.float64).reshape(2, 3).T  # 0 3, 1 4, 2 5
    assert value_of(MeanAbsoluteError(), (torch.tensor([[0.0, 3], [1, 4], [2, 10]]), y)) == near(
        5**1 / 3
    )


def test_any_rejection_leaves_the_value_alone():
    wrongs = [
        (
            (torch.ones(2, 3), torch.ones(3)),
            ValueError,
            r"same shape, but given \(2, 3\) and \(3,\)",
        ),
        ((torch.ones(1), torch.ones(4)), ValueError, r"same shape, but given \(1,\) and \(4,\)"),
        ((torch.ones(0), torch.ones(4)), ValueError, r"same shape, but given \(0,\) and \(4,\)"),
    ]
    first, second = (
        (torch.tensor([1.0, 5.0]), torch.zeros(2)),
        (torch.tensor([0.5]), torch.tensor([3])),
    )
    check_rejections(MeanAbsoluteError, first, second, wrongs)
