import math

import pytest
import torch
from hypothesis import given
from oracles_distances import FLOATS, cases, check, check_needs_examples, check_refused, kl_divergence

from ignite.metrics import KLDivergence


@given(cases(shapes=((1,), (4,), (3, 2), (2, 2, 3)), dtypes=(*FLOATS, torch.int8), scales=(1e-3, 1.0, 10.0)))
def test_it_is_the_mean_divergence_of_predicted_from_true(case):
    check(KLDivergence, kl_divergence, case)


def value_of(y_pred, y):
    metric = KLDivergence()
    metric.update((torch.tensor([y_pred]), torch.tensor([y])))
    return metric.compute()


def test_it_is_not_symmetric():
    predicted, true = [math.log(3.0), 0.0], [0.0, 0.0]  # 3/4 and 1/4, 1/2 each
    assert value_of(predicted, true) == pytest.approx(math.log(4 / 3) / 2, rel=1e-6)
    assert value_of(true, predicted) == pytest.approx(math.log(27 / 16) / 4, rel=1e-6)


def test_it_is_finite_where_probabilities_underflow():
    assert value_of([2000.0, 0.0], [0.0, 2000.0]) == 2000.0
    assert value_of([0.0, 0.0], [0.0, -1e30]) == pytest.approx(math.log(2), rel=1e-12)


def test_classes_that_are_ruled_out():
    assert value_of([0.0, 0.0, -math.inf], [0.0, 0.0, -math.inf]) == 0.0
    assert value_of([0.0, 0.0], [0.0, -math.inf]) == pytest.approx(math.log(2), rel=1e-12)
    assert value_of([0.0, -math.inf], [0.0, 0.0]) == math.inf


def test_without_examples():
    check_needs_examples(KLDivergence, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2, 3), torch.ones(2)), r"y_pred and y must be in the same shape, got \(2, 3\) != \(2,\)"),
        ((torch.ones(3), torch.ones(3)), r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong, words):
    check_refused(KLDivergence(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words)
