import numpy as np
from hypothesis import given

from ignite.metrics.regression import WaveHedgesDistance
from support.regression_oracles import (
    cases,
    check,
    check_is_zero_without_examples,
    positive,
    quotients,
)


@given(cases(positive, positive))
def test_errors_are_relative_to_the_larger_number(case):
    check(WaveHedgesDistance, lambda p, a: quotients(abs(a - p), np.maximum(a, p)).sum(), case)


def test_without_examples():
    check_is_zero_without_examples(WaveHedgesDistance)
