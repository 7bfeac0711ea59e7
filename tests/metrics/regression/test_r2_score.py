from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import r2_score

from ignite.metrics.regression import R2Score
from support.regression_oracles import cases, check, check_needs_examples, eighths


def oracle(p, a):
    if len(a) > 1 and np.ptp(a) > 0:
        return r2_score(a, p)
    return 1.0 if np.array_equal(p, a) else 0.0


@given(cases(eighths, eighths))
def test_it_is_the_score_of_scikit_learn(case):
    check(R2Score, oracle, case)


def test_without_examples():
    check_needs_examples(R2Score)


@pytest.mark.parametrize("mean", [1e6, -1e6])
def test_large_means_do_not_cancel(mean):
    generator = torch.Generator().manual_seed(0)
    y, noise = torch.randn(2, 1000, generator=generator, dtype=torch.float64)
    y, y_pred = y + mean, y + mean + noise
    metric = R2Score()
    for batch in zip(y_pred.split(300), y.split(300), strict=True):
        metric.update(batch)
    p, a = ([Fraction(x) for x in tensor.tolist()] for tensor in (y_pred, y))
    middle = sum(a) / len(a)
    expected = 1 - sum((x - z) ** 2 for x, z in zip(p, a, strict=True)) / sum(
        (x - middle) ** 2 for x in a
    )
    assert metric.compute() == pytest.approx(float(expected), abs=1e-9)
