"""The progress display of ``fit``, and the history."""

import fcntl
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix
from torch import nn

from ignite.engine import Engine, Events
from ignite.learner import History, Learner
from ignite.learner._measuring import TrainingMetrics
from ignite.learner._progress import line_of
from ignite.learner.history import plain_value
from ignite.metrics import Accuracy, ConfusionMatrix, MeanSquaredError, Precision
from support.classifiers import X, Y, make_net
from support.classifiers import make_learner as make


def rows_of(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# Lines


def test_a_line_for_each_epoch_where_nobody_draws(capsys):
    learner = make(metrics=["accuracy"])
    history = learner.fit((X, Y), valid=0.25, epochs=10)
    err = capsys.readouterr().err.splitlines()
    assert [line.split("  loss")[0] for line in err] == [f"epoch {i:>2}/10" for i in range(1, 11)]
    last = history.epochs[-1]
    for name in ("loss", "accuracy", "valid_loss", "valid_accuracy"):
        assert f"  {name} {last[name]:.4f}" in err[-1]
    assert err[-1].endswith(" s")


def test_lines_can_be_left_out_or_asked_for(capsys):
    make().fit((X, Y), epochs=2, progress=False)
    assert capsys.readouterr().err == ""
    make().fit((X, Y), epochs=2, progress="lines")
    assert len(capsys.readouterr().err.splitlines()) == 2
    with pytest.raises(ValueError, match="progress should be .*'lines', but given 'line'"):
        make().fit((X, Y), progress="line")


def test_without_a_standard_error_nothing_is_written(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert len(make().fit((X, Y), epochs=2)) == 2


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"epoch": 3, "loss": 0.0, "seconds": 61.25}, "epoch 3  loss 0.0000  61.2 s"),
        ({"epoch": 3, "loss": math.nan, "p": [0.5]}, "epoch 3  loss nan"),
        ({"epoch": 3, "a": 123456.0, "b": -1e-5}, "epoch 3  a 1.235e+05  b -1.000e-05"),
    ],
)
def test_numbers_in_a_line(row, expected):
    assert line_of(row) == expected


TERMINAL = """
import torch
from ignite import Learner
torch.manual_seed(0)
x = torch.randn(64, 3)
metrics = ["accuracy", "balanced_accuracy", "f1"]
learner = Learner(torch.nn.Linear(3, 2), "cross_entropy", lr=0.1, metrics=metrics)
learner.fit((x, (x[:, 0] > 0).long()), valid=0.25, epochs=3)
"""


def shown_in_a_terminal(program, columns):
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm"}
    for name in ("COLUMNS", "LINES"):
        env.pop(name, None)
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=other, stdout=other, stderr=other, env=env
    )
    os.close(other)
    found = b""
    while True:
        try:
            found += os.read(main, 65536)
        except OSError:  # the other end is closed
            break
    os.close(main)
    assert child.wait(60) == 0
    return re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", found.decode()).replace("\r", "\n").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 160])
def test_the_display_stays_in_a_terminal_and_fits_into_it(columns):
    lines = [line.rstrip() for line in shown_in_a_terminal(TERMINAL, columns) if line.strip()]
    assert all(len(line) <= columns for line in lines)
    # The last state stays: the loss as a number beside its curve, then training and validation.
    assert re.fullmatch(r"loss 0\.\d+  [▁-█]+", lines[-6])
    assert lines[-5].split() == ["metric", "training", "validation", "best", "epoch"]
    assert [line.split()[0] for line in lines[-4:]] == [
        "loss", "accuracy", "balanced_accuracy", "f1",
    ]  # fmt: skip
    assert all(len(line.split()) == 5 for line in lines[-4:])


# Metrics of the training


def test_metrics_of_training_are_those_of_its_outputs_beside_those_of_validation():
    learner = make(metrics=["accuracy"], optimizer="sgd", lr=0.1)
    shadow, expected = make_net(), []
    optimizer = torch.optim.SGD(shadow.parameters(), lr=0.1)
    for _ in range(2):
        predicted = []
        for x, y in zip(X.split(25), Y.split(25), strict=True):
            out = shadow(x)
            predicted += out.argmax(1).tolist()
            optimizer.zero_grad()
            nn.functional.cross_entropy(out, y).backward()
            optimizer.step()
        expected.append([accuracy_score(Y, predicted), accuracy_score(Y, shadow(X).argmax(1))])
    history = learner.fit((X, Y), (X, Y), epochs=2, batch_size=25, shuffle=False)
    found = [[row["accuracy"], row["valid_accuracy"]] for row in history]
    assert found == [pytest.approx(row) for row in expected]
    assert learner.trainer.state.metrics["loss"] == history["loss"][-1]
    assert learner.trainer.state.metrics["accuracy"] == history["accuracy"][-1]


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_outputs_that_are_joined_give_the_same(data):
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    stop = data.draw(st.integers(0, len(sizes)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    pairs = [
        (torch.randn(n, 3, generator=generator), torch.randint(3, (n,), generator=generator))
        for n in sizes
    ]

    def run(is_joined, stop=None):
        feed, engine = iter(pairs), Engine(lambda engine, batch: None)

        def make():
            members = {"accuracy": Accuracy(), "precision": Precision(average=False)}
            return TrainingMetrics(members, lambda: next(feed), is_joined)

        metrics = make()
        for i in range(len(pairs)):
            if i == stop:
                state, metrics = metrics.state_dict(), make()
                metrics.load_state_dict(state)
            metrics.iteration_completed(engine)
        return metrics.compute()

    joined, plain = run(True, stop), run(False)
    assert joined["accuracy"] == plain["accuracy"]
    assert torch.equal(joined["precision"], plain["precision"])


def test_few_updates_are_made_for_many_small_steps(monkeypatch):
    updates, original = [], TrainingMetrics.update
    monkeypatch.setattr(
        TrainingMetrics,
        "update",
        lambda self, pair: updates.append(len(pair[1])) or original(self, pair),
    )
    make(metrics=["accuracy", "f1"]).fit((X, Y), epochs=2, batch_size=4)
    assert updates == [120, 120]
    updates.clear()
    make(metrics=[Accuracy()]).fit((X, Y), batch_size=30)  # of a user: batch by batch
    assert updates == [30] * 4


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop_at", [3, 7])
def test_metrics_of_numbers_continue_bit_by_bit(tmp_path, stop_at):
    def train(folder, stop=None):
        torch.manual_seed(3)
        learner = Learner(nn.Linear(4, 1), "mse", lr=0.1, metrics=["rmse", "r2", "pearson"])
        if stop is not None:

            @learner.trainer.on(Events.ITERATION_COMPLETED(once=stop))
            def stop_here():
                raise Killed

        return learner.fit(
            (X, X @ torch.tensor([1.0, 2.0, 3.0, 4.0])), valid=0.2, epochs=2, batch_size=20, run_dir=folder,
            resume="latest", save_every=1, progress=False,
        )  # fmt: skip

    expected = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "cut", stop_at)
    found = train(tmp_path / "cut")
    assert rows_of(found) == rows_of(expected)
    assert rows_of(History.from_run(tmp_path / "cut")) == rows_of(expected)


def test_they_are_logged_once_per_epoch(tmp_path):
    learner = make(metrics=["accuracy"])
    history = learner.fit((X, Y), valid=0.1, epochs=2, batch_size=10, run_dir=tmp_path)
    lines = (tmp_path / "scalars.jsonl").read_text().splitlines()[1:]
    found = [line for line in map(json.loads, lines) if "training/accuracy" in line["scalars"]]
    assert [line["step"] for line in found] == [11, 22]
    assert [line["scalars"]["training/accuracy"] for line in found] == history["accuracy"]


# The history at any time


def test_the_history_after_ctrl_c_is_that_of_the_steps_until_then():
    learner = make(metrics=["accuracy"])

    @learner.trainer.on(Events.ITERATION_COMPLETED(once=6))
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner.fit((X, Y), valid=0.25, epochs=3, batch_size=30)
    assert learner.history["epoch"] == [1, 2]
    assert len(learner.history.steps) in (6, 7)
    assert math.isnan(learner.history["valid_loss"][1])


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "checkpoint", "folder"])
def test_the_history_comes_with_what_is_loaded(tmp_path, name):
    learner, other = make(metrics=["accuracy"]), make(metrics=["accuracy"])
    assert len(other.history) == 0
    run = {"run_dir": tmp_path / "run"} if "." not in name else {}
    history = learner.fit((X, Y), valid=0.25, epochs=3, **run)
    if run:
        path = (
            tmp_path / "run" if name == "folder" else tmp_path / "run" / "checkpoints" / "last.pt"
        )
    else:
        path = tmp_path / name
        learner.save(path)
    other.load(path)
    assert rows_of(other.history) == rows_of(history)
    assert other.history.steps == ([] if name.endswith("safetensors") else history.steps)
    assert other.history.best("valid_accuracy") == history.best("valid_accuracy")


def test_a_folder_is_read_as_its_best_weights(tmp_path):
    learner = make(lr=0.1)
    history = learner.fit((X, Y), valid=0.25, epochs=6, run_dir=tmp_path, restore_best=True)
    other = make()
    other.load(tmp_path)
    assert all(
        torch.equal(a, b)
        for a, b in zip(learner.model.parameters(), other.model.parameters(), strict=True)
    )
    assert len(other.history) == len(history) == len(History.from_run(tmp_path))
    without_valid = make()
    without_valid.fit((X, Y), run_dir=tmp_path / "plain")
    other.load(str(tmp_path / "plain"))
    assert torch.equal(other.predict(X), without_valid.predict(X))


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="should be the folder of a run"):
        History.from_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="should be the folder of a run"):
        make().load(tmp_path)
    with pytest.raises(FileNotFoundError):
        make().load(tmp_path / "nothing.pt")


# Values for each class, and matrices


def test_values_of_each_class_are_kept_and_saved(tmp_path):
    learner = make(
        metrics={
            "by_class": Precision(average=False),
            "counts": ConfusionMatrix(3),
            "acc": "accuracy",
        }
    )
    history = learner.fit((X, Y), (X, Y), epochs=2, run_dir=tmp_path, progress=False)
    found = learner.evaluate((X, Y))
    predicted = learner.predict(X, decide=True)
    expected = confusion_matrix(Y, predicted, labels=range(3)).tolist()
    assert found["counts"].tolist() == expected
    assert history["valid_counts"][-1] == expected
    assert history["valid_by_class"][-1] == pytest.approx(found["by_class"].tolist())
    assert isinstance(history["by_class"][-1], list)
    assert History.from_run(tmp_path)["valid_counts"] == history["valid_counts"]
    assert json.loads(json.dumps(history.epochs)) == history.epochs
    assert "[3 values]" in str(history)
    with pytest.raises(ValueError, match="valid_by_class should be a number to have a best epoch"):
        history.best("valid_by_class", "max")
    with pytest.raises(ValueError, match="monitor should be one of"):
        make(metrics={"p": Precision(average=False)}).fit(
            (X, Y), valid=0.25, monitor="valid_p", early_stopping=1
        )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1.0),
        (torch.tensor([[3]]), 3.0),
        (torch.ones(2, dtype=torch.int64), [1.0, 1.0]),
        ({"a": {"b": 2}, "c": "text"}, {"a": {"b": 2.0}}),
        ((1, torch.tensor(2)), [1.0, 2.0]),
        ("text", None),
        (object(), None),
        (torch.zeros(2**17), None),
    ],
)
def test_values_that_a_history_holds(value, expected):
    assert plain_value(value) == expected


def test_what_is_left_out_is_told_once(caplog):
    class Text(MeanSquaredError):
        def compute(self):
            return "text"

    make(metrics={"text": Text(lambda out: (out[1].float(), out[1].float()))}).fit((X, Y), epochs=2)
    assert caplog.text.count("The history leaves out text") == 1
