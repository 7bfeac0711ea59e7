import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from ignite.metrics import ROC_AUC, RocCurve
from ignite.metrics.roc_auc import roc_auc_compute_fn, roc_auc_curve_compute_fn
from support.classification_oracles import (
    check,
    check_constant_memory,
    check_refused,
)
from support.score_oracles import (
    FIRST_SCORES,
    check_scores_refused,
    roc_auc,
    rounded_down,
    score_cases,
)

num_bins = st.integers(2, 70)


def curve(true, scores):
    """Rates of what there is none of are NaN, where scikit-learn warns."""
    if 0 < true.sum() < len(true):
        return tuple(np.asarray(values, dtype=float) for values in roc_curve(true, scores))
    fpr, tpr, thresholds = roc_curve(
        np.append(true, 1 - true[0]), np.append(scores, -1)
    )  # the other kind comes last
    fpr, tpr, thresholds = (values[thresholds >= 0] for values in (fpr, tpr, thresholds))
    return (fpr, fpr * math.nan, thresholds) if true[0] == 0 else (tpr * math.nan, tpr, thresholds)


@given(case=score_cases(columns=(None, 2, 3)))
def test_it_is_the_area_of_scikit_learn(case):
    check(ROC_AUC, roc_auc, case)
    assert roc_auc_compute_fn(
        torch.tensor(case.predicted), torch.tensor(case.true)
    ) == pytest.approx(roc_auc(case.true, case.predicted), nan_ok=True)


@given(case=score_cases(columns=(None, 2, 3)), num_bins=num_bins)
def test_in_bins_it_is_that_of_scores_rounded_down(case, num_bins):
    check(
        lambda: ROC_AUC(num_bins=num_bins),
        lambda true, scores: roc_auc(true, rounded_down(scores, num_bins)),
        case,
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20))
def test_it_is_how_often_a_positive_outscores_a_negative(pairs):
    metric = ROC_AUC()
    metric.update(
        (
            torch.tensor([float(score) for score, _ in pairs]),
            torch.tensor([target for _, target in pairs]),
        )
    )
    positives, negatives = (
        [score for score, target in pairs if target is kind] for kind in (True, False)
    )
    wins = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
    assert metric.compute() == pytest.approx(
        sum(wins) / len(wins) if wins else math.nan, nan_ok=True
    )


@given(case=score_cases())
def test_it_is_the_curve_of_scikit_learn(case):
    check(RocCurve, curve, case)
    values = roc_auc_curve_compute_fn(torch.tensor(case.predicted), torch.tensor(case.true))
    for found, expected in zip(values, curve(case.true, case.predicted), strict=True):
        np.testing.assert_allclose(found, expected)


@given(case=score_cases(), num_bins=num_bins)
def test_in_bins_it_is_the_curve_of_scores_rounded_down(case, num_bins):
    check(
        lambda: RocCurve(num_bins=num_bins),
        lambda true, scores: curve(true, rounded_down(scores, num_bins)),
        case,
    )


@pytest.mark.parametrize("metric", [ROC_AUC(), RocCurve()])
def test_logits_may_be_infinite(metric):
    logits = torch.tensor([math.inf, -math.inf, 0.0, math.inf])
    metric.update((logits, torch.tensor([1, 0, 0, 0])))
    expected = {
        ROC_AUC: (1 + 1 + 1 / 2) / 3,
        RocCurve: ([0, 1 / 3, 1], [0, 1, 1], [math.inf, math.inf, -math.inf]),
    }
    value = metric.compute()
    if isinstance(metric, ROC_AUC):
        assert value == pytest.approx(expected[ROC_AUC])
    else:
        assert [values.tolist() for values in value] == [
            pytest.approx(values) for values in expected[RocCurve]
        ]


def test_in_bins_memory_does_not_grow():
    def batch_of(n):
        return torch.linspace(0, 1, n), torch.arange(n) % 2

    def batch_of_columns(n):
        return torch.linspace(0, 1, 3 * n).reshape(n, 3), torch.arange(3 * n).reshape(n, 3) % 2

    check_constant_memory(lambda: ROC_AUC(num_bins=50), batch_of, 2 * 50)
    check_constant_memory(lambda: RocCurve(num_bins=50), batch_of, 2 * 50)
    check_constant_memory(lambda: ROC_AUC(num_bins=50), batch_of_columns, 3 * 2 * 50)


@pytest.mark.parametrize("create", [ROC_AUC, RocCurve])
def test_what_does_not_fit_is_refused_and_changes_nothing(create):
    check_scores_refused(create)


@pytest.mark.parametrize("num_bins", [None, 10])
def test_another_number_of_labels_is_refused_and_changes_nothing(num_bins):
    first = (
        torch.tensor([[0.1, 0.9], [0.7, 0.2], [0.5, 0.5]]),
        torch.tensor([[0, 1], [1, 0], [1, 1]]),
    )
    for wrong in (torch.ones(2, 3), torch.ones(2)):
        pair = (wrong, wrong.long())
        check_refused(
            ROC_AUC(num_bins=num_bins), first, pair, ValueError, r"given (-3|1|\(2, 3\)|\(2,\))"
        )
    columns = (torch.ones(2, 3), torch.ones(2, 3))
    check_refused(
        ROC_AUC(num_bins=num_bins), FIRST_SCORES, columns, ValueError, r"given (-3|\(2, 3\))"
    )
