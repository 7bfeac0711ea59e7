from hypothesis import given

from ignite.metrics.regression import GeometricMeanAbsoluteError
from support.regression_oracles import cases, check, check_needs_examples, geometric_mean


@given(cases())
def test_it_is_the_geometric_mean(case):
    check(GeometricMeanAbsoluteError, lambda p, a: geometric_mean(abs(a - p)), case)


def test_without_examples():
    check_needs_examples(GeometricMeanAbsoluteError)
