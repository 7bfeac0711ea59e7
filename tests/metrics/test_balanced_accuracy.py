import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import balanced_accuracy_score

from ignite.metrics import BalancedAccuracy
from support.classification_oracles import (
    FIRST,
    check,
    check_refused,
    check_refused_late,
    counts_of,
    label_cases,
    refused_labels,
)

two_kinds = label_cases(["binary", "multiclass"])


def balanced_accuracy(true, predicted, num_classes, adjusted):
    counts = counts_of(true, predicted, num_classes)
    has_examples = counts.tp + counts.fn > 0
    value, chance = (
        np.mean(counts.tp[has_examples] / (counts.tp + counts.fn)[has_examples]),
        1 / sum(has_examples),
    )
    return float((value - chance) / (1 - chance) if adjusted and chance < 1 else value)


@pytest.mark.parametrize("adjusted", [False, True])
@given(case=two_kinds)
def test_it_is_the_mean_recall_of_classes_with_examples(adjusted, case):
    check(
        lambda: BalancedAccuracy(adjusted=adjusted),
        lambda *rows: balanced_accuracy(*rows, case.num_classes, adjusted),
        case,
    )


@pytest.mark.parametrize("adjusted", [False, True])
@given(case=two_kinds)
def test_it_is_that_of_scikit_learn(adjusted, case):
    metric = BalancedAccuracy(adjusted=adjusted)
    for batch in case.batches:
        metric.update(batch)
    if len({*case.true}) > 1 and {*case.predicted} <= {
        *case.true
    }:  # else scikit-learn warns, or divides by 0
        expected = balanced_accuracy_score(case.true, case.predicted, adjusted=adjusted)
        assert metric.compute() == pytest.approx(expected, abs=1e-12)


def test_chance_is_zero_if_adjusted():
    metric = BalancedAccuracy(adjusted=True)
    metric.update((torch.zeros(9).long(), torch.tensor([0] * 8 + [1])))
    assert metric.compute() == 0.0


@refused_labels("binary", "multiclass")
def test_what_does_not_fit_is_refused_and_changes_nothing(kind, wrong, error, words):
    check_refused(BalancedAccuracy(), FIRST[kind], wrong, error, words)


def test_wrong_values_elsewhere_are_refused_by_compute():
    check_refused_late(BalancedAccuracy)
