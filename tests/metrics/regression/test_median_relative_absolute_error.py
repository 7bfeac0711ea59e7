import pytest
import torch
from hypothesis import given

from ignite.metrics.regression import (
    MedianRelativeAbsoluteError,
    median_relative_absolute_error_compute_fn,
)
from support.regression_oracles import (
    cases,
    check,
    check_needs_examples,
    eighths,
    middle,
    relative_to_mean,
)


@given(cases(eighths, eighths))
def test_it_is_the_median_of_its_definition(case):
    check(MedianRelativeAbsoluteError, lambda p, a: middle(relative_to_mean(p, a)), case)


def test_without_examples():
    check_needs_examples(MedianRelativeAbsoluteError)


def test_integers_and_columns_may_be_mixed():
    y_pred, y = torch.tensor([1, 4, 8]), torch.tensor([[1.0], [2.0], [6.0]])
    metric = MedianRelativeAbsoluteError()
    metric.update((y_pred, y))
    assert (
        metric.compute()
        == median_relative_absolute_error_compute_fn(y_pred, y)
        == pytest.approx(2 / 3)
    )
