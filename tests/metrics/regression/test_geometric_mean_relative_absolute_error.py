from hypothesis import given

from ignite.metrics.regression import GeometricMeanRelativeAbsoluteError
from support.regression_oracles import (
    cases,
    check,
    check_needs_examples,
    eighths,
    geometric_mean,
    relative_to_mean,
)


@given(cases(eighths, eighths))
def test_errors_are_relative_to_those_of_the_mean(case):
    check(
        GeometricMeanRelativeAbsoluteError,
        lambda p, a: geometric_mean(relative_to_mean(p, a)),
        case,
    )


def test_without_examples():
    check_needs_examples(GeometricMeanRelativeAbsoluteError)
