import math
from functools import partial

import pytest
import torch
from torch import nn

from ignite._core.differences import first_difference
from ignite.engine import Events
from ignite.learner import Learner
from ignite.learner._engines import choose_device
from ignite.learner._optimizers import Optimizers, freeze, make_optimizer

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
TWO = {"0.*": "sgd", "*": "sgd"}


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_adam_is_fused_and_options_reach_the_optimizer():
    optimizer = make_optimizer("AdamW", make_model(), 0.5, {"weight_decay": 0.25}, {})
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["fused"]) == (0.5, 0.25, True)
    assert (
        make_optimizer("adamw", make_model(), None, {"fused": False}, {}).param_groups[0]["fused"]
        is False
    )


def test_groups_by_name_the_first_pattern_counts_and_frozen_ones_are_left_out():
    model = make_model()
    freeze(model, ["2.weight"])
    groups = {"*.bias": {"weight_decay": 0.0}, "0.*": {"lr": 0.1}}
    optimizer = make_optimizer("sgd", model, 1.0, {}, groups)
    assert [(len(group["params"]), group["lr"]) for group in optimizer.param_groups] == [
        (2, 1.0),
        (1, 0.1),
    ]


def test_an_optimizer_or_a_function_of_parameters():
    model = make_model()
    made = torch.optim.SGD(model.parameters(), lr=0.1)
    assert make_optimizer(made, model, None, {}, {}) is made
    assert make_optimizer(torch.optim.SGD, model, 0.5, {}, {}).param_groups[0]["lr"] == 0.5
    with pytest.raises(TypeError, match="should be left out for an existing optimizer"):
        make_optimizer(made, model, 0.1, {}, {})


def names_in(model, optimizer):
    """Of the parameters, in the order of the groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        [names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups
    ]


def test_several_optimizers_by_pattern_the_first_that_matches_counts():
    model = make_model()
    model[0].bias.requires_grad_(False)
    optimizer = make_optimizer(
        {"*.weight": "muon", "*": torch.optim.SGD}, model, 0.5, {"weight_decay": 0.25}, {}
    )
    assert names_in(model, optimizer) == [["0.weight", "2.weight"], ["2.bias"]]
    assert [type(part).__name__ for part in optimizer.parts.values()] == ["Muon", "SGD"]
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.5, 0.25)
    ] * 2


def test_an_optimizer_may_have_its_own_options_and_a_created_one_its_parameters():
    model = make_model()
    made = torch.optim.Adam(model[2].parameters(), lr=0.125)
    optimizer = make_optimizer(
        {"head": made, "*": partial(torch.optim.SGD, lr=0.25)}, model, 0.5, {}, {}
    )
    assert optimizer["head"] is made
    assert names_in(model, optimizer) == [["2.weight", "2.bias"], ["0.weight", "0.bias"]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.25]


def test_mismatches_are_reported():
    model = make_model()
    with pytest.raises(
        ValueError, match=r"0.bias, 2.bias should be trained, but no pattern of \['\*.weight'\]"
    ):
        make_optimizer({"*.weight": "sgd"}, model, None, {}, {})
    with pytest.raises(
        ValueError, match=r"no parameter that is left matches '0.*'. There are 0.weight"
    ):
        make_optimizer({"*": "sgd", "0.*": "adam"}, model, None, {}, {})
    with pytest.raises(TypeError, match="param_groups should be left out for several optimizers"):
        make_optimizer(TWO, model, None, {}, {"0.*": {"lr": 1}})
    with pytest.raises(ValueError, match="optimizer 'sgdd' is not known: did you mean 'sgd'"):
        make_optimizer({"*": "sgdd"}, model, None, {}, {})
    one, other = torch.optim.SGD(model.parameters()), torch.optim.SGD(model[0].parameters())
    with pytest.raises(ValueError, match=r"one of shape \(4, 3\) is given to 'one' and 'other'"):
        Optimizers({"one": one, "other": other})
    with pytest.raises(TypeError, match="should be added to one of the parts"):
        Optimizers({"one": one}).add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    both = make_optimizer(TWO, model, None, {}, {})
    with pytest.raises(
        ValueError, match=r"should be \['\*', '0.\*'\], but the saved ones are \['x'\]"
    ):
        both.load_state_dict({"x": {}})


def test_the_states_of_all_parts_are_its_state_also_after_loading():
    model = make_model()
    optimizer = make_optimizer(
        {"*.weight": "adam", "*": partial(torch.optim.SGD, momentum=0.5)}, model, 0.1, {}, {}
    )
    closure_calls = []

    def closure():
        closure_calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    with torch.no_grad():
        first, second = optimizer.step(closure), optimizer.step(closure)
    assert second < first
    assert closure_calls == [True, True]
    assert {id(parameter) for parameter in optimizer.state} == {
        id(parameter) for parameter in model.parameters()
    }
    saved = optimizer.state_dict()
    saved["*"]["param_groups"][0]["lr"] = 0.75
    optimizer.load_state_dict(saved)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.75]
    optimizer.param_groups[1]["lr"] = 0.5
    assert optimizer["*"].param_groups[0]["lr"] == 0.5


def trained(optimizer, epochs=3, **options):
    learner = Learner(make_model(), "cross_entropy", optimizer, 0.2, clip_grad_norm=0.5, **options)
    history = learner.fit((X, Y), epochs=epochs, batch_size=8, schedule="cosine", warmup=3)
    return learner, history


@pytest.mark.parametrize("options", [{}, {"accumulation": 2}, {"precision": "fp16"}], ids=str)
def test_two_optimizers_of_one_kind_train_as_one_does(options):
    one, history_of_one = trained("sgd", **options)
    both, history = trained(TWO, **options)
    assert first_difference(one.model.state_dict(), both.model.state_dict()) is None
    assert history.steps == history_of_one.steps
    assert both.config["optimizer"] == {"0.*": "SGD", "*": "SGD"}
    assert "optimizer: {'0.*': 'SGD', '*': 'SGD'}" in both.describe()


def test_the_schedule_goes_through_all_groups():
    learner, _ = trained({"*.weight": partial(torch.optim.SGD, lr=0.4), "*": "adam"}, epochs=1)
    last = (1 + math.cos(math.pi * 4 / 5)) / 2  # 8 steps, 3 of them warm-up
    assert [group["lr"] for group in learner.optimizer.param_groups] == pytest.approx(
        [0.4 * last, 0.2 * last]
    )


@pytest.mark.parametrize("fail_at", [3, 8, 14])
def test_a_training_left_by_an_exception_continues_exactly(fail_at, tmp_path):
    def run(folder, fail_at):
        optimizer = {"*.weight": "muon", "*": "adamw"}
        learner = Learner(make_model(), "cross_entropy", optimizer, 0.02)

        @learner.trainer.on(Events.ITERATION_COMPLETED(once=fail_at))
        def fail():
            raise InterruptedError

        options = {"schedule": "linear", "run_dir": folder, "resume": "latest", "save_every": 1}
        history = learner.fit((X, Y), epochs=2, batch_size=8, **options)
        return learner.model.state_dict(), learner.optimizer.state_dict(), history.steps

    with pytest.raises(InterruptedError):
        run(tmp_path / "parts", fail_at)
    parts, whole = run(tmp_path / "parts", 1000), run(tmp_path / "whole", 1000)
    assert len(whole[2]) == 16
    assert first_difference(parts, whole) is None


def test_a_step_of_ones_own_finds_each_by_its_name_and_all_are_saved(tmp_path):
    model = make_model()
    optimizers = {
        "first": torch.optim.Adam(model[0].parameters()),
        "second": torch.optim.Adam(model[2].parameters()),
    }

    def step(engine, batch):
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        learner.optimizer["first" if engine.state.iteration % 2 else "second"].step()
        learner.optimizer.zero_grad()
        return loss.detach()

    learner = Learner(model, "cross_entropy", optimizers, step=step)
    learner.fit((X, Y), epochs=1, batch_size=15, run_dir=tmp_path)
    assert [part.state_dict()["state"][0]["step"].item() for part in optimizers.values()] == [2, 2]
    again = Learner(make_model(), "cross_entropy", {"0.*": "adam", "2.*": "adam"})
    with pytest.raises(
        Exception, match=r"\['0.\*', '2.\*'\], but the saved ones are \['first', 'second'\]"
    ):
        again.fit((X, Y), epochs=2, batch_size=15, run_dir=tmp_path, resume="latest")


def test_devices():
    assert choose_device("meta").type == "meta"
    expected = (
        torch.accelerator.current_accelerator()
        if torch.accelerator.is_available()
        else torch.device("cpu")
    )
    assert choose_device(None) == expected
