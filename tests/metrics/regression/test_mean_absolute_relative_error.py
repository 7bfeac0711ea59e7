from hypothesis import given
from sklearn.metrics import mean_absolute_percentage_error

from ignite.metrics.regression import MeanAbsoluteRelativeError
from support.regression_oracles import (
    cases,
    check,
    check_needs_examples,
    check_refuses_zeros,
    nonzero,
    numbers,
)


@given(cases(numbers, nonzero))
def test_it_is_the_fraction_of_scikit_learn(case):
    check(MeanAbsoluteRelativeError, lambda p, a: mean_absolute_percentage_error(a, p), case)


def test_without_examples():
    check_needs_examples(MeanAbsoluteRelativeError)


def test_targets_of_zero_are_refused():
    check_refuses_zeros(MeanAbsoluteRelativeError)
