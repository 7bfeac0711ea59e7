import random

import pytest
import torch

from ignite.handlers.spike_guard import RollbackStates


def make():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    return model, optimizer, RollbackStates({"model": model, "optimizer": optimizer})


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def test_objects_go_back_as_often_as_they_have_to():
    model, optimizer, states = make()
    step(model, optimizer)
    states.capture(1, 1)
    good, futures = weights_of(model), []
    for _ in range(3):
        # Going on from the copy changes the optimizer's tensors, and not those of the copy.
        step(model, optimizer)
        step(model, optimizer)
        futures.append(weights_of(model))
        assert states.restore(1).iteration == 1
        assert weights_of(model) == good
    assert futures[0] == futures[1] == futures[2] != good


def test_a_newer_copy_is_gone_back_to_only_when_it_is_confirmed():
    model, optimizer, states = make()
    states.capture(0, 1)
    first = weights_of(model)
    step(model, optimizer)
    states.capture(1, 1)
    assert states.restore(1).iteration == 0
    assert weights_of(model) == first
    assert not states.confirm()

    step(model, optimizer)
    states.capture(1, 1)
    second = weights_of(model)
    step(model, optimizer)
    assert states.confirm()
    assert states.restore(1).iteration == 1
    assert weights_of(model) == second


def test_copies_do_not_change_each_other():
    model, optimizer, states = make()
    found = {}
    for iteration in range(6):
        states.capture(iteration, 1)
        found[iteration] = weights_of(model)
        if iteration % 2 == 0:
            states.confirm()
        step(model, optimizer)
        step(model, optimizer)
        assert (
            states.good.states["model"]["weight"].flatten().tolist()
            == found[iteration - iteration % 2][:2]
        )


def test_random_numbers_go_back_within_an_epoch_only():
    _, _, states = make()
    states.capture(3, 1)
    drawn = random.random(), torch.rand(1).item()
    states.restore(1)
    assert (random.random(), torch.rand(1).item()) == drawn
    states.restore(2)
    assert (random.random(), torch.rand(1).item()) != drawn


def test_without_a_copy_there_is_nothing_to_go_back_to():
    _, _, states = make()
    states.capture(1, 1)
    states.clear()
    with pytest.raises(
        RuntimeError,
        match="Cannot roll back: no copy has been taken. Attach the guard",
    ):
        states.restore(1)
