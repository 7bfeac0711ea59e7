"""Files of Ignite, files with and without the handler's state, and mismatches."""

import types
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from ignite.engine import Engine
from ignite.exceptions import CheckpointError
from ignite.handlers import Checkpoint, DiskSaver
from ignite.handlers._checkpoints.object_states import load_objects
from ignite.metrics import Accuracy
from ignite.storage import load_into
from support.counter import Counter

GOLDEN = Path(__file__).parent / "golden"


def linear(value=0.0, num_inputs=2, bias=True):
    model = nn.Linear(num_inputs, 1, bias=bias)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def ledger(folder):
    return Checkpoint({"model": linear()}, DiskSaver(folder))


@pytest.mark.parametrize("key", ["model", "any_other_name"])
def test_a_single_object_that_ignite_has_saved_is_loaded_under_any_name(key):
    model = linear()
    load_objects({key: model}, GOLDEN / "single_model_10.pt")
    assert model.weight.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel])
def test_a_file_of_ignite_with_the_state_of_the_handler_inside_the_object_is_loaded(wrap, tmp_path):
    file = GOLDEN / "single_with_self_model_10.pt"
    assert "checkpointer" in torch.load(file, weights_only=True)
    model, handler = linear(), ledger(tmp_path)
    load_objects({"model": wrap(model)}, file)
    assert model.weight.tolist() == [[2.0, 2.0]]
    model = linear()
    load_objects({"model": wrap(model), "checkpointer": handler}, str(file))
    assert model.weight.tolist() == [[2.0, 2.0]]
    assert [name for _, name in handler.state_dict()["_saved"]] == [
        "single_with_self_model_5.pt", "single_with_self_model_10.pt"
    ]  # fmt: skip
    load_objects({"checkpointer": (alone := ledger(tmp_path / "b"))}, file)
    assert alone.state_dict() == handler.state_dict()


def test_a_file_of_ignite_with_several_objects_is_loaded(tmp_path):
    model, trainer, handler = linear(), Engine(lambda engine, batch: None), ledger(tmp_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    to_load = {
        "model": model,
        "trainer": trainer,
        "nested": {"optimizers": [optimizer]},
        "checkpointer": handler,
    }
    load_objects(to_load, GOLDEN / "several_with_self_checkpoint_20.pt")
    assert model.weight.tolist() == [[2.5, 2.5]]
    assert (trainer.state.iteration, trainer.state.max_epochs) == (20, 9)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.state[model.weight]["momentum_buffer"].tolist() == [[1.0, 1.0]]
    assert len(handler.state_dict()["_saved"]) == 2


def test_a_single_object_and_the_handler_stand_beside_each_other_in_our_files(tmp_path):
    checkpoint = Checkpoint({"model": linear(4.0)}, tmp_path, include_self=True)
    checkpoint(Engine(lambda engine, batch: None))
    state = torch.load(checkpoint.last_checkpoint, weights_only=True)
    assert list(state) == ["model", "checkpointer"]
    model, handler = linear(), ledger(tmp_path / "b")
    load_objects({"model": model, "checkpointer": handler}, checkpoint.last_checkpoint)
    assert model.bias.tolist() == [4.0]
    assert handler.state_dict() == checkpoint.state_dict()
    load_objects({"model": (again := linear())}, checkpoint.last_checkpoint)
    assert again.bias.tolist() == [4.0]


def test_the_handlers_key_is_left_to_an_object_that_has_it_itself():
    class Both(Counter):
        def state_dict(self):
            return {"count": 1, "checkpointer": {"_saved": []}}

        def load_state_dict(self, state):
            self.seen = dict(state)

    target = Both()
    load_objects({"both": target}, {"count": 5, "checkpointer": {"_saved": [(1, "a")]}})
    assert target.seen == {"count": 5, "checkpointer": {"_saved": [(1, "a")]}}


def test_what_torch_keeps_beside_a_state_stays_when_the_handlers_is_taken_out():
    class Versioned(nn.Linear):
        _version = 7

        def _load_from_state_dict(self, state, prefix, metadata, *args):
            self.seen = metadata["version"]
            super()._load_from_state_dict(state, prefix, metadata, *args)

    state = Versioned(2, 1).state_dict()
    assert isinstance(state, OrderedDict)
    state["checkpointer"] = {"_saved": [(1, "a")]}
    load_objects({"model": (target := Versioned(2, 1))}, state)
    assert target.seen == 7
    assert "checkpointer" in state, "what was given is not changed"


def test_containers_are_walked_together_and_more_may_be_saved_than_is_loaded():
    a, b, c = Counter(), Counter(), Counter()
    load_objects(
        {"x": [a, b], "y": {"z": (c,)}},
        {"x": [{"count": 2}, {"count": 3}], "y": {"z": [{"count": 4}]}, "w": 0},
    )
    assert [a.count, b.count, c.count] == [2, 3, 4]
    load_objects(
        {"any": {"a": a}}, {"a": {"count": 9}}
    )  # a single key that is not there stands for all
    assert a.count == 9
    load_objects({}, {})


@pytest.mark.parametrize(
    ("to_load", "checkpoint", "error", "message"),
    [
        ([], {}, TypeError, "Argument `to_load` should be a dictionary, but given <class 'list'>"),
        ({"m": Counter()}, 5, TypeError, "Argument checkpoint should be a string or a dictionary, but given <class 'i"),
        ({"m": 3}, {"m": 3}, TypeError, "Object <class 'int'> should have `load_state_dict` method, but m has none"),
        ({"m": Counter(), "o": Counter()}, {"m": {"count": 2}}, ValueError, "Key 'o' from x is not found in y"),
        ({"m": [Counter()] * 2}, {"m": [{}]}, ValueError, "Size of y: 1 does not match the size of x: 2"),
        ({"m": [Counter()] * 2}, {"m": {}}, ValueError, "Size of y: dict does not match the size of x: 2"),
        ({"m": {"a": Counter()}, "o": Counter()}, {"m": [1], "o": {}}, ValueError, "Key 'a' from x is not found in y"),
        ({"m": Counter()}, "/not/there.pt", FileNotFoundError, "not/there"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(to_load, checkpoint, error, message):
    with pytest.raises(error, match=message):
        load_objects(to_load, checkpoint)


@pytest.mark.parametrize(
    ("bad", "state", "options", "error"),
    [
        (linear(num_inputs=3), linear().state_dict(), {}, CheckpointError),
        (linear(bias=False), linear().state_dict(), {}, CheckpointError),
        (linear(), {"weight": torch.ones(1, 2)}, {}, CheckpointError),
        (linear(num_inputs=3), linear().state_dict(), {"strict": False}, CheckpointError),
        (linear(num_inputs=3), linear().state_dict(), {"assign": True}, RuntimeError),
        (linear(), linear().state_dict(), {"no_such_option": 1}, TypeError),
        (Counter(), {"other": 1}, {}, KeyError),
        (Engine(lambda engine, batch: None), {"iteration": "many"}, {}, Exception),
    ],
)
@pytest.mark.parametrize("is_last", [False, True])
def test_if_one_object_does_not_fit_none_is_changed(bad, state, options, error, is_last):
    good, counter = linear(1.0), Counter(1)
    to_load = (
        {"good": good, "counter": counter, "bad": bad}
        if is_last
        else {"bad": bad, "good": good, "counter": counter}
    )
    checkpoint = {"good": linear(5.0).state_dict(), "counter": {"count": 5}, "bad": state}
    with pytest.raises(error):
        load_objects(to_load, checkpoint, **options)
    assert (good.weight.tolist(), counter.count) == ([[1.0, 1.0]], 1)


def test_options_go_to_modules_only():
    counter, model = Counter(), linear(bias=False)
    load_objects(
        {"m": model, "c": counter}, {"m": linear(3.0).state_dict(), "c": {"count": 3}}, strict=False
    )
    assert (model.weight.tolist(), counter.count) == ([[3.0, 3.0]], 3)
    state = linear(3.0).state_dict()
    load_objects({"m": (wrapped := nn.DataParallel(linear()))}, state, assign=True)
    assert wrapped.module.weight.data_ptr() == state["weight"].data_ptr()


def test_a_map_location_is_for_the_file(tmp_path):
    checkpoint = Checkpoint({"model": linear(2.0)}, tmp_path)
    checkpoint(Engine(lambda engine, batch: None))
    for device in ("cpu", torch.device("cpu"), None):
        load_objects(
            {"model": (model := linear())}, checkpoint.last_checkpoint, map_location=device
        )
        assert model.weight.tolist() == [[2.0, 2.0]]


def test_a_damaged_file_is_refused(tmp_path):
    data = bytearray((GOLDEN / "single_model_10.pt").read_bytes())
    at = data.index(b"\x00\x00\x80\x3f")  # 1.0
    data[at + 2] ^= 1
    (tmp_path / "damaged.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_objects({"model": linear()}, tmp_path / "damaged.pt")


@pytest.mark.parametrize("kind", ["module", "wrapped", "optimizer", "metric", "other"])
def test_a_load_state_dict_that_the_program_has_replaced_is_called_with_the_state(kind):
    linear, seen = torch.nn.Linear(1, 1), []
    target = {
        "module": linear,
        "wrapped": torch.nn.DataParallel(linear),
        "optimizer": torch.optim.SGD(linear.parameters(), lr=0.1),
        "metric": Accuracy(),
        "other": types.SimpleNamespace(state_dict=dict, load_state_dict=None),
    }[kind]

    def my_function(anything):
        seen.append(anything)

    (linear if kind == "wrapped" else target).load_state_dict = my_function
    state = {"keys": "of another format"}
    Checkpoint.load_objects({"target": target}, {"target": state})
    assert seen == [state]
    load_into(target, linear.state_dict())
    assert list(seen[1]) == ["weight", "bias"]
