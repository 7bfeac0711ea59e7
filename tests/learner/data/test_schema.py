"""Facts learned from data are kept with the weights, in files, runs and further calls."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.datasets import load_iris, load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite.exceptions import CheckpointError
from ignite.learner import Learner
from ignite.learner._data.columns import Known
from ignite.learner._data.in_memory import Parts
from ignite.learner._data.schema import Facts, Learnt, Seen, Task
from support.classifiers import TwoInputs

pd = pytest.importorskip("pandas")

IRIS = load_iris(as_frame=True)
NAMES = [str(name) for name in IRIS.target_names]  # setosa, versicolor, virginica: as sorted
FRAME = IRIS.data.assign(kind=[NAMES[i] for i in IRIS.target])
COLUMNS = list(IRIS.data.columns)


def net(num_inputs=4, num_outputs=3):
    torch.manual_seed(1)
    return nn.Sequential(nn.BatchNorm1d(num_inputs), nn.Linear(num_inputs, num_outputs))


def make(**options):
    return Learner(net(), "cross_entropy", lr=0.05, metrics=["accuracy"], device="cpu", **options)


def trained(data=FRAME, **options):
    learner = make()
    learner.fit(data, epochs=8, target="kind", **options)
    return learner


def by_hand(learner):
    """Accuracy of the model alone, on the columns as they came in training."""
    with torch.no_grad():
        scores = learner.model.eval()(torch.tensor(IRIS.data.to_numpy(), dtype=torch.float32))
    return sk.accuracy_score(IRIS.target, scores.argmax(1))


SHUFFLED = FRAME[["kind", *reversed(COLUMNS)]].assign(number=range(len(FRAME)))[::-1]
ONE_CLASS = FRAME[FRAME.kind == "virginica"]


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_another_learner_that_loads_the_file_finds_the_same_figures(tmp_path, name):
    pytest.importorskip("safetensors")
    learner, other = trained(), make()
    learner.save(tmp_path / name)
    other.load(tmp_path / name)
    figures = learner.evaluate(FRAME)
    assert figures["accuracy"] == pytest.approx(by_hand(learner))
    assert figures["accuracy"] > 0.9
    for data in (FRAME, SHUFFLED):
        assert other.evaluate(data) == pytest.approx(figures)
        assert other.evaluate(data, target="kind") == pytest.approx(figures)
    assert (other.classes, str(other.task)) == (tuple(NAMES), str(learner.task))
    part = other.evaluate(ONE_CLASS)["accuracy"]
    assert part == pytest.approx(
        np.mean([one == "virginica" for one in learner.predict(ONE_CLASS, decide=True)])
    )
    assert other.report(SHUFFLED) == learner.report(FRAME)
    assert other.predict(SHUFFLED[::-1], decide=True) == learner.predict(FRAME, decide=True)


PROGRAM = """
import json, sys
import pandas, torch
from sklearn.datasets import load_iris
from torch import nn
from ignite.learner import Learner
iris = load_iris(as_frame=True)
frame = iris.data[iris.data.columns[::-1]].assign(kind=[str(iris.target_names[i]) for i in iris.target])
model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
learner = Learner(model, "cross_entropy", metrics=["accuracy"], device="cpu")
learner.load(sys.argv[1])
print(json.dumps([learner.evaluate(frame), list(learner.classes)]))
"""


@pytest.mark.slow
def test_another_process_that_loads_the_checkpoint_of_a_run_finds_the_same_figures(tmp_path):
    learner = trained(valid=0.2, run_dir=tmp_path)
    learner.save(tmp_path / "last.pt")
    path = tmp_path / "checkpoints" / "best.pt"
    torch.load(path, weights_only=True)
    for saved in (path, tmp_path / "last.pt"):
        out = subprocess.run(
            [sys.executable, "-c", PROGRAM, saved], capture_output=True, text=True, check=True
        ).stdout
        figures, classes = json.loads(out.splitlines()[-1])
        learner.load(saved)
        assert figures == pytest.approx(learner.evaluate(FRAME))
        assert figures["accuracy"] == pytest.approx(by_hand(learner))
        assert classes == NAMES


def test_another_fit_uses_the_classes_and_columns_of_the_first():
    learner = trained()
    before = learner.evaluate(FRAME)
    learner.fit(
        FRAME[FRAME.kind != "setosa"][["kind", *reversed(COLUMNS)]], epochs=1, target="kind"
    )
    assert learner.classes == tuple(NAMES), "versicolor is still number 1"
    assert learner.evaluate(FRAME)["accuracy"] > 0.9
    assert learner.evaluate(SHUFFLED) == pytest.approx(learner.evaluate(FRAME))
    assert before["accuracy"] > 0.9


@pytest.mark.parametrize("call", ["fit", "evaluate", "report"])
def test_unknown_classes_and_missing_columns_are_refused_and_change_nothing(call):
    learner = trained()
    weights, facts = [p.clone() for p in learner.model.parameters()], learner._learnt.facts
    with pytest.raises(
        ValueError, match=r"should be one of the classes \['setosa', .*given \['rose'\]"
    ):
        getattr(learner, call)(FRAME.assign(kind="rose"), target="kind")
    with pytest.raises(
        ValueError, match=r"should have the columns .*'petal width \(cm\)'\] are not in"
    ):
        getattr(learner, call)(FRAME.drop(columns="petal width (cm)"), target="kind")
    with pytest.raises(
        ValueError, match=r"should be one of the classes \['setosa', .*given \['0', '1', '2'\]"
    ):
        getattr(learner, call)((IRIS.data, IRIS.target))
    assert all(torch.equal(a, b) for a, b in zip(weights, learner.model.parameters(), strict=True))
    assert (facts.known.classes, facts.known.features) == (tuple(NAMES), tuple(COLUMNS))
    assert learner._learnt.facts.known.classes == facts.known.classes


def test_after_a_refused_fit_the_next_one_learns_again():
    learner = make()
    with pytest.raises(ValueError, match="from 0 to 2"):
        learner.fit((IRIS.data, IRIS.target.to_numpy() + 7))
    with pytest.raises(ValueError, match="should be finite"):
        learner.fit(FRAME.assign(**{COLUMNS[0]: np.nan}, kind=[*"ABC"] * 50), target="kind")
    assert learner.task is None
    assert learner.classes == ()
    learner.fit(FRAME, epochs=8, target="kind")
    assert learner.classes == tuple(NAMES)
    assert learner.evaluate(FRAME)["accuracy"] == pytest.approx(by_hand(learner))


def test_a_resumed_run_reads_its_data_as_the_first_session_did(tmp_path):
    whole = make()
    whole.fit(FRAME, epochs=4, target="kind", run_dir=tmp_path / "a", shuffle=False)
    first = make()
    first.fit(FRAME, epochs=2, target="kind", run_dir=tmp_path / "b", shuffle=False)
    second = make()
    columns = ["kind", *reversed(COLUMNS)]
    second.fit(
        FRAME[columns],
        epochs=4,
        target="kind",
        run_dir=tmp_path / "b",
        shuffle=False,
        resume="latest",
    )
    for a, b in zip(
        whole.model.state_dict().values(), second.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert second._learnt.facts.known.features == tuple(COLUMNS)
    third = make()
    with pytest.raises(ValueError, match="should be one of the classes"):
        third.fit(
            FRAME.assign(kind="rose"),
            epochs=6,
            target="kind",
            run_dir=tmp_path / "b",
            resume="latest",
        )


def test_files_without_facts_still_load_and_say_so(tmp_path, caplog):
    learner = trained()
    torch.save(learner.model.state_dict(), tmp_path / "plain.pt")
    other = make()
    other.load(tmp_path / "plain.pt")
    assert (
        caplog.text.count("does not contain the classes and columns that the model was trained on")
        == 1
    )
    figures = other.evaluate(FRAME, target="kind")
    assert (
        "are taken from this data, as {0: 'setosa', 1: 'versicolor', 2: 'virginica'}" in caplog.text
    )
    assert figures == pytest.approx(learner.evaluate(FRAME))
    assert other.classes == (), "only fit learns classes"
    other.fit(FRAME, target="kind")
    assert other.classes == tuple(NAMES)


def test_a_file_of_another_problem_is_refused_before_anything_is_changed(tmp_path):
    trained().save(tmp_path / "classes.pt")
    other = Learner(net(), "mse", device="cpu")
    before = [p.clone() for p in other.model.parameters()]
    with pytest.raises(
        ValueError,
        match="task of the file should be that of the learner, one for the loss difference, but it is mul",
    ):
        other.load(tmp_path / "classes.pt")
    given = Learner(net(), lambda y_pred, y: y_pred.sum(), task="regression", device="cpu")
    with pytest.raises(
        ValueError,
        match="task of the file should be that of the learner, regression, as given, but it is multiclass",
    ):
        given.load(tmp_path / "classes.pt")
    assert all(torch.equal(a, b) for a, b in zip(before, other.model.parameters(), strict=True))


def test_numbers_that_are_names_are_taken_by_name():
    tens = FRAME.assign(
        kind=pd.Categorical(np.array([30, 10, 20])[IRIS.target])
    )  # categories are sorted: 10, 20, 30
    learner = trained(tens)
    assert learner.classes == (10, 20, 30)
    figures = learner.evaluate(tens)
    assert figures["accuracy"] > 0.9
    plain = tens.assign(kind=tens.kind.astype("int64"))
    assert learner.evaluate(plain) == pytest.approx(figures)
    assert learner.evaluate(plain[plain.kind == 20])["accuracy"] > 0.7
    assert learner.predict(tens, decide=True)[0] == 30


def test_inputs_by_name_are_those_of_the_training():
    x = torch.tensor(IRIS.data.to_numpy(), dtype=torch.float32)
    data = {"a": x[:, :1], "b": x[:, 1:], "y": torch.tensor(IRIS.target.to_numpy())}
    learner = Learner(TwoInputs(), "cross_entropy", metrics=["accuracy"], device="cpu")
    learner.fit(data, target="y")
    figures = learner.evaluate(data)
    assert learner.evaluate({"c": x, **dict(reversed(data.items()))}) == pytest.approx(figures)
    assert learner.predict({"c": x, "b": x[:, 1:], "a": x[:, :1]}).shape == (150, 3)
    with pytest.raises(ValueError, match=r"An input should be one of \['a'\], but given 'b'"):
        learner.predict({"a": x})
    with pytest.raises(
        ValueError, match="inputs should be .*a.*b.*, which the model was trained on, but given x"
    ):
        learner.predict(x)


def test_targets_in_columns_are_taken_by_name():
    wine = load_wine(as_frame=True)
    y = wine.data[["ash", "hue"]]
    learner = Learner(net(13, 2), "mse", device="cpu", metrics=["mse"])
    learner.fit((wine.data, y), epochs=2)
    expected = sk.mean_squared_error(y.to_numpy(), learner.predict(wine.data))
    for columns in (["ash", "hue"], ["hue", "ash"]):
        assert learner.evaluate((wine.data, y[columns]))["loss"] == pytest.approx(
            expected, rel=1e-4
        )
    with pytest.raises(ValueError, match="A column of y should be one of"):
        learner.evaluate((wine.data, y[["ash"]]))


def test_two_word_targets_keep_their_numbers():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 5)

        def forward(self, x):
            scores = self.layer(x)
            return scores[:, :3], scores[:, 3:]

    def loss(y_pred, y):
        return nn.functional.cross_entropy(y_pred[0], y["kind"]) + nn.functional.cross_entropy(
            y_pred[1], y["size"]
        )

    x, kind = IRIS.data.to_numpy(), FRAME.kind.to_numpy()
    size = np.where(x[:, 0] > 5.8, "large", "small")
    learner = Learner(Heads(), loss, lr=0.05, device="cpu")
    learner.fit((x, {"kind": kind, "size": size}), epochs=3)
    small = slice(0, 50)
    figures = learner.evaluate((x[small], {"kind": kind[small], "size": size[small]}))
    with torch.no_grad():
        y_pred = learner.model(torch.tensor(x[small], dtype=torch.float32))
    codes = {"kind": torch.zeros(50).long(), "size": torch.tensor(size[small] == "small").long()}
    assert figures["loss"] == pytest.approx(loss(y_pred, codes).item())


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(
            x.flatten(2).mean(2)
            if x.shape[1] == 3
            else x.flatten(1).mean(1, keepdim=True).expand(-1, 3)
        )


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        (
            (6, 4, 5, 3),
            r"shape \(N, 3, 4, 5\), which the model was trained on, but given \(N, 4, 5, 3\): .*permute",
        ),
        (
            (3, 4, 5),
            r"shape \(N, 3, 4, 5\), .* but given \(3, 4, 5\): for a single sample, pass x\[None\]",
        ),
        ((6, 3, 8, 9), None),
        ((1, 3, 4, 5), None),
    ],
)
def test_shapes_that_the_model_may_take_without_a_word(shape, match):
    learner = Learner(Pool(), "cross_entropy", device="cpu")
    learner.fit((torch.randn(6, 3, 4, 5), torch.arange(6) % 2))
    if match is None:
        assert learner.predict(torch.randn(shape)).shape == (shape[0], 2)
        return
    with pytest.raises(ValueError, match=match):
        learner.predict(torch.randn(shape))


def test_omitted_data_are_reported(caplog):
    learner = trained()
    caplog.set_level("INFO")
    learner.evaluate(SHUFFLED)
    assert "not trained on are ignored: ['number']" in caplog.text


def test_facts_learned_from_batches_are_saved_in_the_file(tmp_path):
    loader = DataLoader(TensorDataset(torch.randn(8, 4), torch.arange(8) % 3), 4)
    learner = make()
    learner.fit(loader)
    learner.save(tmp_path / "m.pt")
    other = make()
    other.load(tmp_path / "m.pt")
    assert other.evaluate(loader) == learner.evaluate(loader)
    with pytest.raises(ValueError, match="for a single sample"):
        other.predict(torch.randn(4))


FACTS = [
    Facts(),
    Facts(
        Known(features=("a", 1, ("b", 2)), classes=("x", 3, True, 0.5)),
        Task("binary", 2, "so", -100),
        ("u", "v"),
    ),
    Facts(
        Known(classes={"y['a']": ("u", "v")}, labels=("p", "q"), has_codes=True),
        None,
        "y",
        (Seen("x[0]", (3, 4)),),
    ),
]


@pytest.mark.parametrize("facts", FACTS)
def test_text_and_back(facts):
    assert Facts.from_text(facts.to_text()) == facts
    other = Learnt()
    other.load_state_dict(Learnt(facts).state_dict())
    assert other.facts == facts


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 1}', '{"version": 1, "known": {"strange": 1}}', "[]"]
)
def test_text_of_anything_else_is_refused(text):
    with pytest.raises(CheckpointError, match="The facts about the training data are invalid"):
        Facts.from_text(text)


def test_text_of_a_newer_version_is_refused():
    with pytest.raises(CheckpointError, match="should have version 1, but given 2: update"):
        Facts.from_text(json.dumps({**json.loads(Facts().to_text()), "version": 2}))


def test_facts_without_shapes_fit_everything():
    Facts().check(Parts(torch.zeros(3)))
    Facts(x=(Seen("x", (3,)),)).check(Parts("words"))
