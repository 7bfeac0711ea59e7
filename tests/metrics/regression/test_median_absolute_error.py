import pytest
import torch
from hypothesis import given
from sklearn.metrics import median_absolute_error

from ignite.metrics.regression import MedianAbsoluteError, median_absolute_error_compute_fn
from support.regression_oracles import cases, check, check_needs_examples


@given(cases())
def test_it_is_the_median_of_scikit_learn(case):
    check(MedianAbsoluteError, median_absolute_error, case)


def test_without_examples():
    check_needs_examples(MedianAbsoluteError)


def test_integers_and_columns_may_be_mixed():
    y_pred, y = torch.tensor([1, 4, 8]), torch.tensor([[1.0], [2.0], [6.0]])
    metric = MedianAbsoluteError()
    metric.update((y_pred, y))
    assert metric.compute() == median_absolute_error_compute_fn(y_pred, y) == pytest.approx(2.0)
