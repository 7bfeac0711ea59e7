from hypothesis import given
from sklearn.metrics import hamming_loss

from ignite.metrics import HammingDistance
from support.classification_oracles import (
    FIRST,
    check,
    check_refused,
    check_refused_late,
    label_cases,
    refused_labels,
)


@given(case=label_cases())
def test_it_is_the_loss_of_scikit_learn(case):
    check(
        lambda: HammingDistance(is_multilabel=case.is_multilabel),
        lambda true, predicted: float(hamming_loss(true, predicted)),
        case,
    )


@refused_labels("binary", "multiclass", "multilabel")
def test_what_does_not_fit_is_refused_and_changes_nothing(kind, wrong, error, words):
    check_refused(
        HammingDistance(is_multilabel=kind == "multilabel"), FIRST[kind], wrong, error, words
    )


def test_wrong_values_elsewhere_are_refused_by_compute():
    check_refused_late(HammingDistance)
