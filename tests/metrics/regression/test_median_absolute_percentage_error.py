import pytest
import torch
from hypothesis import given

from ignite.metrics.regression import (
    MedianAbsolutePercentageError,
    median_absolute_percentage_error_compute_fn,
)
from support.regression_oracles import cases, check, check_needs_examples, middle, quotients


@given(cases())
def test_it_is_the_median_in_percent(case):
    check(
        MedianAbsolutePercentageError,
        lambda p, a: 100 * middle(quotients(abs(a - p), abs(a))),
        case,
    )


def test_without_examples():
    check_needs_examples(MedianAbsolutePercentageError)


def test_integers_and_columns_may_be_mixed():
    y_pred, y = torch.tensor([1, 4, 8]), torch.tensor([[1.0], [2.0], [6.0]])
    metric = MedianAbsolutePercentageError()
    metric.update((y_pred, y))
    assert (
        metric.compute()
        == median_absolute_percentage_error_compute_fn(y_pred, y)
        == pytest.approx(100 / 3)
    )
