import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ignite.engine import Engine
from ignite.handlers._averaging import Average
from ignite.storage import unwrap


class Net(nn.Module):
    """Tied weights, a frozen parameter, batch statistics, an integer buffer."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.norm = nn.BatchNorm1d(2)


def change(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            values = torch.randn(tensor.shape, generator=generator) * 3
            tensor.copy_(values.abs().to(tensor.dtype))


@given(weights=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5), seed=st.integers(0, 100))
def test_moving_is_its_definition(weights, seed):
    model = Net().double()
    average = Average(model)
    expected = {name: value.clone() for name, value in model.named_parameters()}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    for step, weight in enumerate(weights):
        change(model, seed + step)
        average.update(weight)
        average.update_buffers(weight)
        for name, value in model.named_parameters():
            expected[name] = (1 - weight) * expected[name] + weight * value.detach()
        for name, value in model.named_buffers():
            is_float = value.is_floating_point()
            buffers[name] = (
                (1 - weight) * buffers[name] + weight * value if is_float else value.clone()
            )
    torch.testing.assert_close(dict(average.model.named_parameters()), expected)
    torch.testing.assert_close(dict(average.model.named_buffers()), buffers)
    assert average.model.second.weight is average.model.first.weight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_steps_of_short_floats_are_not_lost(dtype):
    model = nn.Linear(3, 1, bias=False).to(dtype)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = Average(model)
    with torch.no_grad():
        model.weight.fill_(2.0)
    for _ in range(1000):
        average.update(1e-4)  # alone, too little to change 1.0
    expected = 2 - (1 - 1e-4) ** 1000
    assert average.model.weight.dtype == dtype
    torch.testing.assert_close(
        average.model.weight.float(), torch.full((1, 3), expected), rtol=0, atol=4e-3
    )


def test_one_call_for_all_parameters():
    calls = []

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(func.__name__)
            return func(*args, **(kwargs or {}))

    average = Average(nn.Sequential(*(nn.Linear(2, 2) for _ in range(10))))
    with Counting():
        average.update(0.1)
    assert calls.count("_foreach_lerp_.Scalar") == 1
    assert len(calls) <= 2


def test_nothing_waits_for_a_device():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).to(
        "meta"
    )  # on which reading a value raises
    average = Average(model)
    average.update(0.1)
    average.update_buffers(0.1)
    average.copy_buffers()


def test_swapping_is_exact_and_ends_with_an_error_too():
    model = Net()
    average = Average(model)
    change(model, seed=1)
    live, averaged = copy.deepcopy(model.state_dict()), copy.deepcopy(average.model.state_dict())
    with pytest.raises(ZeroDivisionError), average.swapped():  # noqa: PT012 - the block is what is tested
        torch.testing.assert_close(model.state_dict(), averaged, rtol=0, atol=0)
        with (
            pytest.raises(RuntimeError, match="already swapped: leave the inner"),
            average.swapped(),
        ):
            pass
        with pytest.raises(RuntimeError, match="Cannot update the average while"):
            average.update(0.1)
        with pytest.raises(RuntimeError, match="Cannot save while"):
            average.state_dict()
        raise ZeroDivisionError
    torch.testing.assert_close(model.state_dict(), live, rtol=0, atol=0)
    torch.testing.assert_close(average.model.state_dict(), averaged, rtol=0, atol=0)
    assert not average.is_swapped


def test_swapping_around_runs():
    model = nn.Linear(1, 1, bias=False)
    average = Average(model)
    with torch.no_grad():
        model.weight.add_(1)
    before, seen = model.weight.item(), []
    evaluator = Engine(lambda engine, batch: seen.append(model.weight.item()) or 1 / batch)
    evaluator._frames.append(average.swapped_around)
    evaluator.run([1])
    with pytest.raises(ZeroDivisionError):
        evaluator.run([0])
    assert seen == [before - 1] * 2
    assert model.weight.item() == before


def test_states_are_loaded_whole_or_not_at_all():
    model, other = Net().half(), Net().half()
    average, resumed = Average(model), Average(other)
    change(model, seed=2)
    average.update(0.25)
    resumed.load_state_dict(average.state_dict())
    average.update(0.25)
    other.load_state_dict(model.state_dict())
    resumed.update(0.25)
    torch.testing.assert_close(resumed.state_dict(), average.state_dict(), rtol=0, atol=0)

    before = copy.deepcopy(resumed.state_dict())
    with pytest.raises(ValueError, match=r"differs in .*first.weight"):
        resumed.load_state_dict({"model": {"first.weight": torch.zeros(3)}, "exact": []})
    torch.testing.assert_close(resumed.state_dict(), before, rtol=0, atol=0)


def test_wrappers_are_looked_through():
    model = nn.Linear(1, 1)
    assert unwrap(nn.DataParallel(torch.compile(model, backend="eager"))) is model
    assert Average(torch.compile(model, backend="eager")).live is model


def test_bad_models():
    with pytest.raises(
        TypeError, match="instance of nn.Module or its subclasses, but given function"
    ):
        Average(test_bad_models)

    class Stubborn(nn.Module):
        def __deepcopy__(self, memo):
            raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError) as caught:
        Average(Stubborn())
    assert "the averaged weights are kept in a copy" in caught.value.__notes__[0]
