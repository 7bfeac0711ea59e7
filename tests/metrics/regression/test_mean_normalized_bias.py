import numpy as np
from hypothesis import given

from ignite.metrics.regression import MeanNormalizedBias
from support.regression_oracles import (
    cases,
    check,
    check_needs_examples,
    check_refuses_zeros,
    nonzero,
    numbers,
)


@given(cases(numbers, nonzero))
def test_it_is_the_mean_of_its_definition(case):
    check(MeanNormalizedBias, lambda p, a: np.mean((a - p) / a), case)


def test_without_examples():
    check_needs_examples(MeanNormalizedBias)


def test_targets_of_zero_are_refused():
    check_refuses_zeros(MeanNormalizedBias)
