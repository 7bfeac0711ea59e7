import numpy as np
import torch
from hypothesis import given

from ignite.metrics.regression import SymmetricMeanAbsolutePercentageError
from support.regression_oracles import cases, check, check_needs_examples, symmetric


@given(cases())
def test_it_is_the_mean_of_its_definition(case):
    check(SymmetricMeanAbsolutePercentageError, lambda p, a: np.mean(2 * symmetric(p, a)), case)


def test_without_examples():
    check_needs_examples(SymmetricMeanAbsolutePercentageError)


def test_two_zeros_are_no_error():
    metric = SymmetricMeanAbsolutePercentageError()
    metric.update((torch.tensor([0.0, 0.0]), torch.tensor([0.0, 3.0])))
    assert metric.compute() == 1.0
