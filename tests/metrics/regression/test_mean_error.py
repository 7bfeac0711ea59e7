import numpy as np
from hypothesis import given

from ignite.metrics.regression import MeanError
from support.regression_oracles import cases, check, check_needs_examples


@given(cases())
def test_it_is_the_mean_of_differences(case):
    check(MeanError, lambda p, a: np.mean(a - p), case)


def test_without_examples():
    check_needs_examples(MeanError)
