import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import fbeta_score

from ignite.metrics import Fbeta, Precision, Recall
from support.classification_oracles import FIRST, check, check_refused, label_cases, refused_labels

betas = st.sampled_from([0.5, 1, 2, 3.5])


def create(beta, average, is_multilabel, of_binary=False):
    precision, recall = (
        kind(average=of_binary, is_multilabel=is_multilabel) for kind in (Precision, Recall)
    )
    return Fbeta(beta, average=average, precision=precision, recall=recall)


@pytest.mark.parametrize("average", [True, False])
@given(case=label_cases(), beta=betas)
def test_it_is_that_of_scikit_learn(average, case, beta):
    def expected(true, predicted):
        values = fbeta_score(
            true, predicted, beta=beta, labels=case.classes, average=None, zero_division=0
        )
        return float(np.mean(values)) if average else values

    check(lambda: create(beta, average, case.is_multilabel, of_binary=None), expected, case)


@given(case=label_cases(["binary", "multiclass"]), beta=betas)
def test_by_default_of_binary_data_it_is_that_of_class_1(case, beta):
    def expected(true, predicted):
        values = fbeta_score(
            true, predicted, beta=beta, labels=case.classes, average=None, zero_division=0
        )
        return float(values[1] if case.kind == "binary" else np.mean(values))

    check(lambda: Fbeta(beta), expected, case)


@refused_labels("binary", "multiclass", "multilabel")
def test_what_does_not_fit_is_refused_and_changes_nothing(kind, wrong, error, words):
    check_refused(create(2, True, kind == "multilabel"), FIRST[kind], wrong, error, words)


@pytest.mark.parametrize("beta", [0, -1, float("nan")])
def test_beta_is_positive(beta):
    with pytest.raises(ValueError, match=f"Beta should be a positive integer, but given {beta}"):
        Fbeta(beta)


@pytest.mark.parametrize("name", ["precision", "recall"])
def test_metrics_that_are_given_bring_all_with_them(name):
    kind = {"precision": Precision, "recall": Recall}[name]
    with pytest.raises(
        ValueError, match=f"If {name} argument is provided, output_transform should be None"
    ):
        Fbeta(1, **{name: kind()}, output_transform=lambda output: output)
    with pytest.raises(ValueError, match=f"If {name} argument is provided, device should be None"):
        Fbeta(1, **{name: kind()}, device="cpu")
    for average, shown in ((True, "macro"), ("micro", "micro")):
        with pytest.raises(
            ValueError, match=f"Input {name} metric should have average=False, but given '{shown}'"
        ):
            Fbeta(1, **{name: kind(average=average)})
