import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import precision_score

from ignite.metrics import Precision
from support.classification_oracles import (
    FIRST,
    check,
    check_refused,
    check_refused_late,
    label_cases,
    refused_labels,
)

AVERAGES = (False, None, "macro", "micro", "weighted")


def precision(true, predicted, case, average):
    values = precision_score(
        true, predicted, labels=case.classes, average=average or None, zero_division=0
    )
    if average:
        return float(values)
    return np.array(values[1]) if case.kind == "binary" and average is False else values


@pytest.mark.parametrize("average", AVERAGES)
@given(case=label_cases())
def test_it_is_that_of_scikit_learn(average, case):
    check(
        lambda: Precision(average=average, is_multilabel=case.is_multilabel),
        lambda true, predicted: precision(true, predicted, case, average),
        case,
    )


@given(case=label_cases(["multilabel"]))
def test_of_samples_it_is_that_of_scikit_learn(case):
    check(
        lambda: Precision(average="samples", is_multilabel=True),
        lambda true, predicted: float(
            precision_score(true, predicted, average="samples", zero_division=0)
        ),
        case,
    )


@refused_labels("binary", "multiclass", "multilabel")
def test_what_does_not_fit_is_refused_and_changes_nothing(kind, wrong, error, words):
    check_refused(Precision(is_multilabel=kind == "multilabel"), FIRST[kind], wrong, error, words)


def test_wrong_values_elsewhere_are_refused_by_compute():
    check_refused_late(Precision)


def test_a_class_that_is_never_predicted_has_none():
    metric = Precision()
    metric.update(
        (torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0]]), torch.tensor([0, 1, 2]))
    )
    assert metric.compute().tolist() == [1 / 2, 1.0, 0.0]
