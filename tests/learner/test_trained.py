"""What stays with a trained model: probabilities, reports, and what was learned from the data."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    classification_report,
    confusion_matrix,
    multilabel_confusion_matrix,
)
from torch import nn

from ignite.learner import ClassReport, ConfusionTable, Learner
from ignite.learner._data.schema import Facts
from support.classifiers import X, Y
from support.classifiers import make_learner as make

BITS = (X[:, :1] > 0).float()
LABELS = (X[:, :3] > 0).float()


def trained(loss, y, *end, num=None, **options):
    torch.manual_seed(0)
    num = num or (y.shape[1] if y.ndim > 1 else 3)
    learner = Learner(nn.Sequential(nn.Linear(4, num), *end), loss, lr=0.05, **options)
    learner.fit((X, y), epochs=3, progress=False)
    return learner


# Probabilities and thresholds


@pytest.mark.parametrize(
    ("loss", "y", "end", "expected"),
    [
        ("cross_entropy", Y, [], lambda out: out.softmax(1)),
        ("nll", Y, [nn.LogSoftmax(1)], torch.exp),
        ("bce_with_logits", BITS, [], torch.sigmoid),
        ("bce", BITS, [nn.Sigmoid()], lambda out: out),
        ("bce_with_logits", LABELS, [], torch.sigmoid),
    ],
)
def test_probabilities_are_those_that_the_loss_implies(loss, y, end, expected):
    learner = trained(loss, y, *end)
    found = learner.predict(X, proba=True)
    torch.testing.assert_close(found, expected(learner.predict(X)))
    if found.shape[1] == 3 and y.ndim == 1:
        torch.testing.assert_close(found.sum(1), torch.ones(120))
        assert torch.equal(found.argmax(1), learner.predict(X, decide=True))
        return
    for threshold in (0.2, 0.8):
        chosen = learner.predict(X, threshold=threshold)
        assert torch.equal(chosen, (found > threshold).long().reshape(chosen.shape))
    assert torch.equal(learner.predict(X, threshold=0.5), learner.predict(X, decide=True))
    batches = list(learner.predict_batches(X, proba=True, batch_size=50))
    torch.testing.assert_close(torch.cat(batches), found)


def test_each_label_may_have_a_threshold():
    learner = trained("bce_with_logits", LABELS)
    thresholds = [0.1, 0.5, 0.9]
    found = learner.predict(X, threshold=thresholds)
    expected = learner.predict(X, proba=True).numpy() > np.array(thresholds)
    assert found.tolist() == expected.astype(int).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proba": True, "decide": True}, "proba=True should be given without decide"),
        ({"proba": True, "threshold": 0.5}, "proba=True should be given without decide"),
        ({"threshold": 0.5}, "threshold should be left out for several classes"),
        ({"threshold": 2}, "threshold should be a probability from 0 to 1"),
    ],
)
def test_arguments_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        trained("cross_entropy", Y).predict(X, **options)


def test_numbers_have_no_probabilities():
    learner = trained("mse", X[:, :1])
    with pytest.raises(ValueError, match="proba=True needs a classification task"):
        learner.predict(X, proba=True)
    with pytest.raises(ValueError, match="decide=True needs a classification task"):
        learner.report((X, X[:, :1]))


# Reports


@settings(deadline=None, max_examples=50)
@given(data=st.data(), is_multilabel=st.booleans(), num=st.integers(2, 5))
def test_a_report_and_a_matrix_are_those_of_scikit_learn(data, is_multilabel, num):
    n = data.draw(st.integers(1, 25))
    size, top = (n * num, 1) if is_multilabel else (n, num - 1)
    y, y_pred = (
        torch.tensor(data.draw(st.lists(st.integers(0, top), min_size=size, max_size=size)))
        for _ in range(2)
    )
    options = {"zero_division": 0, "output_dict": True}
    if is_multilabel:
        y, y_pred = y.reshape(n, num), y_pred.reshape(n, num)
        matrix = multilabel_confusion_matrix(y, y_pred)
    else:
        options["labels"] = range(num)
        matrix = confusion_matrix(y, y_pred, labels=range(num))
    expected = classification_report(y, y_pred, **options)
    report = ClassReport.of(y, y_pred, range(num))
    for i in range(num):
        row = expected[str(i)]
        assert report[i]["f1"] == pytest.approx(row["f1-score"])
        assert [report[i][k] for k in ("precision", "recall", "support")] == pytest.approx(
            [row[k] for k in ("precision", "recall", "support")]
        )
    for name, row in report.averages.items():
        theirs = expected[f"{name} avg"]
        assert row["f1"] == pytest.approx(theirs["f1-score"])
        assert row["precision"] == pytest.approx(theirs["precision"])
        assert row["recall"] == pytest.approx(theirs["recall"])
    assert report.accuracy == pytest.approx((y == y_pred).reshape(n, -1).all(1).double().mean())
    table = ConfusionTable.of(y, y_pred, range(num))
    assert table.counts.tolist() == matrix.tolist()
    assert len(str(table).splitlines()) == num + 1


def test_they_have_the_names_of_the_classes_and_pictures():
    pyplot = pytest.importorskip("matplotlib")
    pyplot.use("Agg")
    words = np.array(["cat", "dog", "owl"])[Y]
    learner = make(lr=0.05)
    learner.fit((X, words), epochs=5, progress=False)
    report, table = learner.report((X, words)), learner.confusion_matrix((X, words))
    assert list(report) == list(table.names) == ["cat", "dog", "owl"]
    predicted = learner.predict(X, decide=True)
    assert table.counts.tolist() == confusion_matrix(words, predicted).tolist()
    assert table.to_pandas().loc["cat", "dog"] == table.counts[0, 1]
    assert report.to_pandas().loc["macro", "support"] == 120
    bars = report.plot()
    assert [one.get_text() for one in bars.get_yticklabels()] == ["cat", "dog", "owl"]
    assert [one.get_width() for one in bars.containers[0]] == [
        row["precision"] for row in report.values()
    ]
    ax = table.plot(normalize=True)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert ax.texts[0].get_text() == f"{table.normalized()[0, 0]:.2f}"
    pyplot.pyplot.close("all")


def test_of_several_labels():
    pytest.importorskip("matplotlib").use("Agg")
    learner = trained("bce_with_logits", LABELS)
    table = learner.confusion_matrix((X, LABELS), threshold=0.3)
    found = learner.predict(X, threshold=0.3)
    assert table.counts.tolist() == multilabel_confusion_matrix(LABELS, found).tolist()
    assert str(table).splitlines()[0].split() == [
        "label",
        "true",
        "-",
        "false",
        "+",
        "false",
        "-",
        "true",
        "+",
    ]
    assert len(table.plot()) == 3
    assert set(learner.report((X, LABELS)).averages) == {"micro", "macro", "weighted"}
    with pytest.raises(ValueError, match="to_pandas needs one class for each sample"):
        table.to_pandas()


def test_ignored_targets_are_not_counted():
    y = Y.clone()
    y[::3] = -100
    learner = trained("cross_entropy", y)
    assert int(learner.confusion_matrix((X, y)).counts.sum()) == int((y >= 0).sum())
    assert learner.report((X, y)).averages["macro"]["support"] == int((y >= 0).sum())


def test_a_class_that_was_never_seen_again_has_a_row():
    learner = trained("cross_entropy", Y)
    few = Y == 1
    assert list(learner.report((X[few], Y[few]))) == [0, 1, 2]
    assert learner.confusion_matrix((X[few], Y[few])).counts.shape == (3, 3)


# What was learned from the data


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_dtypes_and_shapes_go_with_the_weights(tmp_path, name):
    learner = trained("mse", X[:, :2])
    learner.save(tmp_path / name)
    other = Learner(nn.Sequential(nn.Linear(4, 2)), "mse")
    other.load(tmp_path / name)
    facts = other._learnt.facts
    assert (facts.x[0].dtype, facts.y[0].shape, facts.y[0].dtype) == ("float32", (2,), "float32")
    # Integers are what floats were, as in a table typed by hand; bytes may be pixels.
    whole = torch.tensor([[1, 2, 3, 4]])
    for x in (whole, whole.int(), whole.numpy(), whole.bool().logical_not()):
        expected = other.predict(torch.as_tensor(x).float())
        assert torch.equal(other.predict(x), expected)
    with pytest.raises(TypeError, match="x should be float32, .* but given uint8: use .* / 255"):
        other.predict(whole.to(torch.uint8))
    with pytest.raises(
        ValueError, match=r"y should have shape \(N, 2\), which the model was trained"
    ):
        other.evaluate((X, X[:, :3]))
    with pytest.raises(
        ValueError, match=r"y should have shape \(N, 2\), which the model was trained"
    ):
        other.fit((X, X[:, 0]))


def test_integers_stay_integers():
    codes = torch.randint(7, (40, 3))
    learner = Learner(
        nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2)), "cross_entropy"
    )
    learner.fit((codes, codes[:, 0] % 2), progress=False)
    assert learner.predict(codes.to(torch.int32)).shape == (40, 2)
    with pytest.raises(
        TypeError, match="x should be int64, which the model was trained on, but given float32"
    ):
        learner.predict(codes.float())


def test_files_of_earlier_versions_have_neither():
    facts = Facts.from_text(trained("cross_entropy", Y)._learnt.facts.to_text())
    assert facts.x[0].dtype == "float32"
    old = json.loads(facts.to_text())
    old["x"] = [pair[:2] for pair in old["x"]]
    del old["y"]
    loaded = Facts.from_text(json.dumps(old))
    assert (loaded.x[0].dtype, loaded.y) == ("", ())
    loaded.check(type("Parts", (), {"x": X.long(), "y": None})())


def test_the_order_of_columns_is_that_of_the_training(tmp_path):
    frame = pd.DataFrame(X.numpy(), columns=list("abcd")).assign(y=np.array(["u", "v", "w"])[Y])
    learner = make(lr=0.05)
    learner.fit(frame, target="y", epochs=2, progress=False)
    learner.save(tmp_path / "model.pt")
    other = make()
    other.load(tmp_path / "model.pt")
    mixed = frame[["d", "y", "b", "a", "c"]].assign(more="text")
    assert torch.equal(other.predict(mixed), learner.predict(frame))
    assert other.predict(mixed, decide=True) == learner.predict(frame, decide=True)
    assert other.classes == ("u", "v", "w")
    assert str(other.report(mixed)) == str(learner.report(frame))
