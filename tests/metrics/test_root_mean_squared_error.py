import math

import pytest
import torch
from hypothesis import given

from ignite.engine import Engine
from ignite.metrics import MeanSquaredError, RootMeanSquaredError
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
    mean_squared_error,
    value_in_engine,
)


def oracle(p, y):
    return math.sqrt(mean_squared_error(p, y))


@given(cases(shapes=((), (3,)), dtypes=FLOATS + INTEGERS))
def test_it_is_the_root_of_the_mean_of_squared_errors(case):
    check(RootMeanSquaredError, oracle, case, rel=1e-6)  # errors are in float32, their sums are not


def test_ten_million_numbers():
    check_follows_wide_sums(RootMeanSquaredError, oracle)


def test_it_shares_what_the_mean_of_squared_errors_accumulates():
    engine = Engine(lambda engine, batch: batch)
    square, root = MeanSquaredError(), RootMeanSquaredError()
    assert isinstance(root, MeanSquaredError)
    square.attach(engine, "square")
    root.attach(engine, "root")
    found = engine.run(
        [(torch.tensor([3.0, 4.0]), torch.zeros(2)), (torch.tensor([1.0]), torch.tensor([2.0]))]
    ).metrics
    assert found == {"square": pytest.approx(26 / 3), "root": pytest.approx(math.sqrt(26 / 3))}
    assert square._statistics_in_use()[0] is root._statistics_in_use()[0]


def test_lists_of_examples_are_taken_one_by_one():
    value = value_in_engine(RootMeanSquaredError(), ([torch.tensor([3.0, 4.0])], [torch.zeros(2)]))
    assert value == 5.0


def test_without_examples():
    check_needs_examples(RootMeanSquaredError)


def test_shapes_that_do_not_fit_are_refused():
    first, wrong = (torch.ones(2), torch.zeros(2)), (torch.ones(2), torch.ones(3))
    check_refused(
        RootMeanSquaredError(), first, wrong, ValueError, r"same shape, but given \(2,\) and \(3,\)"
    )


@given(hard_pairs(shapes=((), (2,), (1, 2))))
def test_numbers_far_from_the_origin_or_from_each_other_lose_nothing(batch):
    assert value_of(RootMeanSquaredError(), batch) == near(
        math.sqrt(exact_error(batch, 2)), rounding(batch)
    )


@pytest.mark.parametrize(("wrong", "expected"), [(math.inf, math.inf), (math.nan, math.nan)])
def test_what_is_not_finite_stays_in_the_value(wrong, expected):
    first, second = (torch.tensor([1.0, wrong]), torch.zeros(2)), (torch.ones(3), torch.zeros(3))
    assert value_of(RootMeanSquaredError(), first, second) == near(expected)


def test_any_rejection_leaves_the_value_alone():
    wrongs = [
        (
            (torch.ones(2, 3), torch.ones(3)),
            ValueError,
            r"same shape, but given \(2, 3\) and \(3,\)",
        ),
    ]
    first, second = (
        (torch.tensor([1.0, 5.0]), torch.zeros(2)),
        (torch.tensor([0.5]), torch.tensor([3])),
    )
    check_rejections(RootMeanSquaredError, first, second, wrongs)
