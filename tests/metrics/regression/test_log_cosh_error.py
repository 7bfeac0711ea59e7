import math

import numpy as np
import pytest
import torch
from hypothesis import given

from ignite.metrics.regression import LogCoshError
from support.regression_oracles import cases, check, check_needs_examples


@given(cases())
def test_it_is_the_mean_of_its_definition(case):
    check(LogCoshError, lambda p, a: np.mean(np.logaddexp(a - p, p - a) - np.log(2)), case)


def test_without_examples():
    check_needs_examples(LogCoshError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(1e-9, 0.5e-18), (-1e-4, 0.5e-8 - 1e-16 / 12), (1e5, 1e5 - math.log(2)), (1e300, 1e300)],
)
def test_small_errors_do_not_cancel_and_large_ones_do_not_overflow(error, expected):
    metric = LogCoshError()
    metric.update((torch.zeros(1, dtype=torch.float64), torch.tensor([error], dtype=torch.float64)))
    assert metric.compute() == pytest.approx(expected, rel=1e-14, abs=0)
