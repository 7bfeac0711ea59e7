import numpy as np
import pytest
import torch
from hypothesis import given

from ignite.metrics.regression import FractionalBias
from support.regression_oracles import cases, check, check_needs_examples, positive


@given(cases(positive.map(lambda x: x + 1), positive))
def test_it_is_the_mean_of_its_definition(case):
    check(FractionalBias, lambda p, a: np.mean(2 * (a - p) / (a + p)), case)


def test_without_examples():
    check_needs_examples(FractionalBias)


def test_two_zeros_are_no_bias():
    metric = FractionalBias()
    metric.update((torch.tensor([0.0, 1.0]), torch.tensor([0.0, 3.0])))
    assert metric.compute() == 0.5


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_opposite_numbers_are_infinitely_biased(scale, sign):
    metric = FractionalBias()
    metric.update((torch.tensor([-scale * sign]), torch.tensor([scale * sign])))
    assert metric.compute() == sign * float("inf")
