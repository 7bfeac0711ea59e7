import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import explained_variance_score

from ignite.metrics.regression import ExplainedVariance, R2Score
from support.regression_oracles import cases, check, check_needs_examples, eighths


def by_sklearn(p, a):
    return explained_variance_score(a, p) if len(a) > 1 else 1.0


@given(cases(eighths, eighths))
def test_it_is_the_score_of_scikit_learn(case):
    check(ExplainedVariance, by_sklearn, case)


def test_without_examples():
    check_needs_examples(ExplainedVariance)


def test_an_offset_of_predictions_changes_r2_only():
    generator = torch.Generator().manual_seed(0)
    p, a = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    values = []
    for offset in (0.0, 3.0):
        metrics = ExplainedVariance(), R2Score()
        for metric in metrics:
            metric.update((p + offset, a))
        values.append([metric.compute() for metric in metrics])
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-12)
    assert values[0][1] > values[1][1]
    assert values[0][0] == pytest.approx(explained_variance_score(a, p), rel=1e-12)
    assert np.isfinite(values[1][1])
