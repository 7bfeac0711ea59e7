"""Common beginners' code from other libraries: it works, or is an error in one line before the first step."""

# ruff: noqa: E501 - a mistake and its message are one line of the table

import copy
import re
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ignite.engine import Events
from ignite.learner import Learner
from ignite.metrics import Accuracy, EpochMetric, MeanSquaredError
from support.classifiers import Call, linear

pd = pytest.importorskip("pandas")

N = 33
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
Y, REAL, BITS = torch.arange(N) % 3, torch.linspace(-1, 1, N), torch.arange(N) % 2
XN, YN = X.numpy(), Y.numpy()
COLUMNS = list("abcd")
FRAME = pd.DataFrame(XN, columns=COLUMNS).assign(y=YN)
WORDS = np.array(["u", "v", "w"])[YN]
IMAGES = np.zeros((N, 8, 8, 3), "float32")
Answer = namedtuple("Answer", "loss logits")


def normalized():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def conv():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


class Rows(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], Y[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def make(loss="cross_entropy", model=None, **options):
    return Learner(
        linear() if model is None else copy.deepcopy(model),
        loss,
        device="cpu",
        **{"lr": 0.01, **options},
    )


@dataclass
class Mistake:
    match: str
    data: object = (X, Y)
    valid: object = None
    fit: object = None
    make: object = None
    error: type = ValueError


def own_loss(y_pred, y):
    return F.cross_entropy(y_pred.logits, y)


HF = {"model": Call(lambda out: Answer(None, out)), "loss": own_loss}
HALF, SOFT = (X, Y), (X, X[:, :3].softmax(1))
MASKED = torch.where(Y == 2, -100, Y)
TWO = {
    "model": Call(lambda out: (out, out)),
    "loss": lambda y_pred, y: F.cross_entropy(y_pred[0], y["a"]),
}
MISTAKES = {
    "fit(x, y)": Mistake(r"given x alone: use fit\(\(x, y\)\)", X, Y),
    "fit(x, y) of numpy": Mistake(r"use fit\(\(x, y\)\)", XN, YN),
    "fit(x, y) of tables": Mistake(r"use fit\(\(x, y\)\)", FRAME[COLUMNS], FRAME.y),
    "fit([x, y])": Mistake(r"use fit\(\(x, y\)\)", [X, Y]),
    "fit([x, y]) of lists": Mistake(r"use fit\(\(x, y\)\)", [XN.tolist(), YN.tolist()]),
    "four items": Mistake(r"should be \(x,\), \(x, y\) or \(x, y, w\).* but given 4 items; for data in memory, use fit\(\(x, y\)\)", (X, Y, X, Y)),
    "table without target": Mistake(r"fit\(frame, target='name'\)", FRAME),
    "dictionary without target": Mistake(r"given x alone", {"x": X, "y": Y}),
    "nothing but a target": Mistake("an input besides the target", {"y": Y}, fit={"target": "y"}),
    "target is a number": Mistake(r"target should be one of \['a', .*but given 4", FRAME, fit={"target": 4}),
    "target is a column": Mistake(r"name of a column, but given a Series: use fit\(\(x, y\)\)", FRAME[COLUMNS], fit={"target": FRAME.y}, error=TypeError),
    "target of arrays": Mistake(r"target should be left out for arrays without names: pass \(x, y\), but given 'y'", fit={"target": "y"}),
    "sparse x": Mistake("x of data should be an array, a list or a series, but given a csr_matrix: use .toarray", (scipy.sparse.csr_matrix(XN), YN), error=TypeError),
    "sparse array": Mistake("given a csr_array: use .toarray", (scipy.sparse.csr_array(XN), YN), error=TypeError),
    "sparse tensor": Mistake("x should be dense, but given .*use .to_dense", (X.to_sparse(), Y), error=TypeError),
    "labels 10, 20, 30": Mistake(r"range is 10 to 30\): number the classes from 0, as numpy.unique\(y, return_inverse=True\)\[1\]", (X, Y * 10 + 10)),
    "labels from 1": Mistake("classes start at 0, use y - 1", (X, Y + 1)),
    "ragged lists": Mistake("x should have rows of one length, but given a list of 33", ([[1.0, 2.0]] * 32 + [[1.0]], YN)),
    "samples as arrays": Mistake(r"list of 33 arrays: use numpy.stack\(x\)", (list(XN), YN)),
    "samples as tensors": Mistake(r"list of 33 arrays: use torch.stack\(x\)", (list(X), Y)),
    "list of samples": Mistake(r"single number: if these are samples, use DataLoader\(data, batch_size=32\)", list(zip(X, Y, strict=True))),
    "zip of samples": Mistake("if these are samples, use DataLoader", list(zip(XN.tolist(), YN.tolist(), strict=True))),
    "batches of numpy": Mistake("Batches should hold tensors, but y is a ndarray: use torch.from_numpy", [(XN, YN)], error=TypeError),
    "batches of numpy x": Mistake("Batches should hold tensors, but x is a ndarray: use torch.from_numpy", [(XN, Y)], error=TypeError),
    "one-hot": Mistake(r"y looks one-hot, use y.argmax\(1\)", (X, F.one_hot(Y))),
    "column of classes": Mistake(r"use y.squeeze\(1\)", (X, Y[:, None])),
    "classes as floats": Mistake(r"use y.long\(\)", (X, Y.float()), error=TypeError),
    "words for mse": Mistake("y should be numbers for this loss, but given 'u' in row 0: use a classification loss", (X, WORDS), make={"loss": "mse"}),
    "three words for bce": Mistake("from 0 to 1 for bce_with_logits.*: for more than two classes, use cross_entropy", (X, WORDS), make={"loss": "bce_with_logits", "model": linear(1)}),
    "images with channels last": Mistake(r"3 channels as dimension 1, but given shape \(8, 8, 8, 3\): use x.permute\(0, 3, 1, 2\)", (IMAGES, YN), make={"model": conv()}),
    "images of bytes": Mistake(r"x should be float32, like the model, but given uint8: use x.float\(\) / 255", (IMAGES.transpose(0, 3, 1, 2).astype("uint8"), YN), make={"model": conv()}, error=TypeError),
    "grey images": Mistake(r"shape \(N, 1, H, W\), but given \(8, 8, 8\): use x\[:, None\]", (IMAGES[..., 0], YN), make={"model": nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))}),
    "integers for x": Mistake(r"x should be float32, like the model, but given int64: use x.float\(\)", (np.ones((N, 4), int), YN), error=TypeError),
    "float64 batches": Mistake(r"given float64: use x.float\(\)", DataLoader(TensorDataset(X.double(), Y), 8), error=TypeError),
    "one feature": Mistake(r"x should have shape \(N, 1\), but given \(8,\): use x.reshape\(-1, 1\)", (XN[:, 0], YN), make={"model": linear(num_inputs=1)}),
    "gaps": Mistake("x should be finite, but given 1 of them", (X.clone().index_put_((torch.tensor(3), torch.tensor(1)), torch.tensor(float("nan"))), Y)),
    "other lengths": Mistake(r"same number of samples, but data\[0\] has 33, data\[1\] has 32", (X, Y[:-1])),
    "a path": Mistake("but given a str: read the file first", "data.csv", error=TypeError),
    "class of a dataset": Mistake(r"given the class Rows: write Rows\(...\)", Rows, error=TypeError),
    "function that makes data": Mistake("given the function make: call it", make, error=TypeError),
    "nothing": Mistake("at least one sample", (X[:0], Y[:0])),
    "no batch": Mistake("at least one batch", []),
    "a set as y": Mistake("y of data should be an array, a list or a series, but given a set", (X, {1, 2}), error=TypeError),
    "'balanced' as weights": Mistake(r"given a str: write Learner\(..., class_weight='balanced'\)", (X, Y, "balanced"), error=TypeError),
    "packed and alone": Mistake("x should be arrays, but given a PackedSequence: pass a list of batches", (pack_sequence([X, X]), Y[:2]), error=TypeError),
    "loader and batch_size": Mistake("batch_size=8 should be left out, because data is a DataLoader", DataLoader(Rows(), 8), fit={"batch_size": 8}),
    "loader and drop_last": Mistake("drop_last=True should be left out, because data is a DataLoader", DataLoader(Rows(), 8), fit={"drop_last": True}),
    "loader and a fraction": Mistake("valid should be data, not a fraction, because a DataLoader cannot be split", DataLoader(Rows(), 8), 0.2, error=TypeError),
    "generator for two epochs": Mistake("data should be a list or a DataLoader for 2 epochs, but given a generator", (batch for batch in [(X, Y)]), fit={"epochs": 2}),
    "validation by a generator": Mistake("valid should be a list or a DataLoader for 2 epochs", (X, Y), iter([(X, Y)]), {"epochs": 2}),
    "valid is a count": Mistake("valid should be from 1 to 9 as a number of samples, .* but given 10", (X[:10], Y[:10]), 10),
    "valid=True": Mistake("a fraction of them such as 0.2, but given True", valid=True, error=TypeError),
    "valid above 1": Mistake("valid should be above 0 and below 1 as a fraction, but given 1.5", valid=1.5),
    "valid without y": Mistake("given x alone", valid=(X,)),
    "valid is x": Mistake("given x alone", valid=X),
    "unseen class in valid": Mistake("from 0 to 2", valid=(X, Y + 1)),
    "unseen word in valid": Mistake(r"one of the classes \['u', 'v', 'w'\], but given \['z'\]", (X, WORDS), (X, np.full(N, "z"))),
    "columns miss in valid": Mistake("should have the columns", FRAME, FRAME.drop(columns="a"), {"target": "y"}),
    "valid of another width": Mistake("cannot be multiplied", valid=(X[:, :3], Y), error=RuntimeError),
    "epochs as text": Mistake("epochs should be an integer, but given '10'", fit={"epochs": "10"}, error=TypeError),
    "no epochs": Mistake("epochs should be at least 1, but given 0", fit={"epochs": 0}),
    "epochs as None": Mistake("epochs should be an integer, but given None", fit={"epochs": None}, error=TypeError),
    "batch_size 0": Mistake("batch_size should be at least 1, but given 0", fit={"batch_size": 0}),
    "batch_size 8.0": Mistake("batch_size should be an integer, but given 8.0", fit={"batch_size": 8.0}, error=TypeError),
    "early_stopping=True": Mistake("early_stopping should be an integer, but given True", fit={"early_stopping": True}, error=TypeError),
    "warmup below 0": Mistake("warmup should be a number of steps, or a fraction of them below 1, but given -1", fit={"warmup": -1}),
    "warmup too long": Mistake("warmup should be from 0 to 2", fit={"warmup": 1000}),
    "schedule is a class": Mistake("schedule should be a name, a function of the completed fraction, or a scheduler", fit={"schedule": torch.optim.lr_scheduler.StepLR}, error=TypeError),
    "schedule gives None": Mistake("should return a finite factor for each fraction, but given None for 0.0", fit={"schedule": lambda share: None}),
    "schedule ends in inf": Mistake("given inf for 1.0", fit={"schedule": lambda share: float("inf") if share == 1 else 1.0}),
    "save_every 0": Mistake("save_every should be at least 1", fit={"save_every": 0}),
    "monitor of another library": Mistake("monitor should be one of accuracy, loss, .*valid_accuracy, valid_loss, but given 'val_accuracy'", valid=(X, Y), fit={"monitor": "val_accuracy", "early_stopping": 1}, make={"metrics": "accuracy"}),
    "monitor misspelt without use": Mistake("monitor should be one of", fit={"monitor": "accurracy"}),
    "monitor without validation": Mistake("monitor should be one of loss", fit={"monitor": "valid_loss"}),
    "metric of another problem": Mistake("multiclass metric 'mse' is not known", valid=0.2, make={"metrics": ["mse"]}),
    "metric as a class": Mistake(r"given the class Accuracy: write Accuracy\(\)", valid=0.2, make={"metrics": [Accuracy]}, error=TypeError),
    "soft targets and Accuracy()": Mistake("0's and 1's|class", SOFT, SOFT, make={"metrics": [Accuracy()]}),
    "a metric of regression": Mistake("shape|y_pred", valid=0.2, make={"metrics": [MeanSquaredError()]}),
    "a metric that fails in the end": Mistake("no such average", valid=(X, Y), make={"metrics": [EpochMetric(lambda y_pred, y: [].index("no such average"))]}),
    "answers and metrics by name": Mistake("Accuracy should be given .y_pred, y., two tensors", valid=0.2, make={**HF, "metrics": ["accuracy"], "task": "multiclass"}, error=TypeError),
    "answers and Accuracy()": Mistake("Accuracy should be given .y_pred, y., two tensors", valid=0.2, make={**HF, "metrics": [Accuracy()]}, error=TypeError),
    "dictionary and cross_entropy": Mistake(r"returns a dict: let its forward return \['out'\] alone", make={"model": Call(lambda out: {"out": out})}, error=TypeError),
    "tuple and cross_entropy": Mistake("returns a tuple: let its forward return one of them", make={"model": Call(lambda out: (out, out))}, error=TypeError),
    "two heads in validation": Mistake("two tensors|y_pred", (X, {"a": Y, "b": Y}), (X, {"a": Y, "b": Y}), make={**TWO, "metrics": [Accuracy()]}, error=TypeError),
    "no return": Mistake("returns None: does forward return its result?", make={"model": Call(lambda out: None)}, error=TypeError),
    "loss gives None": Mistake("should return a tensor of one element, but given None", make={"loss": lambda y_pred, y: None}, error=TypeError),
    "loss gives a float": Mistake("should return a tensor of one element, but given 1.0", make={"loss": lambda y_pred, y: 1.0}, error=TypeError),
    "loss gives a matrix": Mistake(r"given shape \(8, 8\) .*: compute the mean", make={"loss": lambda y_pred, y: y_pred @ y_pred.T}),
    "one sample left for BatchNorm": Mistake("last batch has one sample, which BatchNorm cannot train on: pass drop_last=True", fit={"batch_size": 32}, make={"model": normalized()}),
    "one sample left in a loader": Mistake("last batch has one sample", DataLoader(Rows(), 16), make={"model": normalized()}),
    "one sample left in a dataset": Mistake("last batch has one sample", Rows(), fit={"batch_size": 8}, make={"model": normalized()}),
    "a batch of one in a list": Mistake("last batch has one sample", [(X, Y), (X[:1], Y[:1])], make={"model": normalized()}),
    "one sample": Mistake("last batch has one sample", (X[:1], Y[:1]), make={"model": normalized()}),
    "softmax and cross_entropy": Mistake("remove the softmax", make={"model": linear(3, nn.Softmax(1))}),
    "(N, H, W, C) for (N, C, H, W)": Mistake("dimensions are in another order, use y.permute", (X, torch.randn(N, 2, 2, 3)), make={"loss": "mse", "model": linear(12, nn.Unflatten(1, (3, 2, 2)))}),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_an_error_in_one_line_before_the_first_step(mistake):
    learner = make(**(mistake.make or {}))
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    with pytest.raises(mistake.error) as info:
        learner.fit(mistake.data, mistake.valid, **(mistake.fit or {}))
    text = str(info.value)
    assert re.search(mistake.match, text)
    assert "\n" not in text
    assert len(text) < 400
    assert learner.trainer.state.iteration == 0
    assert learner.evaluator.state.iteration == 0
    assert all(
        torch.equal(value, before[name]) for name, value in learner.model.state_dict().items()
    )
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    assert all(module.training for module in learner.model.modules())


MADE = {
    "class of a model": ((nn.Linear, "mse"), r"given the class Linear: pass Linear\(...\)"),
    "no model": ((None, "mse"), "model should be a torch.nn.Module, but given None"),
    "name of a model": (("resnet", "mse"), "torch.nn.Module, but given 'resnet'"),
    "function as model": ((len, "mse"), "torch.nn.Module, but given a builtin_function_or_method"),
    "class of a loss": ((linear(), nn.MSELoss), r"loss should be an object, but given the class MSELoss: pass MSELoss\(\)"),
    "no loss": ((linear(), None), "loss should be a name or loss"),
    "lr as text": ((linear(), "mse", "adam", "0.1"), "lr should be a number, but given '0.1'"),
    "optimizer of nothing": ((linear(), "mse", None), "optimizer should be a name, a class, an optimizer"),
    "list of optimizers": ((linear(), "mse", ["adam", "sgd"]), r"a dictionary of them by patterns .*given \['adam', 'sgd'\]"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "match"), MADE.values(), ids=MADE)
def test_what_no_learner_can_be_made_of(arguments, match):
    with pytest.raises(TypeError, match=match):
        Learner(*arguments)


RIGHT = {
    "a name": ((X, Y), {}, {"metrics": "accuracy"}), "a metric": ((X, Y), {}, {"metrics": Accuracy()}),
    "nested lists": ((XN.tolist(), YN.tolist()), {}, {}), "a tuple of classes": ((X, tuple(YN.tolist())), {}, {}),
    "an index": ((X, pd.Index(WORDS)), {}, {}), "a categorical": ((X, pd.Categorical(WORDS)), {}, {}),
    "an array of pandas": ((X, pd.array(YN, dtype="Int64")), {}, {}), "a column of words": ((X, [[w] for w in WORDS]), {}, {}),
    "float64": ((X.double(), Y), {}, {}), "a model in double": ((XN, YN), {}, {"model": linear().double()}),
    "-100 and Accuracy()": ((X, MASKED), {"valid": (X, MASKED)}, {"metrics": [Accuracy()]}),
    "numpy's numbers": ((X, Y), {"batch_size": np.int64(8), "epochs": np.int32(1), "valid": np.float32(0.2)}, {}),
    "columns by number": (FRAME.set_axis(range(5), axis=1), {"target": 4}, {}),
    "the first column is the target": (FRAME.set_axis([4, 1, 2, 3, 0], axis=1), {"target": 0, "valid": 0.2}, {}),
    "drop_last": ((X, Y), {"batch_size": 32, "drop_last": True}, {"model": normalized()}),
    "soft targets and a name": (SOFT, {"valid": SOFT}, {"metrics": ["accuracy", "f1"]}),
    "-100 and a name": ((X, MASKED), {"valid": (X, MASKED)}, {"metrics": ["accuracy", "kappa"]}),
    "a metric that needs both classes": ((X, BITS.sort()[0]), {"valid": 0.3}, {"loss": "bce_with_logits", "model": linear(1), "metrics": ["roc_auc"]}),
    "answers and a loss for them": ((X, Y), {"valid": 0.2}, HF),
    "answers and cross_entropy": ((X, Y), {"valid": 0.2}, {"model": HF["model"], "metrics": ["accuracy"]}), "a stream": (Stream(), {"batch_size": 8}, {}),
    "a generator": (((X, Y) for _ in range(2)), {}, {}), "monitor": ((X, Y), {"valid": 0.2, "monitor": "valid_accuracy", "early_stopping": 1}, {"metrics": "accuracy"}),
    "dictionary batches": (DataLoader([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)], 8), {"target": "y", "valid": [{"x": X, "y": Y}]}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("data", "fit", "options"), RIGHT.values(), ids=RIGHT)
def test_what_looks_strange_and_is_right(data, fit, options):
    learner = make(**options)
    assert len(learner.fit(data, **fit).steps) == learner.trainer.state.iteration > 0


def test_the_trial_counts_for_nothing():
    class Counting(Accuracy):
        num_updates = 0

        def update(self, output):
            self.num_updates += 1
            super().update(output)

    seen, metric = [], Counting()
    learner = make(metrics=[metric])
    learner.evaluator.on(Events.ITERATION_COMPLETED)(
        lambda engine: seen.append(engine.state.iteration)
    )
    learner.fit((X, Y), valid=(X, Y), batch_size=16)
    assert seen == [1]
    assert metric.num_updates == 1


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.layer = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        assert isinstance(x, PackedSequence)
        return self.layer(self.cell(x)[1][0])


def test_packed_sequences_are_inputs():
    batches = [(pack_sequence([X[i : i + 3], X[i : i + 2]]), Y[i : i + 2]) for i in range(0, 8, 2)]
    batches.append((pack_sequence([X[:3]]), Y[:1]))
    learner = make(model=Recurrent(), metrics=["accuracy"])
    learner.fit(batches, valid=batches)
    assert learner.predict(batches).shape == (9, 3)
    expected = (
        (learner.predict(batches).argmax(1) == torch.cat([y for _, y in batches]))
        .double()
        .mean()
        .item()
    )
    assert learner.evaluate(batches)["accuracy"] == pytest.approx(expected)
    nested = [({"x": x}, y) for x, y in batches]
    assert torch.equal(learner.predict(nested), learner.predict(batches))


@pytest.mark.parametrize("loss", ["mse", "bce_with_logits", "cross_entropy"])
def test_a_model_that_squeezes_works_with_a_last_batch_of_one(loss):
    num = 3 if loss == "cross_entropy" else 1
    learner = make(loss, Call(torch.squeeze, num), metrics=["accuracy" if loss != "mse" else "mse"])
    y = {"mse": REAL, "bce_with_logits": BITS, "cross_entropy": Y}[loss]
    learner.fit((X, y), valid=(X, y), batch_size=16)
    with torch.no_grad():
        expected = learner.model.layer(X).squeeze(1)
    assert torch.allclose(learner.predict(X, batch_size=16), expected)
    assert torch.allclose(learner.predict(X[:1]), expected[:1])
    if loss != "mse":
        decided = expected.argmax(1) if num == 3 else (expected > 0).long()
        assert torch.equal(learner.predict(X, batch_size=16, decide=True), decided)
    first, second = (learner.evaluate((X, y), batch_size=size) for size in (16, 33))
    assert first == pytest.approx(second)


def test_batches_to_predict_for_may_lack_their_target():
    rows = [{"x": x, "y": y} for x, y in zip(X, Y, strict=True)]
    learner = make()
    learner.fit(DataLoader(rows, 8), target="y")
    expected = learner.predict(X)
    # On some CPUs, a product of matrices rounds differently in batches of another size.
    for batches in (rows, [{"x": x} for x in X]):
        torch.testing.assert_close(learner.predict(DataLoader(batches, 8)), expected)
    assert torch.equal(learner.predict({"x": X}), expected)


class Codes(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.layer = nn.Embedding(5, 2), nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(self.table(x).flatten(1))


def test_integer_codes_in_a_table_are_codes_for_an_embedding(tmp_path):
    codes = pd.DataFrame({"a": YN, "b": YN + 1, "y": YN})
    learner, other = (
        make(model=Codes(), metrics=["accuracy"]),
        make(model=Codes(), metrics=["accuracy"]),
    )
    learner.fit(codes, valid=0.2, target="y", epochs=2)
    with torch.no_grad():
        expected = learner.model.eval()(torch.tensor(codes[["a", "b"]].to_numpy()))
    assert torch.equal(learner.predict(codes), expected)
    learner.save(tmp_path / "m.pt")
    other.load(tmp_path / "m.pt")
    assert other.evaluate(codes[["y", "b", "a"]]) == learner.evaluate(codes)
    floats = make()
    floats.fit(pd.DataFrame(np.ones((N, 4), int), columns=COLUMNS).assign(y=YN), target="y")
    assert floats.predict(np.ones((1, 4))).shape == (1, 3), (
        "a linear layer takes integers of tables as numbers"
    )


def test_export_and_summary_take_what_fit_takes(tmp_path):
    learner = make()
    learner.fit(FRAME, target="y")
    for i, example in enumerate(
        [FRAME, FRAME[["y", *reversed(COLUMNS)]], XN.astype("float64"), X.double()]
    ):
        assert "(33, 3)" in learner.summary(example)
        learner.export(tmp_path / f"{i}.pt2", example)
        exported = torch.export.load(tmp_path / f"{i}.pt2").module()
        assert torch.allclose(exported(X), learner.predict(FRAME))


def test_inputs_that_are_no_sample_are_reported_in_predict():
    learner = make()
    with pytest.raises(
        ValueError, match=r"given \(4,\), with an output of shape \(3,\): .* pass x\[None\]"
    ):
        learner.predict(X[0])
    with pytest.raises(ValueError, match=r"given x alone: pass \(x, y\)"):
        learner.evaluate(X)


def test_a_loss_that_pairs_each_output_with_each_target_is_an_error(caplog):
    with pytest.raises(ValueError, match=r"\(8, 1\) and y of \(8,\), and broadcasts each output"):
        make(lambda y_pred, y: ((y_pred - y) ** 2).mean(), linear(1)).fit((X, REAL))
    make(lambda y_pred, y: ((y_pred - y) ** 2).mean().sqrt(), linear(1)).fit((X, REAL))
    assert "and broadcasts each output against each target, if it subtracts them" in caplog.text


def test_a_loss_may_give_one_value_for_each_sample():
    losses = nn.CrossEntropyLoss(reduction="none"), lambda y_pred, y: (y_pred.sum(1) - y) ** 2
    means = nn.CrossEntropyLoss(), lambda y_pred, y: ((y_pred.sum(1) - y) ** 2).mean()
    for loss, mean in zip(losses, means, strict=True):
        found = []
        for one in (loss, mean):
            torch.manual_seed(0)
            learner = make(one, linear(3))
            learner.fit((X, Y), batch_size=7)
            found.append(learner.evaluate((X, Y), batch_size=3)["loss"])
        assert found[0] == pytest.approx(found[1], rel=1e-5)
