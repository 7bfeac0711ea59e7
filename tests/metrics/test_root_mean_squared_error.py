import math

import pytest
import torch
from hypothesis import given
from oracles_distances import (
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

from ignite.engine import Engine
from ignite.metrics import MeanSquaredError, RootMeanSquaredError


def oracle(p, y):
    return math.sqrt(mean_squared_error(p, y))


@given(cases(shapes=((), (3,)), dtypes=FLOATS + INTEGERS))
def test_it_is_the_root_of_the_mean_of_squared_errors(case):
    check(RootMeanSquaredError, oracle, case)


def test_ten_million_numbers():
    check_follows_wide_sums(RootMeanSquaredError, oracle)


def test_it_shares_what_the_mean_of_squared_errors_accumulates():
    engine = Engine(lambda engine, batch: batch)
    square, root = MeanSquaredError(), RootMeanSquaredError()
    assert isinstance(root, MeanSquaredError)
    square.attach(engine, "square")
    root.attach(engine, "root")
    found = engine.run([(torch.tensor([3.0, 4.0]), torch.zeros(2)), (torch.tensor([1.0]), torch.tensor([2.0]))]).metrics
    assert found == {"square": pytest.approx(26 / 3), "root": pytest.approx(math.sqrt(26 / 3))}
    assert square._statistics_in_use()[0] is root._statistics_in_use()[0]


def test_lists_of_examples_are_taken_one_by_one():
    value = value_in_engine(RootMeanSquaredError(), ([torch.tensor([3.0, 4.0])], [torch.zeros(2)]))
    assert value == 5.0


def test_without_examples():
    check_needs_examples(RootMeanSquaredError)


def test_shapes_that_do_not_fit_are_refused():
    first, wrong = (torch.ones(2), torch.zeros(2)), (torch.ones(2), torch.ones(3))
    check_refused(RootMeanSquaredError(), first, wrong, ValueError, r"same shape, but given \(2,\) and \(3,\)")
