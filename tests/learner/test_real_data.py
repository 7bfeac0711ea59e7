"""The datasets of scikit-learn, in all usual forms; figures are those of its metrics."""

import numpy as np
import pytest
import torch
from scipy import special
from sklearn import datasets
from sklearn import metrics as sk
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite.learner import Learner

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

CLASSES = {"digits": 10, "iris": 3, "wine": 3, "breast_cancer": 2}
FORMS = [
    "arrays",
    "frames",
    "table",
    "words",
    "objects",
    "categories",
    "polars",
    "tensors",
    "loader",
    "dictionary",
    "lists",
]


def loaded(name):
    return getattr(datasets, f"load_{name}")(as_frame=True)


def words_of(data):
    return np.array([f"class {i}" for i in data.target])


def in_form(data, form):
    """The data, the name of the target, and what decided classes should be."""
    x, y = data.data.to_numpy(), data.target.to_numpy()
    words = words_of(data)
    table = data.data.assign(answer=data.target)
    return {
        "arrays": ((x, y), None, y), "frames": ((data.data, data.target), None, y), "table": (table, "answer", y),
        "words": ((x, words), None, words), "objects": ((data.data, pd.Series(words, dtype=object)), None, words),
        "categories": (table.assign(answer=pd.Categorical(words)), "answer", words),
        "polars": (pl.from_pandas(table.assign(answer=words)), "answer", words),
        "tensors": ((torch.tensor(x), torch.tensor(y)), None, y),
        "loader": (DataLoader(TensorDataset(torch.tensor(x).float(), torch.tensor(y)), 32), None, y),
        "dictionary": ({"x": x, "answer": y}, "answer", y), "lists": ((x.tolist(), y.tolist()), None, y),
    }[form]  # fmt: skip


def classifier(data, num_outputs):
    torch.manual_seed(0)
    num = data.data.shape[1]
    return nn.Sequential(nn.BatchNorm1d(num), nn.Linear(num, num_outputs))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_learned_in_every_form(name, form):
    data = loaded(name)
    given, target, true = in_form(data, form)
    learner = Learner(
        classifier(data, CLASSES[name]),
        "cross_entropy",
        lr=0.05,
        metrics=["accuracy", "f1", "mcc"],
        device="cpu",
    )
    options = {} if form == "loader" else {"valid": 0.2}
    learner.fit(given, **options, epochs=3 if name == "digits" else 10, target=target)
    found = learner.evaluate(given)
    decided = np.asarray(learner.predict(given, decide=True))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, decided))
    assert found["accuracy"] > 0.85 or form == "loader", "whose batches come class by class"
    assert found["f1"] == pytest.approx(sk.f1_score(true, decided, average="macro"))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(true, decided), abs=1e-6)
    chances = special.log_softmax(learner.predict(given).double().numpy(), axis=1)
    assert found["loss"] == pytest.approx(
        -chances[np.arange(len(true)), data.target].mean(), rel=1e-4
    )


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool", "object", "words"])
def test_two_classes_are_learned_from_one_output(dtype):
    data = loaded("breast_cancer")
    y = words_of(data) if dtype == "words" else data.target.astype(dtype).to_numpy()
    learner = Learner(
        classifier(data, 1),
        "bce_with_logits",
        lr=0.05,
        metrics=["accuracy", "roc_auc", "f1"],
        device="cpu",
    )
    learner.fit((data.data, y), valid=0.2, epochs=3)
    found, true = learner.evaluate((data.data, y)), data.target.to_numpy()
    scores = learner.predict(data.data)[:, 0].numpy()
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, scores > 0))
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(true, scores))
    assert found["f1"] == pytest.approx(sk.f1_score(true, scores > 0))
    assert found["accuracy"] > 0.9


@pytest.mark.parametrize("name", ["diabetes", "linnerud"])
@pytest.mark.parametrize("form", ["arrays", "frames", "objects", "strings", "polars"])
def test_numbers_are_learned_in_every_form(name, form):
    data = loaded(name)
    x, y = data.data, data.target
    form_of = {
        "arrays": lambda part: part.to_numpy(), "frames": lambda part: part,
        "objects": lambda part: part.astype(object), "strings": lambda part: part,
        "polars": lambda part: pl.from_pandas(part),
    }[form]  # fmt: skip
    given = (form_of(x), y.astype(str) if form == "strings" else form_of(y))
    learner = Learner(classifier(data, y.ndim and np.atleast_2d(y.to_numpy().T).shape[0]), "mse", lr=1.0,
                      metrics=["mae"], device="cpu")  # fmt: skip
    learner.fit(given, valid=0.2, epochs=60)
    found, predicted = learner.evaluate(given), learner.predict(given[0]).numpy().squeeze()
    assert found["loss"] == pytest.approx(sk.mean_squared_error(y, predicted), rel=1e-4)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, predicted), rel=1e-4)
    assert found["loss"] < sk.mean_squared_error(y, np.zeros_like(predicted))
