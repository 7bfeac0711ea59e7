import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_log_error

from ignite.metrics.regression import MeanSquaredLogError
from support.regression_oracles import cases, check, check_needs_examples

counts = st.integers(0, 100_000).map(lambda i: i / 8)


@given(cases(counts, counts))
def test_it_is_the_error_of_scikit_learn(case):
    check(MeanSquaredLogError, lambda p, a: mean_squared_log_error(a, p), case)


def test_without_examples():
    check_needs_examples(MeanSquaredLogError)


@pytest.mark.parametrize("size", [1, 2**13])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_differences_do_not_cancel(size, dtype):
    y = torch.full((size,), 1000.0, dtype=dtype)
    y_pred = y + 2**-10
    metric = MeanSquaredLogError()
    metric.update((y_pred, y))
    expected = math.log1p(2**-10 / 1001.0) ** 2
    assert metric.compute() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("wrong", [-1.0, -7.0])
@pytest.mark.parametrize("place", [0, 1])
def test_numbers_without_a_logarithm_are_refused(wrong, place):
    metric = MeanSquaredLogError()
    metric.update((torch.tensor([1.0]), torch.tensor([3.0])))
    pair = [torch.tensor([0.5, 2.0]), torch.tensor([0.5, 2.0])]
    pair[place][1] = wrong
    with pytest.raises(ValueError, match=f"should be greater than -1, but given {wrong:g}; clamp"):
        metric.update(tuple(pair))
    assert metric.compute() == pytest.approx(math.log(2) ** 2)
