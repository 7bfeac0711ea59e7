import numpy as np
from hypothesis import given

from ignite.metrics.regression import FractionalAbsoluteError
from support.regression_oracles import cases, check, check_needs_examples, symmetric


@given(cases())
def test_it_is_the_mean_of_its_definition(case):
    check(FractionalAbsoluteError, lambda p, a: np.mean(2 * symmetric(p, a)), case)


def test_without_examples():
    check_needs_examples(FractionalAbsoluteError)
