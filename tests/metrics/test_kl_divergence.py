import math

import pytest
import torch
from hypothesis import given

from ignite.metrics import KLDivergence
from support.distance_oracles import (
    divergence_of,
    hard_logits,
    mean_of,
    near,
    rounding,
)
from support.oracles_distances import (
    FLOATS,
    cases,
    check,
    kl_divergence,
)


@given(
    cases(
        shapes=((1,), (4,), (3, 2), (2, 2, 3)),
        dtypes=(*FLOATS, torch.int8),
        scales=(1e-3, 1.0, 10.0),
    )
)
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
    assert value_of([0.0, 0.0], [0.0, -1e30]) == pytest.approx(math.log(2), rel=1e-6)


def test_classes_that_are_ruled_out():
    assert value_of([0.0, 0.0, -math.inf], [0.0, 0.0, -math.inf]) == 0.0
    assert value_of([0.0, 0.0], [0.0, -math.inf]) == pytest.approx(math.log(2), rel=1e-6)
    assert value_of([0.0, -math.inf], [0.0, 0.0]) == math.inf


@given(hard_logits(num=2))
def test_extreme_logits_lose_nothing(pair):
    metric = KLDivergence()
    metric.update(pair)
    assert metric.compute() == near(mean_of(divergence_of, *pair[::-1]), rounding(pair))
    assert metric.compute() >= 0.0
