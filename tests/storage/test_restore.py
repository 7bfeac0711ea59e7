"""All objects are restored, or none is changed."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from ignite.base import Serializable
from ignite.exceptions import CheckpointError
from ignite.storage.keys import state_of
from ignite.storage.restore import restore


class Count(Serializable):
    _state_dict_all_req_keys = ("count",)

    def __init__(self, count=0):
        self.count = count

    def state_dict(self):
        return OrderedDict(count=self.count)

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.count = state_dict["count"]


def make(seed, hidden=3):
    """A model after two steps, with its optimizer and scheduler."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 1))
    optimizer = torch.optim.AdamW(
        [
            {"params": model[0].parameters(), "lr": 0.1 * seed},
            {"params": [*model[1:].parameters()], "lr": 0.2 * seed},
        ]
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, 2)).sum().backward()
        optimizer.step()
        scheduler.step()
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "count": Count(seed)}


def states_of(objects):
    return {name: copy.deepcopy(state_of(obj)) for name, obj in objects.items()}


def flat(x):
    """Returns all leaves by their paths, tensors as lists."""
    if isinstance(x, dict):
        return {
            (key, *path): leaf for key, value in x.items() for path, leaf in flat(value).items()
        }
    if isinstance(x, list | tuple):
        return flat(dict(enumerate(x)))
    return {(): (str(x.dtype), x.tolist()) if isinstance(x, torch.Tensor) else x}


def test_all_objects_get_their_states():
    source, target = make(1), make(2)
    restore(target, states_of(source))
    assert flat(states_of(target)) == flat(states_of(source))


def test_states_without_a_target_are_ignored():
    target = {"count": Count()}
    restore(target, {"count": {"count": 3}, "other": {}})
    assert target["count"].count == 3


def test_a_wrapped_target_gets_its_state():
    source, target = nn.Linear(2, 2), nn.DataParallel(nn.Linear(2, 2))
    restore({"model": target}, {"model": source.state_dict()})
    assert torch.equal(target.module.weight, source.weight)


class Refusing(Count):
    def load_state_dict(self, state_dict):
        self.count = state_dict["count"]
        if state_dict["count"] == 13:
            raise self.error
        super().load_state_dict(state_dict)


@pytest.mark.parametrize("error", [ValueError("unlucky"), KeyboardInterrupt()])
def test_if_the_last_target_raises_all_are_rolled_back_and_the_error_reports_it(error):
    source, target = make(1), make(2)
    target["last"] = Refusing(5)
    target["last"].error = error
    before = states_of(target)
    with pytest.raises(type(error)) as raised:
        restore(target, {**states_of(source), "last": {"count": 13}})
    assert raised.value is error
    assert error.__notes__ == ["while restoring 'last'; all objects were rolled back"]
    assert flat(states_of(target)) == flat(before)


def test_after_a_failure_training_continues_as_without_the_attempt():
    def step(objects):
        torch.manual_seed(0)
        objects["optimizer"].zero_grad()
        objects["model"](torch.randn(4, 2)).square().sum().backward()
        objects["optimizer"].step()
        objects["scheduler"].step()
        return flat(states_of(objects))

    undisturbed, target, source = make(2), make(2), make(1)
    target["last"] = Refusing(5)
    target["last"].error = ValueError()
    with pytest.raises(ValueError):
        restore(target, {**states_of(source), "last": {"count": 13}})
    del target["last"]
    assert step(target) == step(undisturbed)


def test_a_target_that_cannot_be_rolled_back_is_loaded_last_and_named(caplog):
    class Closed(Count):
        def state_dict(self):
            raise RuntimeError("not consolidated")

        def load_state_dict(self, state_dict):
            self.count = state_dict["count"]
            raise ValueError("closed")

    model, source = nn.Linear(1, 1), nn.Linear(1, 1)
    before = states_of({"model": model})
    with pytest.raises(ValueError, match="closed") as raised:
        restore(
            {"closed": Closed(), "model": model},
            {"closed": {"count": 1}, "model": source.state_dict()},
        )
    assert raised.value.__notes__ == [
        "while restoring 'closed'; all objects were rolled back, except closed"
    ]
    assert flat(states_of({"model": model})) == flat(before)
    assert caplog.messages == [
        "closed cannot be rolled back if restoring fails: RuntimeError: not consolidated"
    ]


def test_a_target_that_fails_to_roll_back_does_not_prevent_the_others():
    class Stubborn(Count):
        def load_state_dict(self, state_dict):
            self.count += 1
            if self.count > 1:
                raise OSError("stuck")

    first, stubborn, last = Count(1), Stubborn(), Refusing(2)
    last.error = ValueError()
    states = {"first": {"count": 7}, "stubborn": {"count": 7}, "last": {"count": 13}}
    with pytest.raises(ValueError) as raised:
        restore({"first": first, "stubborn": stubborn, "last": last}, states)
    assert (first.count, last.count) == (1, 2)
    assert raised.value.__notes__ == [
        "'stubborn' could not be rolled back: OSError: stuck",
        "while restoring 'last'; all objects were rolled back, except stubborn",
    ]


def test_a_state_that_cannot_be_saved_is_still_rolled_back():
    class WithFunction(Count):
        def state_dict(self):
            return {"count": self.count, "function": print}

    target, last = WithFunction(4), Refusing()
    last.error = ValueError()
    with pytest.raises(ValueError):
        restore({"target": target, "last": last}, {"target": {"count": 9}, "last": {"count": 13}})
    assert target.count == 4


def edit_model(edit):
    return lambda states: edit(states["model"])


def edit_optimizer(edit):
    return lambda states: edit(states["optimizer"])


def put(key, value):
    return lambda state: state.__setitem__(key, value)


def replaced(name, value):
    return lambda states: states.__setitem__(name, value)


MISMATCHES = {
    "key missing": (
        edit_model(lambda s: s.pop("0.weight")),
        "model: the state should have the keys 0.weight",
    ),
    "key too many": (
        edit_model(put("5.weight", 1)),
        "model: the state should not have the keys 5.weight",
    ),
    "key renamed": (
        edit_model(lambda s: s.update(x=s.pop("2.bias"))),
        "model: the state should not have the keys x",
    ),
    "shape": (
        edit_model(put("0.weight", torch.ones(3, 3))),
        r"model: 0.weight should have shape \(3, 2\), but .*3, 3",
    ),
    "dimensions": (
        edit_model(put("2.bias", torch.tensor(1.0))),
        r"2.bias should have shape \(1,\), but given \(\)",
    ),
    "no tensor": (
        edit_model(put("0.bias", [1])),
        "model: 0.bias should be a Tensor, but given a list",
    ),
    "buffer": (
        edit_model(put("1.running_mean", torch.ones(9))),
        "model: 1.running_mean should have shape",
    ),
    "model empty": (
        replaced("model", {}),
        "model: the state should have the keys 0.weight, 0.bias",
    ),
    "model a list": (
        replaced("model", [1]),
        "model: its state should be a dictionary, but given list",
    ),
    "model absent": (
        lambda s: s.pop("model"),
        "model: should have a state, but given only those of optimizer",
    ),
    "group missing": (
        edit_optimizer(lambda s: s["param_groups"].pop()),
        "optimizer: the state should have 2 groups of parameters, but given 1",
    ),
    "group too many": (
        edit_optimizer(lambda s: s["param_groups"].append({})),
        "2 groups of parameters, but given 3",
    ),
    "parameter missing": (
        edit_optimizer(lambda s: s["param_groups"][1]["params"].pop()),
        "optimizer: group 1 should have 4 parameters, but given 3",
    ),
    "group without parameters": (
        edit_optimizer(lambda s: s["param_groups"][0].pop("params")),
        "optimizer: group 0 should have 2 parameters, but given none",
    ),
    "group no dictionary": (
        edit_optimizer(lambda s: s["param_groups"].__setitem__(0, 3)),
        "optimizer: group 0 should have 2 parameters, but given none",
    ),
    "options of another optimizer": (
        edit_optimizer(
            lambda s: [s["param_groups"][1].pop(key) for key in ("betas", "eps", "foreach")]
        ),
        "optimizer: group 1 should have the options of AdamW, but betas, eps are missing",
    ),
    "moment": (
        edit_optimizer(lambda s: s["state"][0].__setitem__("exp_avg", torch.ones(5))),
        r"optimizer: exp_avg of parameter 0 should have shape \(3, 2\), but given \(5,\)",
    ),
    "optimizer without state": (
        edit_optimizer(lambda s: s.pop("state")),
        "should have param_groups and state",
    ),
    "optimizer a number": (
        replaced("optimizer", 1),
        "optimizer: its state should be a dictionary, but given int",
    ),
    "count a list": (
        replaced("count", []),
        "count: its state should be a dictionary, but given list",
    ),
    "count absent": (
        lambda s: s.pop("count"),
        "count: should have a state, but given only those of model",
    ),
}


@pytest.mark.parametrize("mismatch", MISMATCHES)
def test_mismatches_are_refused_before_anything_changes(mismatch):
    edit, message = MISMATCHES[mismatch]
    target, states = make(2), states_of(make(1))
    before = flat(states_of(target))
    edit(states)
    with pytest.raises(CheckpointError, match=message):
        restore(target, states)
    assert flat(states_of(target)) == before


def test_all_mismatches_of_all_targets_are_listed():
    target, states = make(2), states_of(make(1, hidden=4))
    states["count"] = None
    with pytest.raises(CheckpointError) as raised:
        restore({**target, "number": 3}, {**states, "number": {}})
    lines = str(raised.value).splitlines()
    assert lines[0] == "states should match their targets, but do not. Nothing was changed:"
    assert "model: 0.weight should have shape (3, 2), but given (4, 2)" in lines
    assert "optimizer: exp_avg of parameter 0 should have shape (3, 2), but given (4, 2)" in lines
    assert "count: its state should be a dictionary, but given NoneType" in lines
    assert "number: should have load_state_dict, but given int" in lines


def test_at_most_ten_mismatches_of_a_kind_are_listed():
    model = nn.Sequential(*[nn.Linear(1, 1, bias=False) for _ in range(12)])
    with pytest.raises(CheckpointError, match=r"0\.weight, .*, 9\.weight and 2 more$"):
        restore({"model": model}, {"model": {}})
    wrong = {f"{i}.weight": torch.ones(2) for i in range(12)}
    with pytest.raises(CheckpointError, match=r"9\.weight should have .*\nmodel: and 2 more$"):
        restore({"model": model}, {"model": wrong})


def test_without_strict_modules_accept_other_keys_but_no_other_shapes():
    target, states = make(2), states_of(make(1))
    weight = states["model"]["0.weight"]
    del states["model"]["0.bias"]
    states["model"]["surprise"] = 1
    restore(target, states, strict=False)
    assert torch.equal(target["model"][0].weight, weight)

    states["model"]["0.weight"] = torch.ones(3, 3)
    with pytest.raises(CheckpointError, match="0.weight should have shape"):
        restore(target, states, strict=False)
    with pytest.raises(CheckpointError, match="2 groups"):
        restore(
            target,
            {**states_of(make(1)), "optimizer": {"state": {}, "param_groups": []}},
            strict=False,
        )


def test_a_module_with_custom_loading_is_not_checked_beforehand():
    class Migrating(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}old_weight")
            super()._load_from_state_dict(state_dict, prefix, *args)

    model, source = (
        nn.Sequential(Migrating(1, 1), nn.Linear(1, 1)),
        nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)),
    )
    state = source.state_dict()
    state["0.old_weight"] = state.pop("0.weight")
    restore({"model": model}, {"model": state})
    assert torch.equal(model[0].weight, source[0].weight)
    del state["1.bias"]
    with pytest.raises(CheckpointError, match=r"should have the keys 1.bias$"):
        restore({"model": model}, {"model": state})


def test_keys_that_hooks_or_methods_may_rename_are_not_checked():
    class Own(nn.Linear):
        def load_state_dict(self, state_dict, strict=True, assign=False):
            return super().load_state_dict(
                {"weight": state_dict["w"], "bias": state_dict["b"]}, strict, assign
            )

    own = Own(1, 1)
    restore({"own": own}, {"own": {"w": torch.ones(1, 1), "b": torch.ones(1)}})
    assert own.weight.item() == 1

    hooked = nn.Linear(1, 1)
    hooked.register_load_state_dict_pre_hook(
        lambda module, state, prefix, *args: state.update(
            weight=state.pop("w"), bias=state.pop("b")
        )
    )
    restore({"hooked": hooked}, {"hooked": {"w": torch.ones(1, 1), "b": torch.ones(1)}})
    assert hooked.weight.item() == 1


def test_lazy_modules_get_their_shapes_from_the_state():
    lazy, source = nn.LazyLinear(2), nn.Linear(3, 2)
    restore({"model": lazy}, {"model": source.state_dict()})
    assert torch.equal(lazy.weight, source.weight)


def test_states_of_norms_without_a_count_of_batches_load():
    norm, state = nn.BatchNorm1d(2), dict(nn.BatchNorm1d(2).state_dict())
    del state["num_batches_tracked"]
    state["running_mean"] = torch.ones(2)
    restore({"norm": norm}, {"norm": state})
    assert norm.running_mean.tolist() == [1, 1]


def test_optimizers_with_state_of_other_shapes_load():
    def step(optimizer, parameter):
        def loss():
            optimizer.zero_grad()
            total = parameter.square().sum()
            total.backward()
            return total

        optimizer.step(loss)

    for kind in (
        torch.optim.Adafactor,
        torch.optim.LBFGS,
        torch.optim.Rprop,
        torch.optim.Adagrad,
        torch.optim.ASGD,
    ):
        parameters = [nn.Parameter(torch.randn(3, 2)) for _ in range(2)]
        source, target = kind([parameters[0]], lr=0.1), kind([parameters[1]], lr=0.1)
        step(source, parameters[0])
        restore({"optimizer": target}, {"optimizer": source.state_dict()})
        assert flat(target.state_dict()) == flat(source.state_dict())


def test_a_state_of_an_optimizer_in_a_custom_format_is_not_checked():
    class Twice(torch.optim.SGD):
        def state_dict(self):
            return {"inner": super().state_dict()}

        def load_state_dict(self, state_dict):
            super().load_state_dict(state_dict["inner"])

    one, other = (Twice([torch.nn.Parameter(torch.ones(1))], lr=lr) for lr in (0.5, 0.25))
    restore({"optimizer": one}, {"optimizer": other.state_dict()})
    assert one.param_groups[0]["lr"] == 0.25
    with pytest.raises(KeyError, match="inner"):
        restore({"optimizer": one}, {"optimizer": {"outer": 1}})
    assert one.param_groups[0]["lr"] == 0.25


def test_an_optimizer_with_custom_loading_is_checked_if_its_state_has_the_usual_format():
    class Noted(torch.optim.SGD):
        def load_state_dict(self, state_dict):
            super().load_state_dict(state_dict)

    one, other = (
        Noted([torch.nn.Parameter(torch.ones(1)) for _ in range(number)], lr=0.5)
        for number in (1, 2)
    )
    with pytest.raises(CheckpointError, match="group 0 should have 1 parameters, but given 2"):
        restore({"optimizer": one}, {"optimizer": other.state_dict()})


def test_a_target_without_state_dict_is_loaded_last_without_a_warning(caplog):
    class Loads:
        def load_state_dict(self, state):
            self.state = state
            order.append("loads")

    class Counts(Loads):
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            order.append("counts")

    order, loads = [], Loads()
    with caplog.at_level(0):
        restore({"loads": loads, "counts": Counts()}, {"loads": {"a": 1}, "counts": {}})
    assert (loads.state, order, caplog.messages) == ({"a": 1}, ["counts", "loads"], [])


@pytest.mark.parametrize(
    ("given", "wanted", "missing"),
    [
        ("SGD", "Adam", "betas, eps"),
        ("Adam", "SGD", "momentum, dampening"),
        ("SGD", "RMSprop", "alpha, eps"),
    ],
)
def test_states_of_other_optimizers_are_refused(given, wanted, missing):
    weight = nn.Parameter(torch.ones(1))
    source, target = (getattr(torch.optim, kind)([weight], lr=0.1) for kind in (given, wanted))
    with pytest.raises(CheckpointError, match=f"options of {wanted}, but {missing} are missing"):
        restore({"optimizer": target}, {"optimizer": source.state_dict()})
