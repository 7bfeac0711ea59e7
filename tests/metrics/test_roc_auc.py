import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from ignite.metrics import ROC_AUC, RocCurve
from ignite.metrics.roc_auc import roc_auc_compute_fn, roc_auc_curve_compute_fn
from support.classification_oracles import (
    assert_same,
    check,
    check_constant_memory,
    check_refused,
    elsewhere,
    plain,
)
from support.score_oracles import (
    FIRST_SCORES,
    check_scores_refused,
    mean_of_columns,
    rounded_down,
    score_cases,
)

num_bins = st.integers(2, 70)


@mean_of_columns
def auc(true, scores):
    """NaN if there are only positives or negatives, where scikit-learn warns."""
    return float(roc_auc_score(true, scores)) if 0 < true.sum() < len(true) else math.nan


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
    check(ROC_AUC, auc, case)
    assert roc_auc_compute_fn(
        torch.tensor(case.predicted), torch.tensor(case.true)
    ) == pytest.approx(auc(case.true, case.predicted), nan_ok=True)


@given(case=score_cases(columns=(None, 2, 3)), num_bins=num_bins)
def test_in_bins_it_is_that_of_scores_rounded_down(case, num_bins):
    check(
        lambda: ROC_AUC(num_bins=num_bins),
        lambda true, scores: auc(true, rounded_down(scores, num_bins)),
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


def averaged(true, scores, average):
    """Of 0 and 1 of shape (N, K): of each column alone by scikit-learn, or of all of them as one."""
    if average == "micro":
        return auc(true.ravel(), scores.ravel())
    values = np.array([auc(*column) for column in zip(true.T, scores.T, strict=True)])
    if average is None:
        return values
    support = true.sum(axis=0)
    is_used = support > 0
    return float(
        values.mean()
        if average == "macro"
        else np.average(values[is_used], weights=support[is_used])
    )


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", None])
@given(
    st.data(),
    st.sampled_from([None, 40]),
    st.integers(2, 4),
    st.lists(st.integers(0, 5), min_size=1).filter(any),
)
def test_classes_are_each_against_the_others(average, data, num_bins, num_classes, sizes):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    scores = rng.integers(0, 64, size=(sum(sizes), num_classes), endpoint=True) / 64
    y = rng.integers(0, num_classes, size=sum(sizes))
    true, rounded = (
        np.eye(num_classes, dtype=int)[y],
        scores if num_bins is None else rounded_down(scores, num_bins),
    )
    expected = averaged(true, rounded, average)
    metric, other = (ROC_AUC(num_bins=num_bins, average=average) for _ in range(2))
    dtype = data.draw(st.sampled_from([torch.int64, torch.uint8, torch.float32]))
    of_labels, y = ROC_AUC(num_bins=num_bins, average=average), torch.from_numpy(y)
    of_labels.update((torch.from_numpy(scores), torch.from_numpy(true)))
    for y_pred, target in zip(torch.from_numpy(scores).split(sizes), y.split(sizes), strict=True):
        metric.update((y_pred, target.to(dtype)))
        other.update(elsewhere(y_pred, target))
    for each in (metric, other, of_labels):
        assert_same(plain(each.compute()), expected)


@pytest.mark.parametrize("num_bins", [None, 10])
@pytest.mark.parametrize("target", [3, -1, -100, 0.5, math.nan, math.inf])
def test_targets_that_are_no_class_are_refused(num_bins, target):
    first = (torch.full((2, 3), 0.5), torch.tensor([0.0, 2.0]))
    wrong = (torch.full((2, 3), 0.5), torch.tensor([1.0, target]))
    check_refused(
        ROC_AUC(num_bins=num_bins),
        first,
        wrong,
        ValueError,
        "Targets should be|targets 0 or 1|whole numbers",
    )
    metric = ROC_AUC(num_bins=num_bins)
    metric.update(elsewhere(*wrong))
    with pytest.raises(ValueError, match="[Tt]argets|whole numbers"):
        metric.compute()


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "samples", None])
@given(st.integers(0, 2**16), st.integers(2, 9), st.lists(st.integers(0, 4), min_size=1))
def test_averages_of_labels_are_those_of_scikit_learn(average, seed, num_labels, sizes):
    rng = np.random.default_rng(seed)
    num = sum(sizes) + 2
    scores, y = rng.integers(0, 8, (num, num_labels)) / 8, rng.integers(0, 2, (num, num_labels))
    y[:, 1] = 1 - y[:, 0]  # one of each in all rows and columns
    y[1] = 1 - y[0]
    metric = ROC_AUC(average=average)
    for pair in zip(
        torch.from_numpy(scores).split([2, *sizes]),
        torch.from_numpy(y).split([2, *sizes]),
        strict=True,
    ):
        metric.update(pair)
    assert_same(plain(metric.compute()), roc_auc_score(y, scores, average=average))


@given(st.integers(0, 2**16), st.integers(2, 5))
def test_of_samples_classes_are_labels_of_which_one_is_true(seed, num_classes):
    rng = np.random.default_rng(seed)
    scores, y = rng.integers(0, 6, (9, num_classes)) / 6, rng.integers(0, num_classes, 9)
    metric = ROC_AUC(average="samples")
    metric.update((torch.from_numpy(scores), torch.from_numpy(y)))
    rows = zip(np.eye(num_classes, dtype=int)[y], scores, strict=True)
    assert_same(metric.compute(), float(np.mean([auc(*row) for row in rows])))


def test_the_mean_over_samples_needs_all_of_them():
    with pytest.raises(
        ValueError, match="num_bins should be None for average='samples', but given 5"
    ):
        ROC_AUC(num_bins=5, average="samples")


def test_wrong_averages():
    for average in ("sample", "mean", True, 1):
        with pytest.raises(
            ValueError, match=f"average should be 'macro', .* or None, but given {average!r}"
        ):
            ROC_AUC(average=average)


@given(st.integers(0, 2**16), st.integers(3, 5))
def test_the_mean_over_classes_is_that_of_scikit_learn(seed, num_classes):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 20)])
    scores = rng.dirichlet(np.ones(num_classes), len(y))
    for average in ("macro", "weighted"):
        metric = ROC_AUC(average=average)
        metric.update((torch.from_numpy(scores), torch.from_numpy(y)))
        assert metric.compute() == pytest.approx(
            roc_auc_score(y, scores, multi_class="ovr", average=average)
        )
