import functools
import random
from collections import Counter, OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite._core.differences import first_difference
from ignite.engine.backup import Backup
from ignite.handlers._trackers.outbox import Outbox
from ignite.learner._data.columns import Known
from ignite.learner._data.inspection import Peekable
from ignite.learner._data.sources import Loader

COUNT = 0


def train(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("make", [
    lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9), torch.optim.Adam,
    lambda parameters: torch.optim.AdamW(parameters, fused=True), torch.optim.Rprop,
])  # fmt: skip
@pytest.mark.parametrize("num_before", [0, 2])
def test_model_and_optimizer_are_bit_identical_also_without_a_state_dict(make, num_before):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    model.register_buffer("hidden", torch.zeros(2), persistent=False)
    optimizer, x = make(model.parameters()), torch.randn(8, 3)
    for _ in range(num_before):
        train(model, optimizer, x)
    parameters, groups = list(model.parameters()), optimizer.param_groups
    before = [
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        [parameter.grad if parameter.grad is None else parameter.grad.clone() for parameter in parameters],
        torch.utils._pytree.tree_map(lambda one: one.clone() if isinstance(one, torch.Tensor) else one,
                                     optimizer.state_dict()),
    ]  # fmt: skip
    backup = Backup()
    backup.add(model, optimizer)
    model.eval()
    model.hidden.add_(1)
    model.note = "new"
    for parameter in parameters[:2]:
        parameter.requires_grad_(False)
    optimizer.param_groups[0]["lr"] = 7.0
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": []})
    train(model, optimizer, x)
    model[0].weight = nn.Parameter(torch.zeros(4, 3))
    parameters[2].data = torch.zeros(4)
    backup.restore()
    after = [
        dict(model.state_dict()),
        [parameter.grad for parameter in parameters],
        optimizer.state_dict(),
    ]
    assert first_difference(after, before, "everything") is None
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert all(parameter.requires_grad for parameter in parameters)
    assert optimizer.param_groups is groups
    assert len(groups) == 1
    assert model.training
    assert model[1].training
    assert not hasattr(model, "note")
    assert model.hidden.sum() == 0


def test_lazy_modules_are_lazy_again():
    model = nn.Sequential(nn.LazyLinear(3))
    backup = Backup()
    backup.add(model)
    model(torch.zeros(2, 5))
    assert model[0].weight.shape == (3, 5)
    backup.restore()
    assert isinstance(model[0], nn.LazyLinear)
    assert model(torch.zeros(2, 7)).shape == (2, 3)
    assert model[0].weight.shape == (3, 7)


def test_containers_are_refilled_in_place():
    class Box:
        pass

    box = Box()
    box.parts = [
        [1, 2],
        {"a": deque([1], maxlen=3)},
        {3, 4},
        OrderedDict(a=1, b=2),
        Counter("aab"),
        defaultdict(list),
    ]
    parts, inner = box.parts, list(box.parts)
    backup = Backup()
    backup.add(box)
    box.parts[0].append(3)
    box.parts[1]["a"].extend([2, 3, 4])
    box.parts[2].clear()
    box.parts[3].move_to_end("a")
    box.parts[4]["a"] += 1
    _ = box.parts[5]["new"]
    del box.parts[1:3]
    box.parts = None
    backup.restore()
    assert box.parts is parts
    assert all(one is other for one, other in zip(parts, inner, strict=True))
    assert parts == [[1, 2], {"a": deque([1])}, {3, 4}, OrderedDict(a=1, b=2), Counter("aab"), {}]
    assert parts[1]["a"].maxlen == 3
    assert list(parts[3]) == ["a", "b"]


def test_variables_of_functions_get_their_values_back():
    steps, seen = 0, []

    def handler():
        nonlocal steps
        global COUNT
        steps, COUNT = steps + 1, COUNT + 1
        seen.append(steps)

    backup = Backup()
    backup.add_used(functools.partial(handler))
    handler()
    assert (steps, seen, COUNT) == (1, [1], 1)
    backup.restore()
    assert (steps, seen, COUNT) == (0, [], 0)


def test_random_generators_wherever_they_are():
    class Noise:
        def __init__(self):
            self.draws = [random.Random(0), np.random.default_rng(0), np.random.RandomState(0)]
            self.generator = torch.Generator().manual_seed(0)

        def draw(self):
            return [self.draws[0].random(), self.draws[1].random(), self.draws[2].rand(),
                    torch.rand(1, generator=self.generator).item()]  # fmt: skip

    noise = Noise()
    backup = Backup()
    backup.add(noise)
    first = noise.draw()
    backup.restore()
    assert noise.draw() == first


def test_data_lose_no_random_number_and_are_not_copied():
    x = torch.arange(10.0)
    loader = DataLoader(
        TensorDataset(x), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    backup = Backup()
    backup.add_used(loader)
    first = [batch[0].tolist() for batch in loader]
    x.add_(100)
    backup.restore()
    assert [(batch[0] - 100).tolist() for batch in loader] == first


@given(st.recursive(st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=2), inner),
                    max_leaves=20), st.randoms(use_true_random=False))  # fmt: skip
def test_nothing_that_is_done_to_containers_stays(value, draw):
    holder = [value]
    text = repr(holder)
    backup = Backup()
    backup.add(holder)
    pending = [holder]
    while pending:
        one = pending.pop()
        pending += [
            part
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, dict | list)
        ]
        what = draw.choice(["clear", "add", "change", "leave"])
        if what == "clear":
            one.clear()
        elif what == "add":
            one.update(new=1) if isinstance(one, dict) else one.insert(0, 1)
        elif what == "change":
            for key in list(one) if isinstance(one, dict) else range(len(one)):
                one[key] = None
    backup.restore()
    assert repr(holder) == text


class Cache:
    """Of the program, and without a state: a backup looks into it."""

    def __init__(self):
        self.rows, self.order = [1], random.Random(0)

    def use(self):
        self.rows.append(2)
        return self.order.random()


def test_an_object_that_holds_data_keeps_its_data_and_gets_its_random_generators_back():
    class Rows(Cache):
        holds_data = True

    for kind, rows in ((Cache, [1]), (Rows, [1, 2])):
        one, backup = kind(), Backup()
        backup.add_used(one)
        drawn = one.use()
        backup.restore()
        assert one.rows == rows
        assert one.order.random() == drawn


def test_objects_of_the_library_say_themselves_that_they_hold_data_or_are_used_by_a_thread():
    is_sent = []
    outbox = Outbox(is_sent.append, lambda error: False, "test")
    batches, backup = [1, 2], Backup()
    loader = Loader(batches, known=Known(labels=("a",)))
    peekable = Peekable(iter(batches))
    backup.add_used(outbox, loader, peekable)
    first = peekable.peek()
    outbox.put("kept")
    batches.append(3)
    backup.restore()
    assert outbox.close()
    assert is_sent == [["kept"]]
    assert (batches, first, list(peekable)) == ([1, 2, 3], 1, [1, 2, 3])
