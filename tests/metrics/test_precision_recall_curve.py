import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from ignite.metrics import PrecisionRecallCurve
from ignite.metrics.precision_recall_curve import precision_recall_curve_compute_fn
from support.classification_oracles import check, check_constant_memory
from support.score_oracles import check_scores_refused, rounded_down, score_cases


def curve(true, scores):
    """Without positives recall is 1 throughout, of which scikit-learn warns."""
    if true.any():
        return tuple(
            np.asarray(values, dtype=float) for values in precision_recall_curve(true, scores)
        )
    thresholds = np.unique(scores).astype(float)
    zeros, ones = np.zeros_like(thresholds), np.ones_like(thresholds)
    return np.append(zeros, 1.0), np.append(ones, 0.0), thresholds


@given(case=score_cases())
def test_it_is_that_of_scikit_learn(case):
    check(PrecisionRecallCurve, curve, case)
    values = precision_recall_curve_compute_fn(
        torch.tensor(case.predicted), torch.tensor(case.true)
    )
    for found, expected in zip(values, curve(case.true, case.predicted), strict=True):
        np.testing.assert_allclose(found, expected)


@given(case=score_cases(), num_bins=st.integers(2, 70))
def test_in_bins_it_is_that_of_scores_rounded_down(case, num_bins):
    check(
        lambda: PrecisionRecallCurve(num_bins=num_bins),
        lambda true, scores: curve(true, rounded_down(scores, num_bins)),
        case,
    )


def test_each_point_is_of_predicting_from_its_threshold_on():
    metric = PrecisionRecallCurve()
    metric.update((torch.tensor([0.25, 0.75, 0.5, 0.5]), torch.tensor([1, 1, 0, 1])))
    precision, recall, thresholds = metric.compute()
    assert thresholds.tolist() == [0.25, 0.5, 0.75]
    assert precision.tolist() == [3 / 4, 2 / 3, 1 / 1, 1.0]
    assert recall.tolist() == [3 / 3, 2 / 3, 1 / 3, 0.0]


def test_in_bins_memory_does_not_grow():
    def batch_of(n):
        return torch.linspace(0, 1, n), torch.arange(n) % 2

    check_constant_memory(lambda: PrecisionRecallCurve(num_bins=30), batch_of, 2 * 30)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    check_scores_refused(PrecisionRecallCurve)
