"""The life cycle of a learner: several fits, failed fits, monitoring, records, copies."""

import copy
import json
import logging
import math
import os
import pickle
import signal
from functools import partialmethod

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import torchmetrics
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite import storage
from ignite._core import clock
from ignite._core.differences import first_difference
from ignite.engine import BackpropEvents, Engine, Events
from ignite.handlers._checkpoints.run_checkpoint import RunCheckpoint
from ignite.learner import Learner
from ignite.learner._by_name import make_metrics
from ignite.learner._runs import is_save_due
from ignite.metrics import (
    Accuracy,
    Average,
    ConfusionMatrix,
    MeanAbsoluteError,
    MetricGroup,
    Precision,
    adapt,
)
from support.classifiers import X, Y, make_net
from support.classifiers import make_learner as make

NUMBERS = X @ torch.tensor([1.0, -2.0, 0.5, 0.0])


def weights_of(model):
    return [tensor.detach().clone() for tensor in model.state_dict().values()]


def are_equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# What is watched: metrics say whether higher is better.


class Told(Average):
    """Gives the figures of a list, one an evaluation, whatever it is updated with."""

    def __init__(self, figures, is_higher_better):
        self.figures = iter(figures)
        self.higher_is_better = is_higher_better
        super().__init__(lambda output: output[0].mean())

    def compute(self):
        return next(self.figures)

    def __deepcopy__(self, memo):
        return Told([0.0] * 99, self.higher_is_better)  # for trials


FIGURES = [0.5, 0.9, 0.7, 0.1, 0.2, 0.3, 0.3, 0.3]  # the highest in epoch 2, the lowest in epoch 4


@pytest.mark.parametrize("name", ["accuracy_error_loss", "accuracy", "score"])
@pytest.mark.parametrize(
    ("says", "mode", "best"),
    [
        (True, None, 2),
        (False, None, 4),
        (False, "max", 2),
        (True, "min", 4),
        (None, "max", 2),
        (None, "min", 4),
    ],
)
def test_all_that_watches_goes_by_the_metric_or_the_mode_and_never_by_the_name(
    tmp_path, name, says, mode, best
):
    learner, seen = make(metrics={name: Told(FIGURES, says)}), []
    learner.trainer.on(Events.EPOCH_COMPLETED)(lambda: seen.append(weights_of(learner.model)))
    history = learner.fit(
        (X, Y), valid=(X, Y), epochs=8, monitor=f"valid_{name}", mode=mode, early_stopping=3, restore_best=True,
        run_dir=tmp_path,
    )  # fmt: skip
    assert len(history) == best + 3
    assert are_equal(weights_of(learner.model), seen[best - 1])
    assert history.best(f"valid_{name}", mode)["epoch"] == best
    restored = make()
    restored.load(tmp_path / "checkpoints" / "best.pt")
    assert are_equal(weights_of(restored.model), seen[best - 1])


@pytest.mark.parametrize(
    ("metrics", "monitor", "mode"),
    [
        (["mae"], "valid_mae", "min"),
        ({"accuracy": "mae"}, "valid_accuracy", "min"),
        ({"loss_of_skill": "r2"}, "valid_loss_of_skill", "max"),
        ([MeanAbsoluteError()], "valid_MeanAbsoluteError", "min"),
        ({"a": adapt(torchmetrics.MeanAbsoluteError())}, "valid_a", "min"),
        ({"error": adapt(torchmetrics.R2Score())}, "valid_error", "max"),
        ({"d": 1 - MeanAbsoluteError()}, "valid_d", "max"),
        ({"g": MetricGroup({"inner": MeanAbsoluteError()})}, "valid_inner", "min"),
        (["mae"], "loss", "min"),
        ([], "valid_loss", "min"),
    ],
)
def test_the_direction_of_metrics_by_name_as_objects_and_composed(metrics, monitor, mode):
    one = make(1, "mse", metrics=metrics)
    history = one.fit((X, NUMBERS[:, None]), valid=0.2, monitor=monitor, early_stopping=1)
    assert history.directions[monitor] is (mode == "max")
    row = history.best(monitor)
    assert row["epoch"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"monitor": "valid_own"},
            "mode should be 'max' or 'min' for monitor='valid_own', because its metric does not",
        ),
        ({"monitor": "valid_macro"}, "mode should be 'max' or 'min' for monitor='valid_macro'"),
        (
            {"monitor": "valid_acuracy"},
            "monitor should be one of .*loss, .*valid_accuracy.*, but given 'valid_acuracy'",
        ),
        ({"monitor": "precision"}, "monitor should be one of .*, but given 'precision'"),
        ({"mode": "higher"}, "mode should be 'min' or 'max', but given 'higher'"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_the_first_step(arguments, message):
    macro = adapt(f1_score, prediction="labels", average="macro")
    one = make(metrics={"own": Average(lambda output: 1.0), "macro": macro, "accuracy": "accuracy"})
    steps = []
    one.trainer.on(Events.ITERATION_COMPLETED)(lambda: steps.append(1))
    with pytest.raises(ValueError, match=message):
        one.fit((X, Y), valid=0.2, early_stopping=2, **arguments)
    assert steps == []


# What is recorded.


def test_handlers_of_the_user_come_after_validation_and_recording():
    learner, seen = make(metrics=["accuracy"]), []

    @learner.trainer.on(Events.EPOCH_COMPLETED)
    def look(engine):
        row = learner.history.epochs[-1]
        seen.append(
            (row["epoch"], row["valid_accuracy"] == learner.evaluator.state.metrics["accuracy"])
        )

    learner.fit((X, Y), valid=0.2, epochs=3)
    assert seen == [(1, True), (2, True), (3, True)]


def test_metrics_without_validation_are_over_the_batches_that_are_trained_on():
    learner = make(metrics=["accuracy", "f1"], optimizer="sgd", lr=0.1)
    shadow = make_net()
    optimizer, expected = torch.optim.SGD(shadow.parameters(), lr=0.1), []
    for _ in range(3):
        predicted = []
        for x, y in zip(X.split(25), Y.split(25), strict=True):
            out = shadow(x)
            predicted += out.argmax(1).tolist()
            optimizer.zero_grad()
            nn.functional.cross_entropy(out, y).backward()
            optimizer.step()
        expected.append((accuracy_score(Y, predicted), f1_score(Y, predicted, average="macro")))
    history = learner.fit(
        (X, Y), epochs=3, batch_size=25, shuffle=False, early_stopping=3, monitor="accuracy"
    )
    assert history["accuracy"] == pytest.approx([accuracy for accuracy, _ in expected])
    assert history["f1"] == pytest.approx([f1 for _, f1 in expected])
    history = learner.fit((X, Y), valid=0.2)
    assert history.names == [
        "epoch",
        "loss",
        "accuracy",
        "f1",
        "valid_loss",
        "valid_accuracy",
        "valid_f1",
        "seconds",
    ]


@pytest.mark.parametrize(
    "data", [DataLoader(TensorDataset(X, Y, torch.ones(120)), 25), (X, Y, torch.ones(120))]
)
def test_metrics_over_training_with_weights_of_samples(data):
    plain = make(metrics=["accuracy"]).fit((X, Y), epochs=2, batch_size=25, shuffle=False)
    options = {} if isinstance(data, DataLoader) else {"batch_size": 25, "shuffle": False}
    assert (
        make(metrics=["accuracy"]).fit(data, epochs=2, **options)["accuracy"] == plain["accuracy"]
    )


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop_at", [3, 5, 7])
def test_metrics_over_training_continue_exactly(tmp_path, stop_at):
    def train(folder, stop=None):
        learner = make(metrics=["accuracy"])
        if stop is not None:

            @learner.trainer.on(Events.ITERATION_COMPLETED(once=stop))
            def stop_here():
                raise Killed

        return learner.fit(
            (X, Y), epochs=2, batch_size=30, run_dir=folder, resume="latest", save_every=1
        )

    expected = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "cut", stop_at)
    found = train(tmp_path / "cut")
    assert (found.steps, found["accuracy"]) == (expected.steps, expected["accuracy"])


def test_a_custom_step_needs_validation_data_for_metrics_and_logs_it(caplog):
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    learner = Learner(
        model, "cross_entropy", optimizer, step=lambda engine, batch: 0.5, metrics=["accuracy"]
    )
    with caplog.at_level(logging.WARNING):
        assert learner.fit((X, Y)).names == ["epoch", "loss", "seconds"]
    assert "need valid=" in caplog.text
    assert "valid_accuracy" in learner.fit((X, Y), valid=0.2).names


def test_metrics_of_the_same_name_are_refused():
    with pytest.raises(
        ValueError, match="unique names, but given 'Accuracy', which several metrics have"
    ):
        make(metrics=[Accuracy(), Accuracy()]).fit((X, Y))
    with pytest.raises(ValueError, match="unique names, but given 'loss', which is reserved"):
        make(metrics={"loss": Accuracy()}).fit((X, Y))


@pytest.mark.parametrize("how", ["terminate", "raise", "ctrl-c", "terminate_epoch"])
def test_an_epoch_that_is_broken_off_is_recorded(how):
    learner, seen = make(optimizer="sgd"), []

    def stop(engine):
        if how == "raise":
            raise Killed
        if how == "ctrl-c":
            raise KeyboardInterrupt
        getattr(engine, how)()

    handle = learner.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), stop)
    learner.trainer.on(Events.TERMINATE)(lambda: seen.append(len(learner.history)))
    caught = {"raise": Killed, "ctrl-c": KeyboardInterrupt}.get(how)
    if caught:
        with pytest.raises(caught):
            learner.fit((X, Y), valid=0.2, epochs=2, batch_size=24)
    else:
        learner.fit((X, Y), valid=0.2, epochs=2, batch_size=24)
    history = learner.history
    assert (len(history), len(history.steps)) == (2, 6)
    assert history["loss"] == pytest.approx(
        [sum(history.steps[:4]) / 4, sum(history.steps[4:]) / 2]
    )
    assert history["epoch"] == [1, 2]
    assert math.isnan(history["valid_loss"][1]) is (how != "terminate_epoch")
    assert seen == ([2] if how == "terminate" else [])
    assert all(tensor.isfinite().all() for tensor in weights_of(learner.model))
    handle.remove()
    again = learner.fit((X, Y), valid=0.2, epochs=2, batch_size=24)
    assert (again["epoch"], len(again.steps)) == ([1, 2], 8)


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_a_window_that_was_broken_off_does_not_reach_into_the_next_fit(stop_at):
    def stop():
        raise Killed

    learner, fresh = (make(optimizer="sgd", lr=0.5, accumulation=3) for _ in range(2))
    handle = learner.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop_at), stop)
    with pytest.raises(Killed):
        learner.fit((X, Y), batch_size=10, shuffle=False)
    handle.remove()
    fresh.model.load_state_dict(learner.model.state_dict())
    assert (
        learner.fit((X, Y), batch_size=10, shuffle=False).steps
        == fresh.fit((X, Y), batch_size=10, shuffle=False).steps
    )
    assert are_equal(weights_of(learner.model), weights_of(fresh.model))


def test_a_run_interrupted_in_an_epoch_continues_with_one_row_for_it(tmp_path):
    def train(stop=None, **options):
        learner = make(optimizer="sgd")
        if stop:
            learner.trainer.on(Events.ITERATION_COMPLETED(once=stop))(
                lambda engine: engine.terminate()
            )
        return learner.fit((X, Y), batch_size=30, **options)

    expected = train(epochs=3)
    assert len(train(6, epochs=2, run_dir=tmp_path, resume="latest")) == 2
    found = train(epochs=3, run_dir=tmp_path, resume="latest")
    assert (found["epoch"], found.steps, found["loss"]) == (
        [1, 2, 3],
        expected.steps,
        expected["loss"],
    )


def test_evaluate_gives_what_each_metric_gives():
    confusion, precision = ConfusionMatrix(3), Precision(average=False)
    metrics = {
        "matrix": confusion,
        "by_class": precision,
        "numpy": Told([np.float32(0.5), np.ones(2)], None),
    }
    learner = make(metrics=metrics)
    found = learner.evaluate((X, Y))
    labels = learner.predict(X).argmax(1)
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for true, predicted in zip(Y.tolist(), labels.tolist(), strict=True):
        expected[true, predicted] += 1
    assert torch.equal(found["matrix"].long(), expected)
    assert found["by_class"].shape == (3,)
    assert found["numpy"] == 0.5
    assert isinstance(found["loss"], float)
    assert learner.evaluate((X, Y))["numpy"].tolist() == [1, 1]


# Averages of weights.


def test_the_average_warms_up_as_in_tensorflow():
    learner = make(ema=0.9, optimizer="sgd", lr=1.0)
    expected, seen = weights_of(learner.model), []

    @learner.trainer.on(BackpropEvents.OPTIM_STEP_COMPLETED)
    def follow():
        decay = min(0.9, (1 + len(seen)) / (10 + len(seen)))
        seen.append(decay)
        for average, live in zip(expected, learner.model.parameters(), strict=True):
            average.mul_(decay).add_(live.detach(), alpha=1 - decay)

    learner.fit((X, Y), epochs=15, batch_size=12)
    learner.fit((X, Y), epochs=2, batch_size=12)
    assert (seen[0], seen[1], seen[-1], len(seen)) == (0.1, 2 / 11, 0.9, 170)
    for found, average in zip(
        learner._engines.average.ema_model.parameters(), expected, strict=True
    ):
        torch.testing.assert_close(found.detach(), average)


def test_a_fresh_slow_average_is_useful_after_a_few_steps():
    slow, live = (
        make(ema=ema, optimizer="sgd", lr=0.3, metrics=["accuracy"]) for ema in (0.999, None)
    )
    for one in (slow, live):
        one.fit((X, Y), epochs=10, batch_size=12)
    assert slow.evaluate((X, Y))["accuracy"] > live.evaluate((X, Y))["accuracy"] - 0.1


def test_the_average_follows_whatever_is_loaded(tmp_path):
    source = make(lr=0.1, ema=0.9)
    history = source.fit((X, Y), valid=(X, Y), epochs=6, run_dir=tmp_path)
    best = history.best("valid_loss")["valid_loss"]
    source.save(tmp_path / "saved.pt")
    found = source.evaluate((X, Y))["loss"]
    for name, expected in (
        ("saved.pt", found),
        ("checkpoints/best.pt", best),
        ("checkpoints/last.pt", found),
    ):
        for ema in (None, 0.9, 0.5):
            other = make(lr=0.1, ema=ema)
            other.load(tmp_path / name)
            assert other.evaluate((X, Y))["loss"] == pytest.approx(expected, rel=1e-5)
    again = make(lr=0.1, ema=0.9)
    again.load(tmp_path / "checkpoints" / "last.pt")
    assert are_equal(weights_of(again.model), weights_of(source.model))


@pytest.mark.parametrize("ema", [None, 0.5, 0.99])
@pytest.mark.parametrize("has_folder", [False, True])
def test_the_best_weights_are_those_that_were_evaluated(tmp_path, ema, has_folder):
    options = {"run_dir": tmp_path, "resume": "latest"} if has_folder else {}
    learner = make(lr=0.3, ema=ema)
    history = learner.fit(
        (X[:40], Y[:40]), valid=(X[40:], Y[40:]), epochs=12, restore_best=True, **options
    )
    best = history.best("valid_loss")
    assert best["epoch"] < 12
    assert learner.evaluate((X[40:], Y[40:]))["loss"] == pytest.approx(best["valid_loss"], rel=1e-5)
    if has_folder:  # a finished run that is resumed
        other = make(lr=0.3, ema=ema)
        other.fit((X[:40], Y[:40]), valid=(X[40:], Y[40:]), epochs=12, restore_best=True, **options)
        assert other.evaluate((X[40:], Y[40:]))["loss"] == pytest.approx(
            best["valid_loss"], rel=1e-5
        )


# Optimizers and learning rates.


def test_an_optimizer_of_another_model_is_refused():
    model, other = make_net(), make_net()
    for parameters in (other.parameters(), [torch.zeros(1, requires_grad=True)]):
        with pytest.raises(
            ValueError, match="optimizer should have trainable parameters of the model"
        ):
            Learner(model, "cross_entropy", torch.optim.SGD(parameters, lr=0.1))
    with pytest.raises(ValueError, match="optimizer should have trainable parameters of the model"):
        Learner(
            model, "cross_entropy", torch.optim.SGD(model[0].parameters(), lr=0.1), freeze=["0.*"]
        )


def test_an_optimizer_of_a_part_of_the_model_is_accepted_and_the_rest_is_reported(caplog):
    model = make_net()
    learner = Learner(model, "cross_entropy", torch.optim.SGD(model[2].parameters(), lr=0.1))
    before = weights_of(model)
    with caplog.at_level(logging.WARNING):
        learner.fit((X, Y))
    assert [torch.equal(a, b) for a, b in zip(before, weights_of(model), strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    assert "The optimizer lacks the parameters 0.weight, 0.bias" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adm"},
        {"param_groups": {"no.*": {}}},
        {"ema": 2.0},
        {"freeze": ["*"]},
        {"accumulation": 0},
    ],
)
def test_a_learner_that_is_refused_leaves_the_model_unchanged(options):
    model = make_net()
    with pytest.raises(ValueError):
        Learner(model, "cross_entropy", **{"freeze": ["0.*"], **options})
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_a_learner_was_made_of_cannot_be_exchanged_without_a_word():
    learner = make()
    for name in ("model", "optimizer", "loss"):
        with pytest.raises(AttributeError):
            setattr(learner, name, getattr(make(), name))


@pytest.mark.parametrize("first", ["constant", "cosine", "linear", None])
def test_a_rate_that_is_set_between_two_fits_is_kept(first):
    learner, rates = make(optimizer="sgd", lr=1.0), []
    learner.trainer.on(Events.ITERATION_COMPLETED)(
        lambda: rates.append(learner.optimizer.param_groups[0]["lr"])
    )
    learner.fit((X, Y), batch_size=60, schedule=first)
    learner.optimizer.param_groups[0]["lr"] = 0.25
    rates.clear()
    learner.fit((X, Y), batch_size=60)
    learner.fit((X, Y), batch_size=60, schedule="linear")
    learner.fit((X, Y), batch_size=60)
    assert rates == [0.25, 0.25, 0.25, 0.125, 0.25, 0.25]


def test_a_rate_that_a_handler_sets_in_a_fit_without_schedule_stays():
    learner = make(optimizer="sgd", lr=1.0)
    learner.trainer.on(Events.EPOCH_COMPLETED)(
        lambda: learner.optimizer.param_groups[0].update(lr=0.5)
    )
    learner.fit((X, Y))
    assert learner.optimizer.param_groups[0]["lr"] == 0.5
    rates = []
    learner.trainer.on(Events.ITERATION_COMPLETED(once=1))(
        lambda: rates.append(learner.optimizer.param_groups[0]["lr"])
    )
    learner.fit((X, Y))
    assert rates == [0.5]


@pytest.mark.parametrize(
    ("optimizer", "options", "group"),
    [
        ("sgd", {}, 0),
        ("adamw", {"param_groups": {"2.*": {"lr": 0.5}}}, 1),
        ("adamw", {"param_groups": {"0.*": {"lr": 0.5}}}, 1),
        ({"0.*": "sgd", "*": "adam"}, {}, 0),
    ],
)
def test_what_is_unfrozen_between_two_fits_is_trained(optimizer, options, group):
    learner = Learner(make_net(), "cross_entropy", optimizer, 0.01, **options)
    for parameter in learner.model[0].parameters():
        parameter.requires_grad_(False)
    frozen = Learner(
        learner.model, "cross_entropy", optimizer if isinstance(optimizer, str) else "sgd", 0.01
    )
    if isinstance(optimizer, str):
        learner = frozen
    before = weights_of(learner.model)
    learner.fit((X, Y), schedule="cosine")
    assert [torch.equal(a, b) for a, b in zip(before, weights_of(learner.model), strict=True)] == [
        True
    ] * 2 + [False] * 2
    for parameter in learner.model[0].parameters():
        parameter.requires_grad_(True)
    before = weights_of(learner.model)
    learner.fit((X, Y), schedule="cosine")
    assert not any(
        torch.equal(a, b) for a, b in zip(before, weights_of(learner.model), strict=True)
    )
    groups = learner.optimizer.param_groups
    assert sum(len(one["params"]) for one in groups) == 4


@pytest.mark.parametrize(("key", "new"), [("lr", 0.02), ("weight_decay", 0.5), ("momentum", 0.9)])
@pytest.mark.parametrize("schedule", [None, "linear"])
def test_a_resumed_run_continues_with_the_options_of_the_program(tmp_path, key, new, schedule):
    def stop():
        raise Killed

    def program(value):
        given = {"lr": 0.1, "optimizer_options": {"weight_decay": 0.0, "momentum": 0.0}}
        if key == "lr":
            given["lr"] = value
        else:
            given["optimizer_options"][key] = value
        learner, seen = make(optimizer="sgd", **given), []
        learner.trainer.on(Events.ITERATION_COMPLETED)(
            lambda: seen.append(dict(learner.optimizer.param_groups[0], params=None))
        )
        learner.fit(
            (X, Y), epochs=2, batch_size=60, schedule=schedule, run_dir=tmp_path, resume="latest"
        )
        return seen

    begun = make(optimizer="sgd", lr=0.1, optimizer_options={"weight_decay": 0.0, "momentum": 0.0})
    begun.trainer.on(Events.ITERATION_COMPLETED(once=3))(stop)
    with pytest.raises(Killed):
        begun.fit(
            (X, Y), epochs=2, batch_size=60, schedule=schedule, run_dir=tmp_path, save_every=1
        )
    (first, _) = program(new)
    share = 0.5 if schedule else 1.0  # after two of four steps
    assert first[key] == pytest.approx(new * share if key == "lr" else new)
    assert first["lr"] == pytest.approx(share * (new if key == "lr" else 0.1))
    if key == "lr":
        assert json.loads((tmp_path / "run.json").read_text())["config"]["lr"] == new


def test_a_resumed_run_watches_the_same(tmp_path):
    options = {"valid": 0.2, "early_stopping": 9, "run_dir": tmp_path, "resume": "latest"}
    make(metrics=["accuracy"]).fit((X, Y), **options)
    with pytest.raises(
        ValueError,
        match="monitor should be 'valid_loss' with mode='min', as when the run began, but",
    ):
        make(metrics=["accuracy"]).fit((X, Y), epochs=2, monitor="valid_accuracy", **options)


# Fits that are refused, and copies.


def everything(learner):
    return [
        copy.deepcopy(learner.model.state_dict()), copy.deepcopy(learner.optimizer.state_dict()), learner.classes,
        str(learner.task), str(learner.trainer.describe()), str(learner.evaluator.describe()), len(learner.history),
        [dict(group, params=None) for group in learner.optimizer.param_groups],
    ]  # fmt: skip


NAMES = np.array(["no", "yes", "maybe"])[Y.numpy()]


@pytest.mark.parametrize("has_trained", [False, True])
@pytest.mark.parametrize(
    "bad",
    [
        {"schedule": "cosin"}, {"warmup": 99}, {"progress": "loud"}, {"monitor": "nothing"}, {"resume": "latest"},
        {"valid": (X[:, :2], NAMES[:9])}, {"run_dir": "taken"}, {"schedule": "linear", "run_dir": "taken"},
    ],
)  # fmt: skip
def test_a_refused_fit_leaves_nothing_behind(tmp_path, has_trained, bad):
    learner = make(metrics=["accuracy"], optimizer="sgd")
    if has_trained:
        learner.fit((X.numpy(), NAMES), schedule="linear")
    if "run_dir" in bad:
        make().fit((X, Y), run_dir=tmp_path)
        bad = {**bad, "run_dir": tmp_path}
    before = everything(learner)
    with pytest.raises((ValueError, TypeError)):
        learner.fit((X.numpy(), NAMES), **bad)
    assert first_difference(everything(learner), before, "everything") is None
    other = np.array(["a", "b", "c"])[Y.numpy()] if not has_trained else NAMES
    learner.fit((X.numpy(), other))
    assert set(learner.classes) == set(other)


@pytest.mark.parametrize("fits", [0, 1])
@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", {"0.*": "sgd", "*": "adam"}, "made"])
@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_a_copy_continues_like_the_original(how, optimizer, ema, fits):
    model = make_net()
    made = torch.optim.Adam(model.parameters(), lr=0.01) if optimizer == "made" else optimizer
    options = {} if optimizer == "made" else {"lr": 0.01}
    learner = Learner(model, "cross_entropy", made, metrics=["accuracy", "f1"], ema=ema, **options)
    for _ in range(fits):
        learner.fit((X.numpy(), NAMES), valid=0.2, epochs=2, schedule="cosine")
    twin = pickle.loads(pickle.dumps(learner)) if how == "pickle" else copy.deepcopy(learner)
    assert (twin.classes, str(twin.task), len(twin.history)) == (
        learner.classes,
        str(learner.task),
        2 * fits,
    )
    expected = learner.fit((X.numpy(), NAMES), valid=0.2, epochs=2)
    untouched = twin.predict(X[:3])
    found = twin.fit((X.numpy(), NAMES), valid=0.2, epochs=2)
    assert found.steps == expected.steps
    assert found["valid_f1"] == expected["valid_f1"]
    assert are_equal(weights_of(twin.model), weights_of(learner.model))
    assert torch.equal(twin.predict(X), learner.predict(X))
    assert not torch.equal(untouched, twin.predict(X[:3]))


def test_progress_counts_in_each_fit(capsys):
    learner = make()
    shown = []
    for progress in ("bar", False, "bar"):
        learner.fit((X, Y), progress=progress)
        shown.append("loss=" in capsys.readouterr().err)
    assert shown == [True, False, True]


def test_a_summary_needs_no_example_and_takes_what_predict_takes():
    learner = make()
    assert "(2, 16)" not in learner.summary()
    assert "(5, 16)" in learner.summary(X[:5].numpy())
    learner.fit((X.numpy(), Y.numpy()))
    assert "(2, 16)" in learner.summary()


# Metrics of several outputs.


@pytest.mark.parametrize("shape", [(90,), (90, 1), (90, 3), (90, 4, 5)])
@pytest.mark.parametrize("kind", ["plain", "far", "constant"])
def test_metrics_by_name_are_uniform_averages_over_outputs(shape, kind):
    torch.manual_seed(0)
    y = torch.randn(shape, dtype=torch.float64)
    y_pred = y + 0.3 * torch.randn(shape, dtype=torch.float64)
    if kind == "far":
        y, y_pred = y + 1e6, y_pred + 1e6
    if kind == "constant":
        y_pred = torch.full_like(y, 0.1)
    names = ["mse", "mae", "rmse", "r2", "pearson", "spearman"]
    made = make_metrics(names, "regression", has_logits=True)
    engine = Engine(lambda engine, batch: batch)
    for name, metric in made.items():
        metric.attach(engine, name)
    found = engine.run(
        [(y_pred[:50], y[:50]), (y_pred[50:51], y[50:51]), (y_pred[51:], y[51:])]
    ).metrics
    p, t = (one.reshape(len(y), -1).numpy() for one in (y_pred, y))
    expected = {
        "mse": sklearn.metrics.mean_squared_error(t, p), "mae": sklearn.metrics.mean_absolute_error(t, p),
        "rmse": sklearn.metrics.root_mean_squared_error(t, p), "r2": sklearn.metrics.r2_score(t, p),
    }  # fmt: skip
    if kind == "constant":
        expected |= {"pearson": 0.0, "spearman": 0.0}
        assert abs(expected["r2"]) < 0.2
    else:
        expected["pearson"] = np.mean(
            [scipy.stats.pearsonr(a, b).statistic for a, b in zip(p.T, t.T, strict=True)]
        )
        expected["spearman"] = np.mean(
            [scipy.stats.spearmanr(a, b).statistic for a, b in zip(p.T, t.T, strict=True)]
        )
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("is_right", [True, False])
def test_r2_of_a_target_that_is_constant(is_right):
    y = torch.full((20, 2), 3.0)
    metric = make_metrics(["r2"], "regression", has_logits=True)["r2"]
    metric.update((y if is_right else y + 1, y))
    assert (
        metric.compute() == sklearn.metrics.r2_score(y, y if is_right else y + 1) == float(is_right)
    )


def test_the_figures_of_a_fit_of_several_outputs_agree_with_the_loss():
    targets = torch.stack([NUMBERS, NUMBERS**2], 1)
    learner = make(2, "mse", metrics=["mse", "r2"])
    found = learner.fit((X, targets), valid=0.3, epochs=3)
    assert found["valid_mse"] == pytest.approx(found["valid_loss"], rel=1e-5)
    mean = learner.evaluate((X, targets))["r2"]
    assert mean == pytest.approx(sklearn.metrics.r2_score(targets, learner.predict(X)), rel=1e-5)


# How often a run is saved.


@pytest.mark.parametrize(
    ("since", "cost", "expected"),
    [
        (None, 9.0, True),
        (0.99, 0.05, False),
        (1.0, 0.05, True),
        (299.9, 60.0, False),
        (300.0, 60.0, True),
        (0.0, 0.0, True),
    ],
)
def test_when_a_save_is_due(since, cost, expected):
    assert is_save_due(since, cost) is expected


class Clock:
    """Each epoch takes ``epoch_s``, each save ``save_s``."""

    def __init__(self, monkeypatch, epoch_s, save_s):
        self.time_s, self.epoch_s, self.save_s, self.saved = 0.0, epoch_s, save_s, []
        monkeypatch.setattr(clock, "now", lambda: self.time_s)
        original = storage.save

        def save(place, name, *args, **kwargs):
            self.time_s += save_s
            self.saved.append(int(name[11:19]))
            return original(place, name, *args, **kwargs)

        monkeypatch.setattr(storage, "save", save)

    def follow(self, learner):
        learner.trainer.on(Events.EPOCH_COMPLETED, priority=9)(self.go_on)

    def go_on(self):
        self.time_s += self.epoch_s


@pytest.mark.parametrize(
    ("epoch_s", "save_s", "epochs", "expected"),
    [
        (0.125, 0.125, 45, [1, 21, 41, 45]),  # a save a 20th of the time
        (10.0, 0.1, 5, [1, 2, 3, 4, 5, 5]),  # long epochs are all saved; the end, too
        (10.0, 100.0, 65, [1, 31, 61, 65]),  # no more than five minutes are lost
    ],
)
def test_a_run_is_saved_as_often_as_it_costs_little(
    tmp_path, monkeypatch, epoch_s, save_s, epochs, expected
):
    times, learner = Clock(monkeypatch, epoch_s, save_s), make()
    times.follow(learner)
    monkeypatch.setattr(
        RunCheckpoint, "__init__", partialmethod(_in_foreground, RunCheckpoint.__init__)
    )
    learner.fit((X, Y), epochs=epochs, batch_size=120, run_dir=tmp_path)
    assert times.saved == expected


def _in_foreground(self, original, *args):
    original(self, *args[:-1], False)


def test_save_every_saves_each_epoch_and_every_so_many_steps(tmp_path, monkeypatch):
    times, learner = Clock(monkeypatch, 0.001, 1.0), make()
    times.follow(learner)
    learner.fit((X, Y), epochs=3, batch_size=30, run_dir=tmp_path, save_every=3)
    assert sorted(set(times.saved)) == [3, 4, 6, 8, 9, 12]


def test_the_best_epoch_is_kept_though_few_are_saved(tmp_path, monkeypatch):
    figures = [0.5, 0.4, 0.9, 0.3, 0.8, 0.2, 0.7, 0.1]
    times, learner, seen = (
        Clock(monkeypatch, 0.001, 1.0),
        make(metrics={"own": Told(figures, True)}),
        [],
    )
    times.follow(learner)
    learner.trainer.on(Events.EPOCH_COMPLETED)(lambda: seen.append(weights_of(learner.model)))
    options = {"valid": (X, Y), "monitor": "valid_own", "batch_size": 120, "run_dir": tmp_path}
    learner.fit((X, Y), epochs=8, **options)
    assert sorted(set(times.saved)) == [1, 3, 8]
    other = make()
    other.load(tmp_path / "checkpoints" / "best.pt")
    assert are_equal(weights_of(other.model), seen[2])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_where_it_stops_it(tmp_path, monkeypatch, signum):
    def train(folder, stop_at=None, **options):
        learner = make(optimizer="sgd")
        if stop_at:
            learner.trainer.on(Events.ITERATION_COMPLETED(once=stop_at))(
                lambda: os.kill(os.getpid(), signum)
            )
        return learner.fit((X, Y), epochs=5, batch_size=30, run_dir=folder, resume="latest")

    expected = train(tmp_path / "whole")
    before = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
    was = signal.signal(signum, before)
    Clock(monkeypatch, 0.001, 1.0)
    with pytest.raises(KeyboardInterrupt if signum == signal.SIGINT else SystemExit):
        train(tmp_path / "cut", 14)
    assert signal.signal(signum, was) == before
    states = storage.load(tmp_path / "cut" / "checkpoints" / "last.pt").state
    assert states["recorder"]["history"]["steps"].tolist() == expected.steps[:14]
    found = train(tmp_path / "cut")
    assert (found.steps, found["loss"]) == (expected.steps, expected["loss"])
    steps = [
        json.loads(line).get("step")
        for line in (tmp_path / "cut" / "scalars.jsonl").read_text().splitlines()
    ]
    assert [step for step in steps if step] == [10, 20]
