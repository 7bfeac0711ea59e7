import copy
import pickle

import pytest
import torch
from torch import nn

from ignite.engine._supervised.evaluation_step import Mode


class Counted(nn.Module):
    """Counts how often it is put into a mode; no module with a ``train`` of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
        self.num_writes = 0

    def __setattr__(self, name, value):
        if name == "training":
            self.__dict__["num_writes"] = self.__dict__.get("num_writes", 0) + 1
        super().__setattr__(name, value)


def modes(model):
    return {module.training for module in model.modules()}


@pytest.mark.parametrize("is_training", [True, False])
def test_all_modules_are_in_the_mode(is_training):
    model = Counted()
    model.train(not is_training)
    Mode(model, is_training).enter()
    assert modes(model) == {is_training}


def test_what_is_there_already_is_not_written_again():
    model = Counted()
    mode = Mode(model, is_training=True)
    mode.enter()
    before = model.num_writes
    for _ in range(3):
        mode.enter()
    assert model.num_writes == before


@pytest.mark.parametrize("is_training", [True, False])
def test_a_part_whose_mode_a_user_changes_is_restored(is_training):
    model = Counted()
    mode = Mode(model, is_training)
    for part in (model, model.inner, model.inner[1]):
        mode.enter()
        part.train(not is_training)
        mode.enter()
        assert modes(model) == {is_training}


def test_parts_that_are_added_and_exchanged_later_are_seen():
    model = Counted()
    mode = Mode(model, is_training=True)
    mode.enter()
    model.inner.append(nn.Dropout().eval())
    mode.enter()
    assert modes(model) == {True}
    model.inner[0] = nn.Sequential(nn.Dropout().eval())
    mode.enter()
    assert modes(model) == {True}
    model.inner[0].append(nn.Sequential(nn.Dropout().eval()))
    mode.enter()
    assert modes(model) == {True}


def test_a_model_that_brings_its_own_train_is_asked_each_time():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.num_calls = nn.BatchNorm1d(2), 0

        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            self.num_calls += 1
            return self

    model = nn.Sequential(Frozen())
    mode = Mode(model, is_training=True)
    for _ in range(3):
        mode.enter()
    assert model[0].num_calls == 3
    assert model[0].training
    assert not model[0].norm.training


def test_a_train_that_is_put_on_the_object_is_asked_each_time():
    model, calls = nn.Sequential(nn.Dropout()), []
    model[0].train = lambda mode=True: calls.append(mode)
    mode = Mode(model, is_training=True)
    mode.enter()
    mode.enter()
    assert calls == [True, True]


@pytest.mark.parametrize(
    "wrap", [torch.compile, lambda model: torch.jit.trace(model, torch.ones(2, 2))]
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_compiled_and_scripted_models_are_put_into_the_mode(wrap):
    model = wrap(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)).eval())
    mode = Mode(model, is_training=True)
    for _ in range(2):
        model.eval()
        mode.enter()
        assert model.training


def test_what_is_no_module_is_asked_each_time():
    class Wrapper:
        calls = ""

        def train(self):
            self.calls += "t"

        def eval(self):
            self.calls += "e"

    model = Wrapper()
    training, evaluation = Mode(model, is_training=True), Mode(model, is_training=False)
    training.enter()
    evaluation.enter()
    training.enter()
    assert model.calls == "tet"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_is_of_the_copied_model(copied):
    model = nn.Sequential(nn.Dropout())
    mode = Mode(model, is_training=True)
    mode.enter()
    other, other_mode = copied((model, mode))
    other.eval()
    other_mode.enter()
    assert modes(other) == {True}
    model.eval()
    other_mode.enter()
    assert modes(model) == {False}


@pytest.mark.parametrize("name", ["train", "eval"])
def test_a_class_with_its_own_method_is_called_each_time(name):
    calls = []

    def told(self, *args):
        calls.append(name)
        return getattr(nn.Module, name)(self, *args)

    part = type("Part", (nn.Dropout,), {name: told})()
    model = (
        part if name == "eval" else nn.Sequential(part)
    )  # torch's eval of the whole calls train of its parts
    mode = Mode(model, is_training=name == "train")
    for _ in range(3):
        mode.enter()
    assert calls == [name] * 3


def test_an_eval_that_is_put_on_the_object_is_asked_each_time():
    model, calls = nn.Dropout(), []
    model.eval = lambda: calls.append(1) or nn.Dropout.train(model, False)
    mode = Mode(model, is_training=False)
    mode.enter()
    mode.enter()
    assert calls == [1, 1]


def test_a_model_that_is_not_plain_is_walked_through_once():
    class Own(nn.Linear):
        def train(self, mode=True):
            return super().train(mode)

    class Walked(nn.Sequential):
        num_walks = 0

        def modules(self):
            self.num_walks += 1
            return super().modules()

    model = Walked(nn.Dropout(), Own(2, 2))
    mode = Mode(model, is_training=True)
    for _ in range(3):
        model.eval()
        mode.enter()
        assert modes(model) == {True}  # which walks, too
    assert model.num_walks == 1 + 3
