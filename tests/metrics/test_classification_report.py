import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import classification_report, precision_recall_fscore_support

from ignite.engine import Engine
from ignite.metrics import ClassificationReport
from support.classification_oracles import FIRST, check, check_refused, label_cases, refused_labels


def report(true, predicted, case, beta):
    columns = precision_recall_fscore_support(
        true, predicted, beta=beta, labels=case.classes, zero_division=0
    )[:3]
    names = ("precision", "recall", f"f{beta}-score")
    found = {
        str(i): {name: float(values[i]) for name, values in zip(names, columns, strict=True)}
        for i in case.classes
    }
    means = {name: float(values.mean()) for name, values in zip(names, columns, strict=True)}
    return {**found, "macro avg": means}


@given(case=label_cases(), beta=st.sampled_from([1, 2, 0.5]))
def test_it_has_the_numbers_of_scikit_learn(case, beta):
    check(
        lambda: ClassificationReport(beta, output_dict=True, is_multilabel=case.is_multilabel),
        lambda true, predicted: report(true, predicted, case, beta),
        case,
    )


@given(case=label_cases())
def test_it_is_the_report_of_scikit_learn(case):
    names = [f"class {i}" for i in case.classes]
    metric = ClassificationReport(output_dict=True, is_multilabel=case.is_multilabel, labels=names)
    for batch in case.batches:
        metric.update(batch)
    arguments = {
        "labels": case.classes,
        "target_names": names,
        "output_dict": True,
        "zero_division": 0,
    }
    theirs = classification_report(case.true, case.predicted, **arguments)
    for label, numbers in metric.compute().items():
        for name, number in numbers.items():
            assert number == pytest.approx(theirs[label][name], abs=1e-12)


@given(case=label_cases())
def test_as_json_it_is_the_same(case):
    metrics = [
        ClassificationReport(output_dict=as_dict, is_multilabel=case.is_multilabel)
        for as_dict in (True, False)
    ]
    for metric in metrics:
        for batch in case.batches:
            metric.update(batch)
    assert json.loads(metrics[1].compute()) == metrics[0].compute()


@refused_labels("binary", "multiclass", "multilabel")
def test_invalid_outputs_are_refused_and_change_nothing(kind, wrong, error, words):
    metric = ClassificationReport(output_dict=True, is_multilabel=kind == "multilabel")
    check_refused(metric, FIRST[kind], wrong, error, words)


def test_all_classes_need_a_name():
    metric = ClassificationReport(output_dict=True, labels=["cat", "dog"])
    metric.update(FIRST["multiclass"])
    with pytest.raises(
        ValueError, match=r"labels should name all 3 classes, but given \['cat', 'dog'\]"
    ):
        metric.compute()


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("flatten", {"0", "1", "macro avg"}),
        ("named", {"report"}),
        ("both", {"report", "0", "1", "macro avg"}),
    ],
)
def test_the_result_mode_determines_where_it_goes(mode, names):
    engine = Engine(lambda engine, batch: (torch.eye(2), torch.tensor([0, 1])))
    ClassificationReport(output_dict=True, metrics_result_mode=mode).attach(engine, "report")
    metrics = engine.run([0]).metrics
    assert metrics.keys() == names
    perfect = {"precision": 1.0, "recall": 1.0, "f1-score": 1.0}
    assert (metrics if mode == "flatten" else metrics["report"])["1"] == perfect
