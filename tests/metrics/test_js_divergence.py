import math

import pytest
import torch
from hypothesis import given

from ignite.metrics import JSDivergence, KLDivergence
from support.distance_oracles import (
    hard_logits,
    mean_of,
    near,
    rounding,
    symmetric_divergence_of,
)
from support.oracles_distances import (
    FLOATS,
    cases,
    check,
    js_divergence,
)


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
    assert value_of([1.0, 2.0, 0.5], [0.0, -3.0, 1.0]) == value_of(
        [0.0, -3.0, 1.0], [1.0, 2.0, 0.5]
    )


@pytest.mark.parametrize("far", [800.0, 1e5, 1e30, math.inf])
def test_it_is_finite_where_probabilities_underflow(far):
    assert value_of([0.0, -far], [-far, 0.0]) == pytest.approx(math.log(2), rel=1e-6)
    assert value_of([0.0, 0.0, -far], [0.0, 0.0, -far]) == pytest.approx(0.0, abs=1e-12)


def test_half_in_common():
    # With 1/2, 1/2 and 1, 0 the mean is 3/4, 1/4.
    expected = (math.log(2 / 3) / 2 + math.log(2) / 2 + math.log(4 / 3)) / 2
    assert value_of([0.0, 0.0], [0.0, -math.inf]) == pytest.approx(expected, rel=1e-6)


@given(hard_logits(num=2))
def test_extreme_logits_lose_nothing(pair):
    metric = JSDivergence()
    metric.update(pair)
    assert metric.compute() == near(mean_of(symmetric_divergence_of, *pair), rounding(pair))
    assert 0.0 <= metric.compute() <= math.log(2) + 1e-12
