"""``average=`` of ROC_AUC and AveragePrecision, for classes and for labels, against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ignite.metrics import ROC_AUC, AveragePrecision
from support.classification_oracles import assert_same, check_refused, elsewhere, plain
from support.score_oracles import average_precision, roc_auc, rounded_down

ORACLES = {
    ROC_AUC: (roc_auc, roc_auc_score),
    AveragePrecision: (average_precision, average_precision_score),
}
"""The value of one column, where scikit-learn warns, too; and scikit-learn's own averages."""

every_kind = pytest.mark.parametrize("kind", ORACLES, ids=lambda kind: kind.__name__)


def averaged(of_column, true, scores, average):
    """Of 0 and 1 of shape (N, K): of each column alone by scikit-learn, or of all of them as one."""
    if average == "micro":
        return of_column(true.ravel(), scores.ravel())
    values = np.array([of_column(*column) for column in zip(true.T, scores.T, strict=True)])
    if average is None:
        return values
    support = true.sum(axis=0)
    is_used = support > 0
    return float(
        values.mean()
        if average == "macro"
        else np.average(values[is_used], weights=support[is_used])
    )


@every_kind
@pytest.mark.parametrize("average", ["macro", "weighted", "micro", None])
@given(
    st.data(),
    st.sampled_from([None, 40]),
    st.integers(2, 4),
    st.lists(st.integers(0, 5), min_size=1).filter(any),
)
def test_classes_are_each_against_the_others(kind, average, data, num_bins, num_classes, sizes):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    scores = rng.integers(0, 64, size=(sum(sizes), num_classes), endpoint=True) / 64
    y = rng.integers(0, num_classes, size=sum(sizes))
    true, rounded = (
        np.eye(num_classes, dtype=int)[y],
        scores if num_bins is None else rounded_down(scores, num_bins),
    )
    expected = averaged(ORACLES[kind][0], true, rounded, average)
    metric, other = (kind(num_bins=num_bins, average=average) for _ in range(2))
    dtype = data.draw(st.sampled_from([torch.int64, torch.uint8, torch.float32]))
    of_labels, y = kind(num_bins=num_bins, average=average), torch.from_numpy(y)
    of_labels.update((torch.from_numpy(scores), torch.from_numpy(true)))
    for y_pred, target in zip(torch.from_numpy(scores).split(sizes), y.split(sizes), strict=True):
        metric.update((y_pred, target.to(dtype)))
        other.update(elsewhere(y_pred, target))
    for each in (metric, other, of_labels):
        assert_same(plain(each.compute()), expected)


@every_kind
@pytest.mark.parametrize("num_bins", [None, 10])
@pytest.mark.parametrize("target", [3, -1, -100, 0.5, math.nan, math.inf])
def test_targets_that_are_no_class_are_refused(kind, num_bins, target):
    first = (torch.full((2, 3), 0.5), torch.tensor([0.0, 2.0]))
    wrong = (torch.full((2, 3), 0.5), torch.tensor([1.0, target]))
    check_refused(
        kind(num_bins=num_bins),
        first,
        wrong,
        ValueError,
        "Targets should be|targets 0 or 1|whole numbers",
    )
    metric = kind(num_bins=num_bins)
    metric.update(elsewhere(*wrong))
    with pytest.raises(ValueError, match="[Tt]argets|whole numbers"):
        metric.compute()


@every_kind
@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "samples", None])
@given(st.integers(0, 2**16), st.integers(2, 9), st.lists(st.integers(0, 4), min_size=1))
def test_averages_of_labels_are_those_of_scikit_learn(kind, average, seed, num_labels, sizes):
    rng = np.random.default_rng(seed)
    num = sum(sizes) + 2
    scores, y = rng.integers(0, 8, (num, num_labels)) / 8, rng.integers(0, 2, (num, num_labels))
    y[:, 1] = 1 - y[:, 0]  # one of each in all rows and columns
    y[1] = 1 - y[0]
    metric = kind(average=average)
    for pair in zip(
        torch.from_numpy(scores).split([2, *sizes]),
        torch.from_numpy(y).split([2, *sizes]),
        strict=True,
    ):
        metric.update(pair)
    assert_same(plain(metric.compute()), ORACLES[kind][1](y, scores, average=average))


@every_kind
@given(st.integers(0, 2**16), st.integers(2, 5))
def test_of_samples_classes_are_labels_of_which_one_is_true(kind, seed, num_classes):
    rng = np.random.default_rng(seed)
    scores, y = rng.integers(0, 6, (9, num_classes)) / 6, rng.integers(0, num_classes, 9)
    metric = kind(average="samples")
    metric.update((torch.from_numpy(scores), torch.from_numpy(y)))
    rows = zip(np.eye(num_classes, dtype=int)[y], scores, strict=True)
    assert_same(metric.compute(), float(np.mean([ORACLES[kind][0](*row) for row in rows])))


@every_kind
def test_the_mean_over_samples_needs_all_of_them(kind):
    with pytest.raises(
        ValueError, match="num_bins should be None for average='samples', but given 5"
    ):
        kind(num_bins=5, average="samples")


@every_kind
def test_wrong_averages(kind):
    for average in ("sample", "mean", True, 1):
        with pytest.raises(
            ValueError, match=f"average should be 'macro', .* or None, but given {average!r}"
        ):
            kind(average=average)


@every_kind
@given(st.integers(0, 2**16), st.integers(3, 5))
def test_the_mean_over_classes_is_that_of_scikit_learn(kind, seed, num_classes):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 20)])
    scores = rng.dirichlet(np.ones(num_classes), len(y))
    more = {"multi_class": "ovr"} if kind is ROC_AUC else {}
    for average in ("macro", "weighted"):
        metric = kind(average=average)
        metric.update((torch.from_numpy(scores), torch.from_numpy(y)))
        expected = ORACLES[kind][1](y, scores, average=average, **more)
        assert metric.compute() == pytest.approx(expected)
