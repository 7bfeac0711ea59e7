import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ignite.metrics import AveragePrecision
from ignite.metrics.average_precision import average_precision_compute_fn
from support.classification_oracles import (
    assert_same,
    check,
    check_constant_memory,
    check_refused,
    elsewhere,
    plain,
)
from support.score_oracles import check_scores_refused, mean_of_columns, rounded_down, score_cases


@mean_of_columns
def average_precision(true, scores):
    """0 without positives, where scikit-learn warns."""
    return float(average_precision_score(true, scores)) if true.any() else 0.0


@given(case=score_cases(columns=(None, 2, 3)))
def test_it_is_that_of_scikit_learn(case):
    check(AveragePrecision, average_precision, case)
    value = average_precision_compute_fn(torch.tensor(case.predicted), torch.tensor(case.true))
    assert value == pytest.approx(average_precision(case.true, case.predicted))


@given(case=score_cases(columns=(None, 2, 3)), num_bins=st.integers(2, 70))
def test_in_bins_it_is_that_of_scores_rounded_down(case, num_bins):
    check(
        lambda: AveragePrecision(num_bins=num_bins),
        lambda true, scores: average_precision(true, rounded_down(scores, num_bins)),
        case,
    )


@given(st.permutations(range(8)), st.lists(st.booleans(), min_size=8, max_size=8))
def test_without_ties_it_is_the_mean_of_precisions_at_positives(order, targets):
    ranked = [targets[i] for i in np.argsort(order)[::-1]]
    precisions = [sum(ranked[: i + 1]) / (i + 1) for i in range(8) if ranked[i]]
    metric = AveragePrecision()
    metric.update((torch.tensor(order, dtype=torch.float32), torch.tensor(targets)))
    assert metric.compute() == pytest.approx(
        sum(precisions) / len(precisions) if precisions else 0.0
    )


def test_in_bins_memory_does_not_grow():
    def batch_of(n):
        return torch.linspace(0, 1, 2 * n).reshape(n, 2), torch.arange(2 * n).reshape(n, 2) % 2

    check_constant_memory(lambda: AveragePrecision(num_bins=30), batch_of, 2 * 2 * 30)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    check_scores_refused(AveragePrecision)


@pytest.mark.parametrize("num_bins", [None, 10])
def test_another_number_of_labels_is_refused_and_changes_nothing(num_bins):
    first = (torch.tensor([[0.1, 0.9], [0.7, 0.2]]), torch.tensor([[0, 1], [1, 0]]))
    wrong = (torch.ones(2, 3), torch.ones(2, 3).long())
    check_refused(
        AveragePrecision(num_bins=num_bins), first, wrong, ValueError, r"given (-3|\(2, 3\))"
    )


def averaged(true, scores, average):
    """Of 0 and 1 of shape (N, K): of each column alone by scikit-learn, or of all of them as one."""
    if average == "micro":
        return average_precision(true.ravel(), scores.ravel())
    values = np.array([average_precision(*column) for column in zip(true.T, scores.T, strict=True)])
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
    metric, other = (AveragePrecision(num_bins=num_bins, average=average) for _ in range(2))
    dtype = data.draw(st.sampled_from([torch.int64, torch.uint8, torch.float32]))
    of_labels, y = AveragePrecision(num_bins=num_bins, average=average), torch.from_numpy(y)
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
        AveragePrecision(num_bins=num_bins),
        first,
        wrong,
        ValueError,
        "Targets should be|targets 0 or 1|whole numbers",
    )
    metric = AveragePrecision(num_bins=num_bins)
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
    metric = AveragePrecision(average=average)
    for pair in zip(
        torch.from_numpy(scores).split([2, *sizes]),
        torch.from_numpy(y).split([2, *sizes]),
        strict=True,
    ):
        metric.update(pair)
    assert_same(plain(metric.compute()), average_precision_score(y, scores, average=average))


@given(st.integers(0, 2**16), st.integers(2, 5))
def test_of_samples_classes_are_labels_of_which_one_is_true(seed, num_classes):
    rng = np.random.default_rng(seed)
    scores, y = rng.integers(0, 6, (9, num_classes)) / 6, rng.integers(0, num_classes, 9)
    metric = AveragePrecision(average="samples")
    metric.update((torch.from_numpy(scores), torch.from_numpy(y)))
    rows = zip(np.eye(num_classes, dtype=int)[y], scores, strict=True)
    assert_same(metric.compute(), float(np.mean([average_precision(*row) for row in rows])))


def test_the_mean_over_samples_needs_all_of_them():
    with pytest.raises(
        ValueError, match="num_bins should be None for average='samples', but given 5"
    ):
        AveragePrecision(num_bins=5, average="samples")


def test_wrong_averages():
    for average in ("sample", "mean", True, 1):
        with pytest.raises(
            ValueError, match=f"average should be 'macro', .* or None, but given {average!r}"
        ):
            AveragePrecision(average=average)


@given(st.integers(0, 2**16), st.integers(3, 5))
def test_the_mean_over_classes_is_that_of_scikit_learn(seed, num_classes):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 20)])
    scores = rng.random((len(y), num_classes))
    for average in ("macro", "weighted", "micro"):
        metric = AveragePrecision(average=average)
        metric.update((torch.from_numpy(scores), torch.from_numpy(y)))
        assert metric.compute() == pytest.approx(
            average_precision_score(y, scores, average=average)
        )
