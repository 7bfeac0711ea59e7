"""Several heads: losses, metrics, tasks and predictions for each output of a model."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ignite.engine import Events
from ignite.learner import History, Learner
from ignite.learner._heads import make_head_losses
from ignite.metrics import Accuracy, ConfusionMatrix, Precision, Recall
from support import harness, learner_processes
from support.classifiers import X, Y
from support.classifiers import make_learner as make

AGE = X @ torch.tensor([1.0, -1.0, 0.5, 0.0])
WORDS = np.array(["cat", "dog", "owl"])[Y]
TARGETS = {"kind": Y, "age": AGE}
LOSSES = {"kind": "cross_entropy", "age": "mse"}
METRICS = {"kind": ["accuracy", "f1"], "age": "mae"}


class Heads(nn.Module):
    def __init__(self, is_tuple=False):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.kind, self.age = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 1)
        self.is_tuple = is_tuple

    def forward(self, x):
        x = self.body(x).relu()
        out = {"kind": self.kind(x), "age": self.age(x)}
        return tuple(out.values()) if self.is_tuple else out


def make_heads(is_tuple=False, **options):
    losses = tuple(LOSSES.values()) if is_tuple else LOSSES
    metrics = tuple(METRICS.values()) if is_tuple else METRICS
    given = {"optimizer": "sgd", "lr": 0.05, "metrics": metrics, "loss_weights": None, **options}
    return Learner(Heads(is_tuple), losses, **given)


def test_it_is_the_loop_that_one_writes_by_hand():
    model, expected = Heads(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):
        for x, y, age in zip(X.split(30), Y.split(30), AGE.split(30), strict=True):
            out = model(x)
            loss = nn.functional.cross_entropy(out["kind"], y)
            loss = loss + 0.5 * nn.functional.mse_loss(out["age"], age[:, None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
    learner = make_heads(loss_weights={"age": 0.5})
    history = learner.fit(
        (X, TARGETS), (X, TARGETS), epochs=2, batch_size=30, shuffle=False, progress=False
    )
    assert history.steps == pytest.approx(expected, rel=1e-6)
    with torch.no_grad():
        out = model(X)
    found = learner.evaluate((X, TARGETS))
    parts = (
        nn.functional.cross_entropy(out["kind"], Y),
        nn.functional.mse_loss(out["age"][:, 0], AGE),
    )
    assert [found["kind_loss"], found["age_loss"]] == pytest.approx(
        [one.item() for one in parts], rel=1e-5
    )
    assert found["loss"] == pytest.approx((parts[0] + 0.5 * parts[1]).item(), rel=1e-5)
    predicted = out["kind"].argmax(1)
    assert found["kind_accuracy"] == pytest.approx(accuracy_score(Y, predicted))
    assert found["kind_f1"] == pytest.approx(f1_score(Y, predicted, average="macro"))
    assert found["age_mae"] == pytest.approx(mean_absolute_error(AGE, out["age"][:, 0]), rel=1e-5)
    assert set(history.names) == {
        "epoch", "loss", "kind_accuracy", "kind_f1", "age_mae", "valid_loss", "valid_kind_loss",
        "valid_age_loss", "valid_kind_accuracy", "valid_kind_f1", "valid_age_mae", "seconds",
    }  # fmt: skip
    assert history.directions["valid_kind_accuracy"] is True
    assert history.directions["valid_age_mae"] is history.directions["valid_loss"] is False


def test_a_tuple_gives_the_same_as_a_dictionary():
    first, second = make_heads(loss_weights={"age": 2}), make_heads(True, loss_weights=(1, 2))
    one = first.fit((X, TARGETS), epochs=2, shuffle=False, progress=False)
    other = second.fit((X, tuple(TARGETS.values())), epochs=2, shuffle=False, progress=False)
    assert one.steps == other.steps
    assert one["kind_accuracy"] == other["0_accuracy"]
    assert one["age_mae"] == other["1_mae"]
    assert torch.equal(first.predict(X)["kind"], second.predict(X)[0])


class Rows(Dataset):
    def __len__(self):
        return 120

    def __getitem__(self, i):
        return X[i], {"kind": Y[i], "age": AGE[i]}


@pytest.mark.parametrize("data", [Rows(), DataLoader(Rows(), 32), (X, TARGETS, torch.ones(120))])
def test_datasets_loaders_and_weights(data):
    options = {} if isinstance(data, DataLoader) else {"shuffle": False}
    expected = make_heads().fit((X, TARGETS), epochs=2, shuffle=False, progress=False)
    found = make_heads().fit(data, epochs=2, progress=False, **options)
    assert found.steps == pytest.approx(expected.steps, rel=1e-6)


def test_columns_of_a_data_frame_with_names_of_classes(tmp_path):
    frame = pd.DataFrame(X.numpy(), columns=list("abcd")).assign(kind=WORDS, age=AGE.numpy())
    learner = make_heads(lr=0.2)
    learner.fit(frame, target=["kind", "age"], valid=0.2, epochs=5, progress=False)
    found = learner.predict(frame, decide=True)
    assert set(found["kind"]) <= {"cat", "dog", "owl"}
    assert torch.equal(found["age"], learner.predict(frame)["age"])
    proba = learner.predict(frame, proba=True)["kind"]
    torch.testing.assert_close(proba.sum(1), torch.ones(120))
    report = learner.report(frame, target=["kind", "age"], head="kind")
    assert list(report) == ["cat", "dog", "owl"]
    assert report.accuracy == pytest.approx(accuracy_score(WORDS, found["kind"]))
    assert (
        int(learner.confusion_matrix(frame, target=["kind", "age"], head="kind").counts.sum())
        == 120
    )
    with pytest.raises(
        ValueError, match=r"head should be one of \['kind', 'age'\], but given None"
    ):
        learner.report(frame)
    with pytest.raises(ValueError, match="needs a classification task"):
        learner.report(frame, head="age")
    learner.save(tmp_path / "model.pt")
    other = make_heads()
    other.load(tmp_path / "model.pt")
    assert other.predict(frame, decide=True)["kind"] == found["kind"]
    assert [head for head, _ in other.task.heads] == ["kind", "age"]
    assert str(other.task) == str(learner.task)


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop", [2, 7])
def test_a_killed_run_goes_on_exactly(tmp_path, stop):
    def train(folder, stop=None):
        learner = make_heads(ema=0.9, accumulation=2)
        if stop is not None:

            @learner.trainer.on(Events.ITERATION_COMPLETED(once=stop))
            def stop_here():
                raise Killed

        options = {
            "valid": (X, TARGETS),
            "epochs": 3,
            "monitor": "valid_kind_accuracy",
            "early_stopping": 3,
        }
        options |= {"run_dir": folder, "resume": "latest", "save_every": 1, "progress": False}
        return learner.fit((X, TARGETS), **options)

    expected = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "cut", stop)
    found = train(tmp_path / "cut")
    assert found.steps == expected.steps
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in expected]


@settings(deadline=None, max_examples=40)
@given(data=st.data(), weight=st.floats(0, 3))
def test_the_loss_of_a_batch_is_the_weighted_sum_of_means(data, weight):
    n = data.draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    out = {"a": torch.randn(n, 3, generator=generator), "b": torch.randn(n, 2, generator=generator)}
    y = {
        "a": torch.randint(3, (n,), generator=generator),
        "b": torch.randn(n, 2, generator=generator),
    }
    ignored = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    y["a"][torch.tensor(ignored)] = -100
    loss = make_head_losses({"a": "cross_entropy", "b": "mae"}, {"b": weight}, None)
    counts = y["a"] != -100
    expected = (
        nn.functional.cross_entropy(out["a"][counts], y["a"][counts]) if counts.any() else 0.0
    )
    expected = expected + weight * (out["b"] - y["b"]).abs().mean()
    assert loss(out, y).item() == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


def test_a_sum_counts_as_the_mean_of_its_elements():
    y_pred, y = {"a": torch.randn(4, 2)}, {"a": torch.randn(4, 2)}
    found = make_head_losses({"a": nn.L1Loss(reduction="sum")}, None, None)(y_pred, y)
    assert found.item() == pytest.approx((y_pred["a"] - y["a"]).abs().mean().item())


@pytest.mark.parametrize(
    ("options", "data", "error", "message"),
    [
        ({"loss_weights": {"size": 1}}, None, ValueError, "loss_weights should be for the heads"),
        (
            {"loss_weights": {"age": -1}},
            None,
            ValueError,
            r"loss_weights\['age'\] should be at least 0",
        ),
        (
            {"class_weight": "balanced"},
            None,
            TypeError,
            "class_weight should be a dictionary .* by head",
        ),
        (
            {"metrics": ["accuracy"]},
            (X, TARGETS),
            TypeError,
            "metrics should be a dictionary by head",
        ),
        (
            {"metrics": {"size": "mae"}},
            (X, TARGETS),
            ValueError,
            "for the heads .* but given 'size'",
        ),
        (
            {"metrics": {"age": "accuracy"}},
            (X, TARGETS),
            ValueError,
            "regression metric 'accuracy'",
        ),
        (
            {},
            (X, Y),
            ValueError,
            "y should be a dictionary with an entry for each head, such as 'kind'",
        ),
        ({}, (X, {"kind": Y}), ValueError, r"such as 'age', but given \['kind'\]"),
        ({}, (X, {"kind": Y + 1, "age": AGE}), ValueError, "from 0 to 2"),
        ({"metrics": {}}, (X, {"kind": Y, "age": torch.stack([AGE] * 2, 1)}), ValueError, "shape"),
    ],
)
def test_mistakes_are_errors_before_the_first_step(options, data, error, message):
    with pytest.raises(error, match=message):
        make_heads(**options).fit(data, progress=False)


def test_weights_need_heads():
    with pytest.raises(ValueError, match="loss_weights needs a loss for each head"):
        make(loss_weights={"a": 1})


def test_weights_of_classes_of_a_head():
    learner = make_heads(class_weight={"kind": [1.0, 2.0, 0.5]}, metrics={})
    found = learner.fit((X, TARGETS), batch_size=120, shuffle=False, progress=False).steps[0]
    with torch.no_grad():
        out = Heads()(X)
    each = nn.functional.cross_entropy(out["kind"], Y, reduction="none")
    expected = (each * torch.tensor([1.0, 2.0, 0.5])[Y]).mean()
    expected = expected + nn.functional.mse_loss(out["age"][:, 0], AGE)
    assert found == pytest.approx(expected.item(), rel=1e-5)


# Functions as metrics


def share_of_first(y_pred, y):
    return (y_pred.argmax(1) == 0).double().mean()


def by_class(y_pred, y):
    return torch.stack([((y_pred.argmax(1) == i) & (y == i)).sum() for i in range(3)]).double()


def test_functions_get_all_predictions_and_targets():
    calls = []

    def spread(y_pred, y):
        calls.append((len(y_pred), len(y)))
        return {"low": y_pred.min(), "high": y_pred.max()}

    learner = make(
        metrics=[share_of_first, by_class, spread, functools.partial(f1_of, average="micro")]
    )
    history = learner.fit((X, Y), (X, Y), epochs=2, batch_size=25, progress=False)
    out = learner.predict(X)
    found = learner.evaluate((X, Y), batch_size=7)
    assert found["share_of_first"] == pytest.approx(share_of_first(out, Y).item())
    assert torch.equal(found["by_class"], by_class(out, Y))
    assert [found["low"], found["high"]] == pytest.approx([out.min().item(), out.max().item()])
    assert found["f1_of"] == pytest.approx(f1_score(Y, out.argmax(1), average="micro"))
    assert history["valid_by_class"][-1] == by_class(out, Y).tolist()
    assert (120, 120) in calls
    with pytest.raises(
        ValueError, match="mode should be 'max' or 'min' for monitor='valid_share_of"
    ):
        learner.fit((X, Y), valid=0.2, monitor="valid_share_of_first", early_stopping=1)


def f1_of(y_pred, y, average):
    return f1_score(y, y_pred.argmax(1), average=average)


def test_ignored_targets_are_not_given_to_functions_and_names():
    y = Y.clone()
    y[::4] = -100
    seen = []

    def number(y_pred, y):
        seen.append(y)
        return float(len(y))

    objects = {"one": Accuracy(), "recall": Recall(average=False), "counts": ConfusionMatrix(3)}
    learner = make(metrics={"n": number, "accuracy": "accuracy", **objects})
    history = learner.fit((X, y), valid=0.2, epochs=1, progress=False)
    found = learner.evaluate((X, y))
    assert found["n"] == int((y >= 0).sum())
    kept = y >= 0
    assert found["one"] == found["accuracy"]
    assert history["one"] == history["accuracy"]
    assert history.directions["valid_one"] is True
    assert torch.equal(found["counts"].long(), learner.confusion_matrix((X, y)).counts)
    assert found["recall"].tolist() == pytest.approx(
        [row["recall"] for row in learner.report((X, y)).values()]
    )
    assert found["accuracy"] == pytest.approx(
        accuracy_score(y[kept], learner.predict(X)[kept].argmax(1))
    )
    assert all(bool((one >= 0).all()) for one in seen)


def test_ignored_tokens():
    torch.manual_seed(0)
    x = torch.randint(9, (20, 6))
    y = torch.where(torch.rand(20, 6) < 0.3, -100, x % 3)
    model = nn.Sequential(nn.Embedding(9, 3), Transposed())
    learner = Learner(
        model, "cross_entropy", lr=0.1, metrics=["accuracy", share_of_first, Accuracy()]
    )
    learner.fit((x, y), epochs=2, progress=False)
    out = learner.predict(x)  # (N, C, T)
    kept = y != -100
    predicted = out.argmax(1)[kept]
    found = learner.evaluate((x, y))
    assert found["accuracy"] == pytest.approx((predicted == y[kept]).double().mean().item())
    assert found["Accuracy"] == found["accuracy"]
    assert found["share_of_first"] == pytest.approx((predicted == 0).double().mean().item())


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


@pytest.mark.parametrize("stop", [2, 6])
def test_functions_go_on_exactly_and_may_be_mixed_with_objects(tmp_path, stop):
    def train(folder, stop=None):
        metrics = {"p": Precision(average=False), "f": share_of_first, "a": Accuracy(), "n": "f1"}
        learner = make(metrics=metrics)
        if stop is not None:

            @learner.trainer.on(Events.ITERATION_COMPLETED(once=stop))
            def stop_here():
                raise Killed

        options = {"run_dir": folder, "resume": "latest", "save_every": 1, "progress": False}
        return learner.fit((X, Y), valid=0.2, epochs=2, **options)

    expected = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "cut", stop)
    found = train(tmp_path / "cut")
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in expected]
    assert History.from_run(tmp_path / "cut")["valid_f"] == found["valid_f"]
    assert all(len(value) == 3 for value in found["p"])


def test_two_processes_give_the_same_as_one():
    expected = learner_processes.train_heads(0, batch_size=12)
    first, second = harness.run(functools.partial(learner_processes.train_heads, batch_size=6), 2)
    assert first == second
    for found, wanted in zip(first, expected, strict=True):
        assert _flat(found) == pytest.approx(_flat(wanted), rel=1e-9, abs=1e-12)


def _flat(value):
    if isinstance(value, dict):
        return [one for key in sorted(value) for one in _flat(value[key])]
    return [one for part in value for one in _flat(part)] if isinstance(value, list) else [value]
