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
)

from ignite.metrics import MeanSquaredError


@given(cases(shapes=((), (1,), (3,), (2, 2)), dtypes=FLOATS + INTEGERS))
def test_it_is_the_mean_of_squared_errors(case):
    check(MeanSquaredError, mean_squared_error, case)


def test_ten_million_numbers():
    check_follows_wide_sums(MeanSquaredError, mean_squared_error)


def test_unsigned_integers_do_not_wrap():
    metric = MeanSquaredError()
    metric.update((torch.tensor([0, 250], dtype=torch.uint8), torch.tensor([3, 255], dtype=torch.uint8)))
    assert metric.compute() == 17.0


def test_dtypes_may_differ():
    metric = MeanSquaredError()
    metric.update((torch.tensor([0.5, 1.5], dtype=torch.float16), torch.tensor([1, 3])))
    assert metric.compute() == 1.25


@pytest.mark.parametrize("shape", [(6, 1), (1, 6), (2, 3), (6,)])
def test_predictions_are_viewed_as_targets_which_count(shape):
    metric = MeanSquaredError()
    metric.update((torch.arange(6.0).reshape(shape), torch.zeros(6)))
    assert metric.compute() == 55 / 6
    metric.reset()
    metric.update((torch.zeros(6), torch.arange(6.0).reshape(shape)))
    assert metric.compute() == 55 / shape[0]


def test_without_examples():
    check_needs_examples(MeanSquaredError)
    check_needs_examples(MeanSquaredError, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2), torch.ones(3)), r"same shape, but given \(2,\) and \(3,\)"),
        ((torch.ones(2, 3), torch.ones(2)), r"same shape, but given \(2, 3\) and \(2,\)"),
        ((torch.tensor(1.0), torch.tensor(1.0)), r"same shape, but given \(\) and \(\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong, words):
    check_refused(MeanSquaredError(), (torch.tensor([1.0, 2.0]), torch.zeros(2)), wrong, ValueError, words)
