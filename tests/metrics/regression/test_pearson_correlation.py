import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import stats

from ignite.metrics.regression import PearsonCorrelation
from support.regression_oracles import (
    by_scipy,
    cases,
    check,
    check_needs_examples,
    eighths,
    pearson,
)


@given(cases(eighths, eighths))
def test_it_is_the_coefficient_of_scipy(case):
    check(PearsonCorrelation, pearson, case)
    metric = PearsonCorrelation()
    for batch in case.batches:
        metric.update(batch)
    expected = by_scipy(stats.pearsonr, case.y_pred, case.y)
    assert metric.compute() == pytest.approx(0.0 if np.isnan(expected) else expected, abs=1e-7)


def test_without_examples():
    check_needs_examples(PearsonCorrelation)


@pytest.mark.parametrize("mean", [1e6, -1e6])
def test_large_means_do_not_cancel(mean):
    generator = torch.Generator().manual_seed(0)
    y, noise = torch.randn(2, 3000, generator=generator, dtype=torch.float64)
    y, y_pred = y + mean, y + mean + noise
    metric = PearsonCorrelation()
    for batch in zip(y_pred.split(700), y.split(700), strict=True):
        metric.update(batch)
    # Subtracting the same number from numbers near to it is exact.
    assert metric.compute() == pytest.approx(
        stats.pearsonr(y_pred - mean, y - mean).statistic, abs=1e-9
    )


def test_eps_bounds_the_product_of_standard_deviations():
    y = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    for eps, expected in ((1e-8, 1.0), (2.0, 0.5)):
        metric = PearsonCorrelation(eps=eps)
        metric.update((y, y))
        assert metric.compute() == pytest.approx(expected)


def test_rounding_does_not_exceed_one():
    y = torch.tensor([0.1, 0.2, 0.7, 1.3], dtype=torch.float64)
    for scale in range(1, 200):
        metric = PearsonCorrelation()
        metric.update((y * scale / 7, y))
        assert 1 - 1e-9 < metric.compute() <= 1
