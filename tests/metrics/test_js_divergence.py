import math

import pytest
import torch
from hypothesis import given
from oracles_distances import FLOATS, cases, check, check_needs_examples, check_refused, js_divergence

from ignite.metrics import JSDivergence, KLDivergence


@given(cases(shapes=((1,), (4,), (3, 2), (2, 2, 3)), dtypes=FLOATS, scales=(1e-3, 1.0, 10.0)))
def test_it_is_the_mean_divergence_from_the_mean(case):
    check(JSDivergence, js_divergence, case)


def value_of(y_pred, y):
    metric = JSDivergence()
    metric.update((torch.tensor([y_pred]), torch.tensor([y])))
    return metric.compute()


def test_it_is_a_kl_divergence_in_name():
    assert isinstance(JSDivergence(), KLDivergence)


def test_it_is_symmetric():
    assert value_of([1.0, 2.0, 0.5], [0.0, -3.0, 1.0]) == value_of([0.0, -3.0, 1.0], [1.0, 2.0, 0.5])


@pytest.mark.parametrize("far", [800.0, 1e5, 1e30, math.inf])
def test_it_is_finite_where_probabilities_underflow(far):
    assert value_of([0.0, -far], [-far, 0.0]) == pytest.approx(math.log(2), rel=1e-12)
    assert value_of([0.0, 0.0, -far], [0.0, 0.0, -far]) == pytest.approx(0.0, abs=1e-12)


def test_half_in_common():
    # With 1/2, 1/2 and 1, 0 the mean is 3/4, 1/4.
    expected = (math.log(2 / 3) / 2 + math.log(2) / 2 + math.log(4 / 3)) / 2
    assert value_of([0.0, 0.0], [0.0, -math.inf]) == pytest.approx(expected, rel=1e-12)


def test_without_examples():
    check_needs_examples(JSDivergence, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2, 3), torch.ones(2)), r"y_pred and y must be in the same shape, got \(2, 3\) != \(2,\)"),
        ((torch.ones(3), torch.ones(3)), r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong, words):
    check_refused(JSDivergence(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words)
