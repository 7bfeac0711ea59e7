import math

import torch
from hypothesis import given
from sklearn.metrics import max_error

from ignite.metrics.regression import MaximumAbsoluteError
from support.regression_oracles import cases, check, check_needs_examples


@given(cases())
def test_it_is_the_largest_error_of_scikit_learn(case):
    check(MaximumAbsoluteError, max_error, case)


def test_without_examples():
    check_needs_examples(MaximumAbsoluteError)


def test_nan_stays():
    metric = MaximumAbsoluteError()
    for y in (1.0, math.nan, 2.0):
        metric.update((torch.zeros(1), torch.tensor([y])))
    assert math.isnan(metric.compute())
