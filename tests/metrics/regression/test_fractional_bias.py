import numpy as np
import torch
from hypothesis import given
from regression_oracles import cases, check, check_needs_examples, positive

from ignite.metrics.regression import FractionalBias


@given(cases(positive.map(lambda x: x + 1), positive))
def test_it_is_the_mean_of_its_definition(case):
    check(FractionalBias, lambda p, a: np.mean(2 * (a - p) / (a + p)), case)


def test_without_examples():
    check_needs_examples(FractionalBias)


def test_two_zeros_are_no_bias():
    metric = FractionalBias()
    metric.update((torch.tensor([0.0, 1.0]), torch.tensor([0.0, 3.0])))
    assert metric.compute() == 0.5


def test_opposite_numbers_are_divided_by_almost_nothing():
    metric = FractionalBias()
    metric.update((torch.tensor([-1.0]), torch.tensor([1.0])))
    assert 1e30 < metric.compute() < float("inf")
