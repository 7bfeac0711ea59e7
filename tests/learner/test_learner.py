import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ignite
from ignite.data import ArrayLoader
from ignite.engine import BackpropEvents, Engine, Events
from ignite.learner import History, Learner, _runs
from ignite.learner._data.schema import Facts
from ignite.learner._preparation import Batching, load
from ignite.metrics import Accuracy, MeanSquaredError
from support import digits, harness, learner_processes
from support.classifiers import TwoInputs, X, Y, make_net
from support.classifiers import make_learner as make


def weights_of(learner):
    return [parameter.detach().clone() for parameter in learner.model.parameters()]


def without_seconds(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def test_the_short_program_learns_the_digits(tmp_path):
    x, y = digits.load()
    net = digits.make_conv_net()
    learner = ignite.Learner(
        net, loss="cross_entropy", optimizer="adamw", lr=3e-3, metrics=["accuracy", "f1"]
    )
    history = learner.fit(
        (x.numpy(), y.numpy()),
        valid=0.1,
        epochs=10,
        batch_size=64,
        run_dir=tmp_path,
        resume="latest",
    )
    assert max(history["valid_accuracy"]) >= 0.97
    assert max(history["valid_f1"]) >= 0.97
    assert len(history.steps) == 10 * math.ceil(len(x) * 0.9 / 64)
    assert str(learner.task).startswith(
        "multiclass with 10 classes, because the loss is CrossEntropyLoss"
    )
    assert (learner.predict(x[:200], decide=True) == y[:200]).float().mean() >= 0.95


def test_it_is_the_loop_that_one_writes_by_hand():
    loader = DataLoader(TensorDataset(X, Y), batch_size=16)
    model, loss_fn = make_net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(3):
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    learner = make(optimizer="sgd", lr=0.1, optimizer_options={"momentum": 0.9})
    history = learner.fit(loader, epochs=3)
    assert history.steps == losses
    sizes = [16] * 7 + [8]
    totals = [
        sum(n * loss for n, loss in zip(sizes, losses[i : i + 8], strict=True)) for i in (0, 8, 16)
    ]
    assert history["loss"] == pytest.approx([total / 120 for total in totals], rel=1e-12)
    assert all(
        torch.equal(a, b) for a, b in zip(weights_of(learner), model.parameters(), strict=True)
    )


def test_arrays_and_a_loader_of_them_give_the_same():
    by_arrays, by_loader = make(), make()
    first = by_arrays.fit((X, Y), epochs=2, batch_size=16, shuffle=False)
    second = by_loader.fit(DataLoader(TensorDataset(X, Y), 16), epochs=2)
    assert first.steps == second.steps


def test_the_engines_are_ordinary_ones_and_handlers_stay():
    learner, seen = make(metrics=[Accuracy()]), []
    learner.trainer.on(Events.ITERATION_COMPLETED(every=4))(
        lambda engine: seen.append(engine.state.iteration)
    )
    learner.evaluator.on(Events.COMPLETED)(lambda engine: seen.append("evaluated"))
    learner.fit((X, Y), valid=(X, Y), batch_size=30)
    learner.fit((X, Y), batch_size=30)
    assert isinstance(learner.trainer, Engine)
    assert seen == [4, "evaluated", 4]
    assert learner.evaluator.state.metrics["Accuracy"] > 0


def test_only_what_fit_has_added_is_taken_off():
    learner = make()
    learner.fit((X, Y), epochs=1)
    before = learner.describe()
    learner.fit((X, Y), valid=0.1, epochs=2, early_stopping=1, schedule="cosine", restore_best=True)
    assert learner.describe().replace("\n", "") == before.replace("\n", "")


def test_another_fit_continues_from_the_weights_with_its_own_history():
    learner = make()
    first = learner.fit((X, Y), epochs=3)
    second = learner.fit((X, Y), epochs=2)
    assert (len(first), len(second), second["epoch"]) == (3, 2, [1, 2])
    assert second["loss"][0] < first["loss"][0]
    assert learner.trainer.state.epoch == 2


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 7, 8, 11, 20])
@pytest.mark.parametrize("save_every", [None, 1])
def test_stopped_and_run_again_it_continues_exactly(tmp_path, stop_at, save_every):
    def train(folder, stop=None):
        learner = make(metrics=["accuracy"], ema=0.9)
        learner.model.append(nn.Dropout(0.1))
        if stop is not None:

            @learner.trainer.on(Events.ITERATION_COMPLETED(once=stop))
            def stop_here():
                raise Killed

        torch.manual_seed(5)
        history = learner.fit(
            (X, Y), valid=0.1, epochs=3, batch_size=16, schedule="cosine", warmup=3, early_stopping=5,
            restore_best=True, run_dir=folder, resume="latest", save_every=save_every,
        )  # fmt: skip
        return learner, history

    whole, expected = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "cut", stop_at)
    torch.manual_seed(99)
    resumed, found = train(tmp_path / "cut")
    assert found.steps == expected.steps
    assert without_seconds(found) == without_seconds(expected)
    assert all(
        torch.equal(a, b) for a, b in zip(weights_of(resumed), weights_of(whole), strict=True)
    )


def test_a_finished_run_is_not_run_again(tmp_path):
    first = make().fit((X, Y), epochs=2, run_dir=tmp_path, resume="latest")
    learner, seen = make(), []
    learner.trainer.on(Events.ITERATION_COMPLETED)(lambda engine: seen.append(1))
    again = learner.fit((X, Y), epochs=2, run_dir=tmp_path, resume="latest")
    assert (again.epochs, again.steps, seen) == (first.epochs, first.steps, [])


def test_a_folder_explains_itself(tmp_path):
    learner = make(metrics=["accuracy"])
    learner.fit((X, Y), valid=0.1, epochs=2, batch_size=10, run_dir=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["format"] == 1
    assert record["config"]["loss"] == "cross_entropy"
    assert record["config"]["batch_size"] == 10
    assert record["sessions"][0]["torch"] == torch.__version__
    lines = [
        json.loads(line)
        for line in (tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[1:]
    ]
    assert [line["step"] for line in lines if "training/loss" in line["scalars"]] == [10, 20]
    assert [line["step"] for line in lines if "validation/accuracy" in line["scalars"]] == [11, 22]
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    saved = ignite.storage.load(tmp_path / "run" / "checkpoints" / "best.pt").state
    assert json.loads(saved["provenance"]["record"])["config"] == record["config"]
    assert set(saved) >= {"model", "optimizer", "recorder", "trainer"}


def test_a_folder_is_for_one_run_and_a_learner_for_many(tmp_path):
    learner = make()
    learner.fit((X, Y), run_dir=tmp_path / "a")
    files = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    before = weights_of(learner)
    with pytest.raises(
        ValueError,
        match="empty for a new fit, but .*a already holds a run: pass resume=",
    ):
        learner.fit((X, Y), run_dir=tmp_path / "a")
    assert all(torch.equal(a, b) for a, b in zip(before, weights_of(learner), strict=True))
    assert len(learner.fit((X, Y), epochs=2)) == 2
    assert {
        path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()
    } == files
    learner.fit((X, Y), run_dir=tmp_path / "b")
    assert (tmp_path / "b" / "run.json").exists()
    assert learner.fit((X, Y), epochs=3, run_dir=tmp_path / "a", resume="latest")["epoch"] == [
        1,
        2,
        3,
    ]
    with pytest.raises(ValueError, match="resume='latest' needs run_dir"):
        make().fit((X, Y), resume="latest")


def test_early_stopping_and_the_best_weights():
    learner = make(lr=0.3)
    history = learner.fit(
        (X[:40], Y[:40]),
        valid=(X[40:], Y[40:]),
        epochs=60,
        batch_size=8,
        early_stopping=3,
        restore_best=True,
    )
    assert len(history) < 60
    best = history.best("valid_loss")
    assert learner.evaluate((X[40:], Y[40:]))["loss"] == pytest.approx(best["valid_loss"])
    assert history["epoch"][-1] - best["epoch"] == 3
    with pytest.raises(
        ValueError, match="monitor should be one of loss, seconds, but given 'accuracy'"
    ):
        make().fit((X, Y), early_stopping=1, monitor="accuracy")


def test_a_schedule_moves_the_learning_rate_and_the_next_fit_begins_with_the_first():
    learner, rates = make(optimizer="sgd", lr=1.0), []
    learner.trainer.on(Events.ITERATION_COMPLETED)(
        lambda: rates.append(learner.optimizer.param_groups[0]["lr"])
    )
    learner.fit((X, Y), epochs=2, batch_size=30, schedule="linear", warmup=0.25)
    assert rates == pytest.approx([0.5, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    rates.clear()
    learner.fit((X, Y), batch_size=60)
    assert rates == [1.0, 1.0]
    with pytest.raises(TypeError, match="need data of known length"):
        learner.fit(iter([(X, Y)]), schedule="cosine")


def test_averaged_weights_are_what_is_evaluated_applied_and_saved(tmp_path):
    learner = make(ema=0.5, optimizer="sgd", lr=1.0)
    learner.fit((X, Y), epochs=2, batch_size=40)
    live, average = learner.model(X), learner._engines.average.ema_model(X)
    assert not torch.allclose(live, average)
    assert torch.allclose(learner.predict(X), average.detach())
    learner.save(tmp_path / "model.pt")
    assert torch.equal(learner.model(X), live), "the live weights are in place again"
    other = make()
    other.load(tmp_path / "model.pt")
    assert torch.allclose(other.predict(X), average.detach())
    loss = nn.functional.cross_entropy(average, Y).item()
    assert learner.evaluate((X, Y))["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns(precision):
    learner = make(precision=precision, metrics=["accuracy"])
    if precision == "fp16" and learner.device.type == "cpu":
        assert learner.trainer.state.scaler is not None
    history = learner.fit((X, Y), valid=0.2, epochs=15, batch_size=16)
    assert history["loss"][-1] < history["loss"][0] / 2
    assert all(parameter.dtype == torch.float32 for parameter in learner.model.parameters())


def test_accumulated_steps_are_those_of_a_larger_batch():
    one, other = (
        make(optimizer="sgd", lr=0.1, accumulation=accumulation, clip_grad_norm=0.5)
        for accumulation in (1, 3)
    )
    one.fit((X, Y), batch_size=30, shuffle=False)
    other.fit((X, Y), batch_size=10, shuffle=False)
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(weights_of(one), weights_of(other), strict=True)
    )


def test_frozen_layers_and_groups():
    learner = make(freeze=["0.*"], optimizer="sgd", lr=0.1, param_groups={"*.bias": {"lr": 0.0}})
    before = weights_of(learner)
    learner.fit((X, Y), batch_size=20)
    changed = [not torch.equal(a, b) for a, b in zip(before, weights_of(learner), strict=True)]
    assert changed == [False, False, True, False]


def test_weights_of_samples_and_classes():
    weight = torch.where(Y == 2, 0.0, 1.0)
    share = (Y != 2).double().mean().item()  # a mean over all samples, of which some weigh nothing
    by_sample, by_class = (make(optimizer="sgd", lr=0.1, class_weight=w) for w in (None, {2: 0.0}))
    left_out = make(optimizer="sgd", lr=0.1 * share)
    by_sample.fit((X, Y, weight), batch_size=120, shuffle=False)
    by_class.fit((X, Y), batch_size=120, shuffle=False)
    left_out.fit((X[Y != 2], Y[Y != 2]), batch_size=120, shuffle=False)
    for other in (by_class, left_out):
        assert all(
            torch.allclose(a, b, atol=1e-6)
            for a, b in zip(weights_of(by_sample), weights_of(other), strict=True)
        )


def test_balanced_classes_weigh_the_same():
    weights = compute_class_weight("balanced", classes=np.arange(3), y=Y.numpy()).tolist()
    by_name, by_hand = (
        make(optimizer="sgd", lr=0.1, class_weight=w) for w in ("balanced", weights)
    )
    for learner in (by_name, by_hand):
        learner.fit((X, Y), batch_size=30, shuffle=False)
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(weights_of(by_name), weights_of(by_hand), strict=True)
    )


@pytest.mark.parametrize(
    ("loss", "num_outputs", "y", "metrics", "kind"),
    [
        (
            "bce_with_logits",
            1,
            (X[:, 0] > 0).long(),
            ["accuracy", "f1", "roc_auc", "average_precision"],
            "binary",
        ),
        (
            "bce_with_logits",
            2,
            (X[:, :2] > 0).long(),
            ["accuracy", "f1", "precision", "recall"],
            "multilabel",
        ),
        (
            "cross_entropy",
            3,
            Y,
            ["accuracy", "balanced_accuracy", "f1", "kappa", "mcc", "top2_accuracy"],
            "multiclass",
        ),
    ],
)
def test_kinds_of_classes(loss, num_outputs, y, metrics, kind):
    learner = make(num_outputs, loss, metrics=metrics, lr=0.05)
    learner.fit((X, y), epochs=30, batch_size=16)
    found = learner.evaluate((X, y))
    assert learner.task.kind == kind
    assert set(found) == {"loss", *metrics}
    assert all(found[name] > 0.9 for name in metrics)
    chosen = learner.predict(X, decide=True)
    assert chosen.shape == y.shape
    report = learner.report((X, y))
    assert sum(row["support"] for row in report.values()) == (
        int(y.sum()) if kind == "multilabel" else len(y)
    )
    assert all(row["f1"] > 0.8 for row in report.values())


def test_regression():
    y = (X @ torch.tensor([1.0, -2.0, 0.5, 0.0])).double().numpy()
    learner = make(
        1, "mse", metrics={"error": "mae", "r2": "r2", "own": MeanSquaredError()}, lr=0.02
    )
    learner.fit((X.numpy(), y), epochs=60, batch_size=16)
    found = learner.evaluate((X.numpy(), y))
    assert found["r2"] > 0.98
    assert found["own"] == pytest.approx(found["loss"], rel=1e-4)
    with pytest.raises(
        ValueError, match="decide=True needs a classification task, but this one is regression"
    ):
        learner.predict(X, decide=True)


def test_weights_by_the_name_of_a_class_are_those_by_its_number():
    words = np.array(["no", "yes", "maybe"])[Y.numpy()]
    named, numbered = (
        make(class_weight={"yes": 5.0}),
        make(class_weight={2: 5.0}),
    )  # sorted: maybe, no, yes
    histories = [
        learner.fit((X.numpy(), y), epochs=1, batch_size=40)
        for learner, y in ((named, words), (numbered, np.array([1, 2, 0])[Y.numpy()]))
    ]
    assert named.classes == ("maybe", "no", "yes")
    assert histories[0].steps == histories[1].steps


def test_only_steps_of_fit_that_are_not_skipped_are_in_the_history(monkeypatch):
    monkeypatch.setattr(_runs, "_MAX_PENDING", 1)  # each is written down at once
    learner = make()
    learner.trainer.add_event_handler(
        BackpropEvents.OPTIM_STEP_STARTED(once=2), learner.trainer.skip_iteration
    )
    history = learner.fit((X, Y), epochs=1, batch_size=40)
    learner.trainer.run([(X, Y)], max_epochs=2)
    assert len(history.steps) == 2


def test_a_step_and_several_optimizers_of_ones_own():
    model = make_net()
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[0], model[2])]

    def step(engine, batch):
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return {"loss": loss, "other": 1}

    learner = Learner(model, "cross_entropy", optimizers[0], step=step, metrics=["accuracy"])
    history = learner.fit((X, Y), valid=0.1, epochs=10, batch_size=8)
    assert history["loss"][-1] < history["loss"][0]
    assert len(history.steps) == 10 * 14


def test_predictions_are_in_order_and_a_stream_is_not_collected():
    learner = make()
    expected = learner.model(X).detach()
    # Rounding depends on the size of a batch, on some processors.
    torch.testing.assert_close(learner.predict(X, batch_size=7), expected)
    torch.testing.assert_close(learner.predict(DataLoader(TensorDataset(X, Y), 11)), expected)
    made = []

    def endless():
        while True:
            made.append(1)
            yield X[:5]

    stream = learner.predict_batches(endless())
    assert [next(stream).shape for _ in range(3)] == [(5, 3)] * 3
    assert len(made) == 3
    with pytest.raises(ValueError, match="at least one sample"):
        learner.predict([])


def test_several_inputs_go_to_a_model_by_name():
    torch.manual_seed(0)
    learner = Learner(TwoInputs(), "cross_entropy", lr=0.1, metrics=["accuracy"])
    data = {"a": X[:, :2], "b": X[:, 2:], "label": Y}
    learner.fit(data, valid=data, target="label", epochs=20)
    assert learner.evaluate(data)["accuracy"] > 0.6
    assert learner.predict({"a": X[:3, :2], "b": X[:3, 2:]}).shape == (3, 3)


def test_mistakes_are_found_before_the_first_step():
    steps = []

    def tried(learner, data, **arguments):
        learner.trainer.on(Events.ITERATION_COMPLETED)(lambda: steps.append(1))
        before = weights_of(learner)
        with pytest.raises((ValueError, TypeError)) as caught:
            learner.fit(data, **arguments)
        assert all(torch.equal(a, b) for a, b in zip(before, weights_of(learner), strict=True))
        return str(caught.value)

    bad = X.clone()
    bad[3, 1] = math.nan
    assert "x should be finite, but given 1 of them" in tried(make(), (bad, Y))
    assert "y should be class indices, int64" in tried(make(), (X, Y.float()))
    assert "use y.long()" in tried(make(), DataLoader(TensorDataset(X, Y.float()), 8)), (
        "also in what gives batches"
    )
    assert "classes start at 0, use y - 1" in tried(make(), (X, Y + 1))
    assert "x should be finite" in tried(make(), (X, Y), valid=(bad, Y))
    assert "did you mean 'accuracy'" in tried(make(metrics=["acuracy"]), (X, Y))
    assert "regression metric 'accuracy' is not known" in tried(
        make(1, "mse", metrics=["accuracy"]), (X, X[:, 0])
    )
    assert "did you mean 'cosine'" in tried(make(), (X, Y), schedule="cosin")
    assert "warmup should be from 0 to 4" in tried(make(), (X, Y), warmup=9)
    assert "progress should be" in tried(make(), (X, Y), progress="loud")
    assert steps == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "crossentropy"}, ValueError, "did you mean 'cross_entropy'"),
        ({"loss": 3}, TypeError, "loss should be a name or"),
        ({"optimizer": "adm"}, ValueError, "did you mean 'adam'"),
        ({"precision": "half"}, ValueError, "precision 'half' is not known"),
        (
            {"freeze": ["nothing*"]},
            ValueError,
            "freeze: no parameter matches 'nothing\\*'. There are 0.weight",
        ),
        ({"freeze": ["*"]}, ValueError, "leave at least one parameter to train"),
        (
            {"param_groups": {"no.*": {}}},
            ValueError,
            "param_groups: no parameter that is trained matches 'no",
        ),
        ({"ema": 1.5}, ValueError, "ema should be between 0 and 1"),
        ({"task": "classes"}, ValueError, "task should be one of"),
        ({"metrics": [3]}, TypeError, "metrics should be names, functions"),
    ],
)
def test_arguments_that_make_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        make(**options).fit((X, Y))


def test_nothing_but_a_line_per_epoch_is_printed(capsys):
    make(metrics=["accuracy"]).fit((X, Y), valid=0.1, epochs=2)
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 2)


@pytest.mark.parametrize(("progress", "word"), [("live", "valid"), ("bar", "loss=")])
def test_a_display_is_shown_when_it_is_asked_for(capsys, progress, word):
    make().fit((X, Y), valid=0.1, epochs=2, progress=progress)
    assert word in capsys.readouterr().err


def test_numpy_and_torch_are_left_alone():
    learner = make()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    learner.fit((X, Y), valid=0.1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_history_is_what_fit_returns():
    assert isinstance(make().fit((X, Y)), History)


def test_the_summary_has_the_shapes():
    text = make().summary(X[:2])
    assert "Linear      (2, 16)" in text
    assert text.endswith("parameters and buffers: 524 bytes")


def test_two_processes_train_what_one_does_with_batches_twice_as_large(tmp_path):
    expected = learner_processes.train(tmp_path / "one", 0, batch_size=16)
    first, second = harness.run(partial(learner_processes.train, tmp_path / "two"), 2)
    assert first == second, "both have the same weights, figures and predictions"
    assert torch.allclose(torch.tensor(first[0]), torch.tensor(expected[0]), atol=1e-6)
    for name, values in expected[1].items():
        assert first[1][name] == pytest.approx(values, rel=1e-5)
    assert first[2] == expected[2]
    assert first[3] == pytest.approx(expected[3], rel=1e-5)
    assert (tmp_path / "two" / "run.json").exists()


def test_batches_for_an_accelerator_are_made_ahead():
    learner = ignite.Learner(nn.Linear(4, 2), "cross_entropy")
    x, y = torch.randn(20, 4), torch.arange(20) % 2
    given = ArrayLoader((x, y))
    assert load(learner, (x, y), Batching(), Facts()).batches.prefetch == 0
    learner.device = torch.device("cuda")  # nothing is moved here
    assert load(learner, (x, y), Batching(), Facts()).batches.prefetch == 2
    assert load(learner, (x.to("meta"), y.to("meta")), Batching(), Facts()).batches.prefetch == 0
    assert load(learner, given, Batching(), Facts()).batches is given
    assert given.prefetch == 0


def test_predictions_of_a_loader_that_shuffles_are_warned_about(caplog):
    data = torch.utils.data.TensorDataset(torch.zeros(4, 2))
    learner = ignite.Learner(torch.nn.Linear(2, 1), loss="mse")
    learner.predict(torch.utils.data.DataLoader(data))
    learner.predict(torch.zeros(4, 2))
    assert "shuffles" not in caplog.text
    learner.predict(torch.utils.data.DataLoader(data, shuffle=True))
    assert "pass a loader with shuffle=False" in caplog.text
