import numpy as np
import pytest
import torch
from hypothesis import given

from ignite.metrics import Specificity
from support.classification_oracles import (
    FIRST,
    check,
    check_refused,
    check_refused_late,
    counts_of,
    label_cases,
    quotients,
    refused_labels,
)


def specificity(true, predicted, case, average):
    counts = counts_of(true, predicted, case.num_classes)
    if average == "micro":
        return float(quotients(counts.tn.sum(), counts.tn.sum() + counts.fp.sum()))
    values = quotients(counts.tn, counts.tn + counts.fp)
    if average == "macro":
        return float(values.mean())
    if average == "weighted":
        support = counts.tp + counts.fn
        return float(quotients((values * support).sum(), support.sum()))
    return np.array(values[1]) if case.kind == "binary" and average is False else values


@pytest.mark.parametrize("average", [False, None, "macro", "micro", "weighted"])
@given(case=label_cases())
def test_it_is_the_share_of_true_among_negatives(average, case):
    check(
        lambda: Specificity(average=average, is_multilabel=case.is_multilabel),
        lambda true, predicted: specificity(true, predicted, case, average),
        case,
    )


def test_a_class_that_all_examples_have_has_none():
    metric = Specificity()
    metric.update((torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0])))
    assert metric.compute().tolist() == [0.0, 1 / 2]


@refused_labels("binary", "multiclass", "multilabel")
def test_what_does_not_fit_is_refused_and_changes_nothing(kind, wrong, error, words):
    check_refused(Specificity(is_multilabel=kind == "multilabel"), FIRST[kind], wrong, error, words)


def test_wrong_values_elsewhere_are_refused_by_compute():
    check_refused_late(Specificity)


def test_examples_have_none_of_their_own():
    with pytest.raises(
        ValueError, match="average should not be 'samples' for Specificity, but given 'samples'"
    ):
        Specificity(average="samples", is_multilabel=True)
