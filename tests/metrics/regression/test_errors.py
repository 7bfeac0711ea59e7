import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics.regression._base import (
    absolute_errors,
    errors_relative_to_mean,
    median,
    ratio,
    relative_errors,
    symmetric_errors,
    widened,
)

inf, nan = float("inf"), float("nan")


def test_nothing_in_relation_to_nothing_is_nothing():
    values = ratio(
        torch.tensor([0.0, 1.0, -1.0, 0.0, nan]), torch.tensor([0.0, 0.0, 0.0, 2.0, 0.0])
    ).tolist()
    assert values[:4] == [0.0, inf, -inf, 0.0]
    assert math.isnan(values[4])


def test_errors_of_each_example():
    y_pred, y = torch.tensor([1.0, -1.0, 4.0]), torch.tensor([2.0, -2.0, 3.0])
    assert absolute_errors(y_pred, y).tolist() == [1.0, 1.0, 1.0]
    assert relative_errors(y_pred, y).tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 3])
    assert symmetric_errors(y_pred, y).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 7])
    assert errors_relative_to_mean(y_pred, y).tolist() == [1.0, pytest.approx(1 / 3), 0.5]


def test_widening_is_exact_and_flat():
    wide = widened(torch.tensor([[0.1], [2.0]], dtype=torch.float16, requires_grad=True))
    assert (wide.dtype, wide.requires_grad) == (torch.float64, False)
    assert wide.tolist() == [0.0999755859375, 2.0]


@given(st.lists(st.integers(-5, 5), min_size=1))
def test_the_median_has_as_many_values_on_each_side(values):
    value = median(torch.tensor(values, dtype=torch.float64))
    assert sum(x < value for x in values) == sum(x > value for x in values) or value in values
    assert 2 * sum(x < value for x in values) <= len(values) >= 2 * sum(x > value for x in values)


def test_the_median_of_an_even_number_is_between_the_middle_ones():
    assert median(torch.tensor([5.0, 1.0, 2.0, 100.0])) == 3.5
    assert median(torch.tensor([1.0, inf, inf, 2.0])) == inf


@pytest.mark.parametrize("values", [[], [1.0, nan, 2.0]])
def test_the_median_of_nothing_or_nan_is_nan(values):
    assert math.isnan(median(torch.tensor(values)))
