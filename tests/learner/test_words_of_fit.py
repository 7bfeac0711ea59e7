"""Arguments of ``fit``: schedules, rates, epochs of so many steps, validation, sampling, callbacks."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import Dataset, RandomSampler, WeightedRandomSampler

from ignite.engine import Events
from ignite.handlers import CosineAnnealingScheduler, FastaiLRFinder
from ignite.learner import History, Holdout, Learner
from ignite.learner._data.splitting import hold_out
from ignite.learner._schedules import SCHEDULES, factor_of
from support.classifiers import X, Y
from support.classifiers import make_learner as make


class Killed(Exception):
    pass


def rows_of(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


class Rows(Dataset):
    def __len__(self):
        return 120

    def __getitem__(self, i):
        return X[i], Y[i]


def pairs(items):
    x, y = zip(*items, strict=True)
    return torch.stack(x), torch.stack(y)


def stream():
    while True:
        yield X[:20], Y[:20]


# Each of them goes on exactly after a kill.


def of_learner(make_scheduler):
    return lambda learner: {"schedule": make_scheduler(learner.optimizer)}


WORDS = {
    "one_cycle": {"schedule": "one_cycle"},
    "cosine_restarts": {"schedule": "cosine_restarts", "warmup": 2},
    "plateau": {"schedule": "plateau", "warmup": 3, "monitor": "valid_loss", "mode": "max"},
    "plateau of one's own": of_learner(lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0)),
    "a scheduler of epochs": of_learner(lambda o: lr_scheduler.StepLR(o, 2, 0.5)),
    "a scheduler of steps": of_learner(lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=99)),
    "partial": {"schedule": functools.partial(lr_scheduler.ExponentialLR, gamma=0.5)},
    "a handler": of_learner(lambda o: CosineAnnealingScheduler(o, "lr", 0.1, 0.01, 7)),
    "lr": {"lr": 0.003},
    "min_delta": {"early_stopping": 1, "min_delta": 0.02, "epochs": 9},
    "steps_per_epoch": {"steps_per_epoch": 5},
    "validate_every": {"validate_every": 3, "early_stopping": 8, "restore_best": True},
    "validate_every and plateau": {"validate_every": 2, "schedule": "plateau", "mode": "max"},
    "drop_last": {"drop_last": True},
    "collate_fn": {"data": Rows(), "valid": (X, Y), "collate_fn": pairs},
    "sampler": {"valid": (X, Y), "sampler": WeightedRandomSampler([1.0, 3.0] * 60, 70)},
    "sampler of a dataset": {"data": Rows(), "valid": (X, Y), "sampler": RandomSampler(Rows())},
    "holdout": {"valid": Holdout(0.3, groups=[i % 12 for i in range(120)])},
}


@pytest.mark.parametrize("stop", [pytest.param(3, marks=pytest.mark.slow), 12])
@pytest.mark.parametrize("word", WORDS)
def test_a_killed_run_goes_on_exactly(tmp_path, word, stop):
    def train(folder, stop=None):
        learner = make(metrics=["accuracy"], optimizer="sgd", lr=0.05)
        learner.model.append(nn.Dropout(0.1))
        if stop is not None:

            @learner.trainer.on(Events.ITERATION_COMPLETED(once=stop))
            def stop_here():
                raise Killed

        given = WORDS[word]
        options = {"data": (X, Y), "valid": 0.2, "epochs": 3, "batch_size": 16, "save_every": 2}
        options |= given(learner) if callable(given) else given
        rates = []
        learner.trainer.on(Events.ITERATION_COMPLETED)(
            lambda: rates.append(learner.optimizer.param_groups[0]["lr"])
        )
        torch.manual_seed(7)
        history = learner.fit(**options, run_dir=folder, resume="latest", progress=False)
        return learner, history, rates

    learner, expected, rates = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "cut", stop)
    torch.manual_seed(99)
    resumed, found, later = train(tmp_path / "cut")
    assert found.steps == expected.steps
    assert rows_of(found) == rows_of(expected)
    assert found.validations == expected.validations
    assert later == rates[len(rates) - len(later) :]
    assert resumed.optimizer.param_groups[0]["lr"] == learner.optimizer.param_groups[0]["lr"]
    for a, b in zip(learner.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("stop", [2, 9])
def test_two_phases_with_frozen_layers_go_on_exactly(tmp_path, stop):
    """The program is run again from its start: the first phase is finished already."""

    def train(folder, stop=None):
        learner = make(
            freeze=["0.*"], optimizer="sgd", lr=0.05, optimizer_options={"momentum": 0.9}
        )
        count = [0]

        @learner.trainer.on(Events.ITERATION_COMPLETED)
        def stop_here():
            count[0] += 1
            if count[0] == stop:
                raise Killed

        common = {"batch_size": 30, "resume": "latest", "save_every": 1, "progress": False}
        learner.fit((X, Y), run_dir=folder / "head", **common)
        learner.unfreeze()
        learner.freeze("2.bias")
        return learner, learner.fit((X, Y), epochs=2, lr=0.01, run_dir=folder / "all", **common)

    learner, expected = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "cut", stop)
    resumed, found = train(tmp_path / "cut")
    assert found.steps == expected.steps
    for a, b in zip(learner.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


# Schedules


def test_one_cycle_is_that_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    n = 1001
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=n, cycle_momentum=False)
    expected = []
    for _ in range(n):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(expected) < n:
            scheduler.step()
    found = [SCHEDULES["one_cycle"](step / (n - 1)) for step in range(n)]
    assert np.allclose(found, expected, atol=5e-3)
    assert found[0] == pytest.approx(1 / 25)
    assert found[-1] == pytest.approx(1 / 25e4)


def test_restarts_are_those_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2)
    factor = factor_of("cosine_restarts", 0, 70)
    for step in range(70):
        assert factor(step) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        scheduler.step()


def rates_during(learner, **options):
    rates = []
    learner.trainer.on(Events.EPOCH_COMPLETED)(
        lambda: rates.append(learner.optimizer.param_groups[0]["lr"])
    )
    learner.fit((X, Y), valid=0.2, batch_size=48, progress=False, **options)
    return rates


def test_a_plateau_of_a_metric_that_does_not_improve():
    learner = make(optimizer="sgd", lr=0.01)
    options = {"schedule": "plateau", "monitor": "valid_loss", "mode": "max", "epochs": 14}
    # The first score is the best; the eleventh worse one reduces the rate.
    assert rates_during(learner, **options) == pytest.approx([0.01] * 12 + [0.001] * 2)


def test_a_scheduler_of_torch_is_stepped_after_each_epoch_over_several_fits():
    learner = make(lr=1e-3)
    scheduler = lr_scheduler.MultiStepLR(learner.optimizer, [1, 3], 0.1)
    rates = []
    learner.trainer.on(Events.EPOCH_COMPLETED)(
        lambda: rates.append(learner.optimizer.param_groups[0]["lr"])
    )
    for epochs in (2, 3):
        learner.fit((X, Y), epochs=epochs, schedule=scheduler, progress=False)
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_a_partial_begins_anew_in_each_fit():
    learner = make(lr=1e-3)
    schedule = functools.partial(lr_scheduler.ExponentialLR, gamma=0.1)
    for _ in range(2):
        assert rates_during(learner, epochs=2, schedule=schedule)[-2:] == pytest.approx(
            [1e-3, 1e-4]
        )


OTHER = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule": "one_cylce"}, ValueError, "did you mean 'one_cycle'"),
        ({"schedule": lr_scheduler.StepLR}, TypeError, "pass StepLR\\(learner.optimizer"),
        ({"schedule": 3}, TypeError, "schedule should be a name, a function"),
        (
            {"schedule": lr_scheduler.StepLR(OTHER, 1)},
            ValueError,
            "create it with learner.optimizer",
        ),
        (
            {"schedule": lr_scheduler.StepLR(OTHER, 1), "warmup": 1},
            ValueError,
            "warmup should be left",
        ),
        ({"min_delta": -1, "early_stopping": 1}, ValueError, "min_delta should be at least 0"),
        ({"min_delta": "a", "early_stopping": 1}, TypeError, "min_delta should be a number"),
        ({"min_delta": 0.1}, ValueError, "pass early_stopping"),
        ({"lr": "a"}, TypeError, "lr should be a number"),
        ({"lr": -1.0}, ValueError, "lr should be at least 0"),
        ({"lr": [0.1, 0.2]}, ValueError, "a rate for each of the 1 groups"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch should be at least 1"),
        ({"validate_every": 2.0}, TypeError, "validate_every should be an integer"),
        ({"validate_every": 2, "valid": None}, ValueError, "validate_every needs data"),
        (
            {"validate_every": 2, "monitor": "loss"},
            ValueError,
            "monitor should be a metric of the val",
        ),
        ({"callbacks": [print]}, TypeError, "callbacks should be a dictionary"),
        ({"callbacks": {"epoch_end": print}}, ValueError, "event 'epoch_end' is not known"),
        ({"callbacks": {"started": 3}}, TypeError, "should be a function"),
        ({"callbacks": {"validation_completed": print}, "valid": None}, ValueError, "pass valid"),
        ({"sampler": [0, 1]}, ValueError, "valid should be data with a sampler"),
        ({"sampler": 3, "valid": None}, TypeError, "sampler should be a torch.utils.data.Sampler"),
        (
            {"sampler": [0, 1], "valid": None, "shuffle": True},
            ValueError,
            "shuffle should be left out",
        ),
        (
            {"collate_fn": pairs},
            ValueError,
            "collate_fn should be left out, because data is arrays",
        ),
        ({"valid": 120}, ValueError, "valid should be from 1 to 119"),
        ({"valid": True}, TypeError, "valid should be data, a number of samples"),
        (
            {"valid": Holdout(0.2, groups="patient")},
            ValueError,
            "groups should be one of the columns",
        ),
        ({"valid": Holdout(0.2, groups=[1])}, ValueError, "a group for each of the 120 samples"),
        ({"valid": Holdout(0.2, groups=[1] * 120)}, ValueError, "at least 2 groups"),
    ],
)
def test_mistakes_are_errors_before_the_first_step(options, error, message):
    learner, steps = make(), []
    learner.trainer.on(Events.ITERATION_COMPLETED)(lambda: steps.append(1))
    before = learner.optimizer.param_groups[0]["lr"]
    with pytest.raises(error, match=message):
        learner.fit((X, Y), **{"valid": 0.2, **options})
    assert (steps, learner.optimizer.param_groups[0]["lr"]) == ([], before)


# Rates


def test_the_rate_of_a_fit_holds_for_those_after_it():
    learner = make(lr=0.1)
    assert rates_during(learner, lr=0.02, schedule="linear")[0] < 0.02
    assert rates_during(learner)[-1] == 0.02
    groups = make(lr=0.1, param_groups={"0.*": {"lr": 0.01}})
    with pytest.raises(ValueError, match=r"lr should have a rate for each .* whose rates are \["):
        groups.fit((X, Y), lr=0.5)
    groups.fit((X, Y), lr=[0.5, 0.05])
    assert [group["lr"] for group in groups.optimizer.param_groups] == [0.5, 0.05]


def test_the_test_of_rates_changes_nothing_and_finds_what_the_handler_finds():
    pytest.importorskip("matplotlib").use("Agg")
    learner = make(lr=0.1, ema=0.9)
    before = [one.clone() for one in learner.model.state_dict().values()]
    finder = learner.lr_find((X, Y), batch_size=16, num_iter=50)
    assert isinstance(finder, FastaiLRFinder)
    assert 1e-6 < finder.lr_suggestion() < 10
    assert len(finder.get_results()["lr"]) <= 50
    assert finder.plot().get_xlabel() == "Learning rate"
    assert all(
        torch.equal(a, b) for a, b in zip(before, learner.model.state_dict().values(), strict=True)
    )
    assert (learner.optimizer.param_groups[0]["lr"], learner.task, len(learner.history)) == (
        0.1,
        None,
        0,
    )
    learner.fit((X, Y))
    with pytest.raises(TypeError, match="lr_find needs the supervised step"):
        make(step=lambda engine, batch: 0.0).lr_find((X, Y))


# Epochs and validations


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 9), epochs=st.integers(1, 5), has_loader=st.booleans())
def test_epochs_of_so_many_steps_go_through_the_data_in_turn(length, epochs, has_loader):
    learner, seen = make(), []
    learner.trainer.on(Events.ITERATION_COMPLETED)(
        lambda engine: seen.append(engine.state.batch[1].tolist())
    )
    data = list(zip(X.split(30), Y.split(30), strict=True)) if has_loader else (X, Y)
    options = {} if has_loader else {"batch_size": 30, "shuffle": False}
    history = learner.fit(data, epochs=epochs, steps_per_epoch=length, progress=False, **options)
    expected = [Y.split(30)[i % 4].tolist() for i in range(length * epochs)]
    assert (seen, len(history), len(history.steps)) == (expected, epochs, length * epochs)


def test_an_endless_stream_has_epochs_and_a_schedule():
    history = make().fit(stream(), epochs=3, steps_per_epoch=4, schedule="cosine", progress=False)
    assert (len(history), len(history.steps)) == (3, 12)


def test_validation_within_epochs():
    learner, seen, modes = make(metrics=["accuracy"]), [], []
    learner.model.register_forward_hook(lambda model, x, y: modes.append(model.training))
    learner.evaluator.on(Events.COMPLETED)(lambda: seen.append(learner.trainer.state.iteration))
    history = learner.fit(
        (X, Y), valid=0.2, epochs=2, batch_size=16, validate_every=2, progress=False
    )  # 96 samples in 6 steps
    assert seen == [2, 4, 6, 8, 10, 12]
    assert modes[-18:] == [True, True, False] * 6
    assert [row["step"] for row in history.validations] == seen
    assert [row["epoch"] for row in history.validations] == [1, 1, 1, 2, 2, 2]
    assert history["valid_loss"] == [history.validations[i]["valid_loss"] for i in (2, 5)]


def test_a_fit_is_stopped_and_its_best_weights_are_found_within_an_epoch():
    learner = make(optimizer="sgd", lr=0.1)
    history = learner.fit(
        (X, Y), valid=0.2, epochs=2, batch_size=1, validate_every=5, monitor="valid_loss", mode="max",
        early_stopping=3, restore_best=True, progress=False,
    )  # fmt: skip
    losses = [row["valid_loss"] for row in history.validations]
    best = max(range(len(losses)), key=losses.__getitem__)
    assert len(losses) == best + 4
    assert learner.trainer.state.iteration == 5 * len(losses) < 96
    shown = history["valid_loss"]
    assert shown == [losses[-1]]
    torch.manual_seed(0)
    held = hold_out((X, Y), 0.2, seed=0, wants="classes")[1]
    assert learner.evaluate(held)["loss"] == pytest.approx(losses[best], rel=1e-6)


def test_small_improvements_add_up():
    values = iter([1.0, 0.95, 0.9, 0.85, 0.8, 0.75])
    learner = make()

    @learner.trainer.on(Events.EPOCH_STARTED)
    def replace_the_score():
        learner._recorder._valid = lambda: {"valid_loss": next(values)}

    history = learner.fit(
        (X, Y), valid=0.2, epochs=6, early_stopping=3, min_delta=0.12, progress=False
    )
    assert len(history) == 6
    values = iter([1.0, 0.95, 0.94, 0.93, 0.92, 0.91])
    history = learner.fit(
        (X, Y), valid=0.2, epochs=6, early_stopping=3, min_delta=0.12, progress=False
    )
    assert len(history) == 4


# Data


def test_a_sampler_of_arrays_gives_the_same_as_its_rows():
    order = torch.randint(120, (50,), generator=torch.Generator().manual_seed(3)).tolist()
    one, other = make(), make()
    first = one.fit((X, Y), sampler=order, epochs=2, batch_size=16, progress=False)
    second = other.fit((X[order], Y[order]), shuffle=False, epochs=2, batch_size=16, progress=False)
    assert first.steps == second.steps


def test_a_collate_function_serves_later_calls_too():
    class Uneven(Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return torch.ones(i % 3 + 1), i % 2

    def padded(items):
        x = torch.stack([nn.functional.pad(one, (0, 3 - len(one))) for one, _ in items])
        return x, torch.tensor([y for _, y in items])

    learner = Learner(nn.Linear(3, 2), "cross_entropy", metrics=["accuracy"])
    learner.fit(Uneven(), Uneven(), collate_fn=padded, batch_size=4, progress=False)
    assert learner.predict(Uneven()).shape == (12, 2)
    assert 0 <= learner.evaluate(Uneven())["accuracy"] <= 1


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(st.integers(0, 6), min_size=8, max_size=60).filter(lambda g: len(set(g)) > 1),
    size=st.one_of(st.floats(0.05, 0.95), st.integers(1, 7)),
    seed=st.integers(0, 99),
)
def test_a_group_is_never_in_both_parts(groups, size, seed):
    x = torch.arange(len(groups))
    train, valid = hold_out(x, Holdout(size, groups=np.array(groups)), seed=seed)
    assert sorted(train.tolist() + valid.tolist()) == x.tolist()
    of_train, of_valid = ({groups[i] for i in part.tolist()} for part in (train, valid))
    assert of_train
    assert of_valid
    assert not of_train & of_valid
    # No other number of groups, in this order, is nearer to the size.
    wanted = (
        size if isinstance(size, int) else min(max(round(size * len(groups)), 1), len(groups) - 1)
    )
    largest = max(groups.count(one) for one in set(groups))
    assert abs(len(valid) - wanted) <= largest
    again = hold_out(x, Holdout(size, groups=groups), seed=seed)
    assert torch.equal(again[1], valid)


@given(num=st.integers(2, 30), data=st.data())
def test_the_last_samples_and_numbers_of_samples(num, data):
    size = data.draw(st.integers(1, num - 1))
    x = torch.arange(num)
    train, valid = hold_out(x, Holdout(size, last=True), seed=0)
    assert (train.tolist(), valid.tolist()) == (
        list(range(num - size)),
        list(range(num - size, num)),
    )
    assert len(hold_out(x, size, seed=0)[1]) == size


def test_the_column_of_groups_is_no_input():
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "patient": np.arange(120) // 10, "y": Y})
    learner = Learner(nn.Linear(2, 3), "cross_entropy")
    learner.fit(frame, valid=Holdout(0.25, groups="patient"), target="y", progress=False)
    assert learner.predict(frame).shape == (120, 3)
    learner.fit(
        (frame[["a", "b", "patient"]], Y), valid=Holdout(30, groups="patient"), progress=False
    )


def test_a_holdout_has_one_way():
    with pytest.raises(ValueError, match="Holdout takes one of last, groups and stratify"):
        Holdout(0.2, last=True, groups=[1])


# Callbacks


def test_functions_are_called_when_results_are_known_and_only_in_this_fit():
    learner, seen = make(metrics=["accuracy"]), []
    callbacks = {
        "epoch_completed": [
            lambda engine: seen.append((engine.state.epoch, len(learner.history))),
            lambda: seen.append("without arguments"),
        ],
        "validation_completed": lambda engine: seen.append(sorted(engine.state.metrics)),
        Events.ITERATION_COMPLETED(every=3): lambda engine: seen.append(engine.state.iteration),
    }
    learner.fit((X, Y), valid=0.2, batch_size=24, callbacks=callbacks, progress=False)
    assert seen == [3, ["accuracy", "loss"], (1, 1), "without arguments"]
    learner.fit((X, Y), valid=0.2, batch_size=24, progress=False)
    assert len(seen) == 4


def test_a_function_can_stop_the_fit():
    history = make().fit(
        (X, Y),
        epochs=9,
        callbacks={"epoch_completed": lambda engine: engine.terminate()},
        progress=False,
    )
    assert len(history) == 1


# Frozen layers


def test_layers_are_frozen_and_unfrozen_between_fits():
    learner = make(
        optimizer="sgd", lr=0.1, optimizer_options={"momentum": 0.9, "weight_decay": 0.1}
    )

    def moved():
        before = [one.detach().clone() for one in learner.model.parameters()]
        learner.fit((X, Y), progress=False)
        pairs = zip(before, learner.model.parameters(), strict=True)
        return [not torch.equal(a, b) for a, b in pairs]

    assert moved() == [True] * 4
    learner.freeze("0.*")
    assert moved() == [False, False, True, True]
    assert learner.config["freeze"] == ["0.weight", "0.bias"]
    learner.unfreeze("0.bias")
    assert moved() == [False, True, True, True]
    learner.unfreeze()
    assert moved() == [True] * 4
    with pytest.raises(ValueError, match="leave at least one parameter"):
        learner.freeze("*")
    assert moved() == [True] * 4
    with pytest.raises(ValueError, match="unfreeze: no parameter matches 'nothing'"):
        learner.unfreeze("nothing")
    learner.trainer.on(Events.STARTED)(lambda: learner.freeze("0.*"))
    with pytest.raises(RuntimeError, match="between two fits"):
        learner.fit((X, Y), progress=False)


def test_validations_are_saved_with_the_history(tmp_path):
    history = make().fit((X, Y), valid=0.2, validate_every=1, run_dir=tmp_path, progress=False)
    assert History.from_run(tmp_path).validations == history.validations
    assert all(math.isfinite(row["valid_loss"]) for row in history.validations)
