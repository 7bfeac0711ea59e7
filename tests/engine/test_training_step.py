"""Clipping, events of the step, and skipped batches. Windows are in test_accumulation.py."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import (
    BackpropEvents,
    Engine,
    Events,
    create_supervised_trainer,
    supervised_training_step,
)
from support.linear_models import linear, make_batches

mse = torch.nn.functional.mse_loss


def make_trainer(model, loss_fn=mse, **options):
    return create_supervised_trainer(
        model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, **options
    )


def gradient_of(model, loss_fn, batches):
    """The mean gradient over ``batches``, flat."""
    losses = [loss_fn(model(x), y) for x, y in batches]
    gradients = torch.autograd.grad(sum(losses) / len(losses), list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def collect_gradients(trainer, model):
    """The list that the gradients of each step are put into, flat, as the optimizer finds them."""
    found = []

    @trainer.on(BackpropEvents.OPTIM_STEP_STARTED)
    def record():
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))

    return found


def first_gradient(number, steps, **limits):
    """The first gradient that the optimizer finds, and the mean gradient of its window."""
    batches, model = make_batches(number), linear()
    trainer = make_trainer(model, gradient_accumulation_steps=steps, **limits)
    found = collect_gradients(trainer, model)
    trainer.run(batches)
    return found[0], gradient_of(linear(), mse, batches[:steps])


@given(limit=st.floats(1e-3, 10), number=st.integers(1, 3), steps=st.integers(1, 3))
def test_the_norm_of_the_mean_gradient_is_limited(limit, number, steps):
    found, mean = first_gradient(number, steps, clip_grad_norm=limit)
    expected = mean * min(1, limit / mean.norm().item())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-12)  # torch adds 1e-6
    assert found.norm() <= limit * (1 + 1e-9)


@given(limit=st.floats(1e-3, 10), number=st.integers(1, 3), steps=st.integers(1, 3))
def test_each_value_of_the_mean_gradient_is_limited(limit, number, steps):
    found, mean = first_gradient(number, steps, clip_grad_value=limit)
    torch.testing.assert_close(found, mean.clamp(-limit, limit), rtol=1e-10, atol=1e-12)


def test_values_are_clipped_before_the_norm_is_taken():
    model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    trainer = make_trainer(
        model, lambda y_pred, y: y_pred.sum(), clip_grad_value=4.0, clip_grad_norm=2.5
    )
    found = collect_gradients(trainer, model)
    trainer.run(
        [(torch.tensor([[3.0, 100.0]], dtype=torch.float64), torch.zeros(1))]
    )  # the input is the gradient
    assert found[0].tolist() == pytest.approx([1.5, 2.0], rel=1e-5)  # (3, 4) has norm 5


def test_only_what_the_optimizer_holds_is_clipped():
    model, frozen = linear(), linear()
    frozen.weight.grad = torch.full_like(frozen.weight, 100)
    trainer = make_trainer(model, clip_grad_norm=1e-3)
    trainer.run(make_batches(1))
    assert frozen.weight.grad.eq(100).all()


def test_without_limits_the_step_is_the_hand_written_one_bit_for_bit():
    batches, model, expected = make_batches(4), linear(), linear()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    for x, y in batches * 2:
        optimizer.zero_grad()
        mse(expected(x), y).backward()
        optimizer.step()
    make_trainer(model).run(batches, max_epochs=2)
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), expected.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", ["clip_grad_norm", "clip_grad_value"])
@pytest.mark.parametrize("limit", [0, -1.5, math.nan])
def test_a_limit_is_greater_than_zero(name, limit):
    with pytest.raises(ValueError, match=f"{name} should be greater than zero, but given {limit}"):
        make_trainer(linear(), **{name: limit})


def test_the_events_of_the_step_are_fired_in_order_and_the_optimizers_once_a_window():
    trainer, fired = make_trainer(linear(), gradient_accumulation_steps=2), []
    for event in BackpropEvents:
        trainer.add_event_handler(event, fired.append, event.name)
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: fired.append(trainer.state.iteration)
    )
    trainer.run(make_batches(3))
    backward = ["BACKWARD_STARTED", "BACKWARD_COMPLETED"]
    step = ["OPTIM_STEP_STARTED", "OPTIM_STEP_COMPLETED"]
    assert fired == [1, *backward, 2, *backward, *step, 3, *backward, *step]


def test_each_event_gets_its_step_from_its_counter():
    batches, model = make_batches(1), linear()
    trainer, weight = make_trainer(model, clip_grad_norm=0.01), model.weight.detach().clone()
    seen = {}

    def look(engine, name):
        norm = None if model.weight.grad is None else gradient_norm(model)
        seen[name] = (norm, torch.equal(model.weight, weight))

    for event in BackpropEvents:
        trainer.add_event_handler(event, look, event.name)
    true_norm = gradient_of(linear(), mse, batches).norm().item()
    trainer.run(batches)
    assert seen["BACKWARD_STARTED"] == (None, True)
    assert seen["BACKWARD_COMPLETED"] == (pytest.approx(true_norm), True)
    assert seen["OPTIM_STEP_STARTED"] == (pytest.approx(0.01, rel=1e-3), True)
    assert seen["OPTIM_STEP_COMPLETED"] == (pytest.approx(0.01, rel=1e-3), False)


def gradient_norm(model):
    return math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))


def test_filters_count_the_firings():
    trainer, seen = make_trainer(linear(), gradient_accumulation_steps=2), []
    trainer.add_event_handler(
        BackpropEvents.OPTIM_STEP_COMPLETED(every=2), lambda: seen.append(trainer.state.iteration)
    )
    trainer.run(make_batches(9))
    assert seen == [4, 8]


def test_the_step_in_a_plain_engine_fires_the_registered_events():
    model, fired = linear(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Engine(supervised_training_step(model, optimizer, mse))
    trainer.run(make_batches(1))
    assert not trainer.has_registered_events(BackpropEvents.BACKWARD_STARTED)

    trainer.register_events(BackpropEvents.BACKWARD_COMPLETED)
    trainer.add_event_handler(BackpropEvents.BACKWARD_COMPLETED, lambda: fired.append(1))
    trainer.run(make_batches(3))
    assert fired == [1, 1, 1]


def test_skipping_before_the_optimizers_step_leaves_it_out():
    batches, model = make_batches(3), linear()
    trainer, outputs = make_trainer(model), []

    @trainer.on(BackpropEvents.OPTIM_STEP_STARTED(once=2))
    def refuse():
        trainer.skip_iteration()

    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: outputs.append(trainer.state.iteration)
    )
    trainer.run(batches)

    expected = linear()
    make_trainer(expected).run([batches[0], batches[2]])
    assert torch.equal(model.weight, expected.weight)
    assert outputs == [1, 3]


class Stream:
    """Data that can be iterated over, of unknown length: the window at its end is stepped at the end of the epoch."""

    def __iter__(self):
        return iter(make_batches(2))


@pytest.mark.parametrize("event", list(BackpropEvents))
def test_a_step_that_is_skipped_has_no_output(event):
    outputs = []
    trainer = make_trainer(
        linear(), output_transform=lambda *parts: outputs.append(trainer.state.iteration)
    )
    trainer.add_event_handler(event(once=2), lambda: trainer.skip_iteration())
    trainer.run(make_batches(3))
    assert outputs == [1, 3]


@pytest.mark.parametrize(
    "event", [BackpropEvents.OPTIM_STEP_STARTED, BackpropEvents.OPTIM_STEP_COMPLETED]
)
def test_skipping_in_the_step_at_the_end_of_an_epoch_does_not_reach_the_next_epoch(event):
    model, seen, weights = linear(), [], []
    trainer = make_trainer(model, gradient_accumulation_steps=3)
    trainer.add_event_handler(event(once=1), lambda: trainer.skip_iteration())
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(trainer.state.iteration)
    )
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: weights.append(model.weight.detach().clone())
    )
    before = model.weight.detach().clone()

    trainer.run(Stream(), max_epochs=2)

    assert seen == [1, 2, 3, 4]
    assert torch.equal(weights[0], before) == (event == BackpropEvents.OPTIM_STEP_STARTED)
    assert not torch.equal(weights[1], weights[0])


def test_the_step_at_the_end_of_an_epoch_is_taken_though_its_last_iteration_was_skipped():
    model = linear()
    trainer, before = (
        make_trainer(model, gradient_accumulation_steps=3),
        model.weight.detach().clone(),
    )

    @trainer.on(Events.ITERATION_STARTED(once=2))
    def end():
        trainer.skip_iteration()
        trainer.terminate()

    trainer.run(make_batches(5))
    assert not torch.equal(model.weight, before)


def test_handlers_after_the_step_at_the_end_of_an_epoch_know_where_they_are():
    trainer, stepped = make_trainer(linear(), gradient_accumulation_steps=3), []
    trainer.add_event_handler(BackpropEvents.OPTIM_STEP_COMPLETED, lambda: stepped.append(1))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: trainer.skip_iteration())
    with pytest.raises(RuntimeError, match="was called on Events.EPOCH_COMPLETED"):
        trainer.run(Stream())
    assert stepped == [1]


def test_an_infinite_gradient_is_clipped_to_what_torch_makes_of_it():
    """Without a scaler nothing is left out: NaN weights are for TerminateOnNan to find."""
    model = torch.nn.Linear(1, 1, bias=False)
    trainer = make_trainer(model, lambda y_pred, y: y_pred.sum(), clip_grad_norm=1.0)
    trainer.run([(torch.tensor([[math.inf]]), torch.zeros(1))])
    assert model.weight.isnan().all()


class OwnZeroGrad(torch.optim.SGD):
    calls = 0

    def zero_grad(self, set_to_none=True):
        self.calls += 1
        super().zero_grad(set_to_none=False)


def gradients_before_backward(model, optimizer):
    trainer = create_supervised_trainer(model, optimizer, mse)
    found = []

    @trainer.on(BackpropEvents.BACKWARD_STARTED)
    def look():
        found.append(
            [None if p.grad is None else p.grad.abs().sum().item() for p in model.parameters()]
        )

    trainer.run(make_batches(2))
    return found


def test_a_step_begins_without_gradients_in_all_groups():
    model = linear()
    optimizer = torch.optim.SGD(
        [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.2}], lr=0.1
    )
    assert gradients_before_backward(model, optimizer) == [[None, None], [None, None]]


def test_an_optimizer_that_clears_gradients_in_its_own_way_is_asked_to():
    model = linear()
    optimizer = OwnZeroGrad(model.parameters(), lr=0.1)
    assert gradients_before_backward(model, optimizer) == [[None, None], [0, 0]]
    assert optimizer.calls == 2


def test_a_zero_grad_that_was_put_on_the_optimizer_is_called():
    model, calls = linear(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad = lambda: calls.append(1)
    _, second = gradients_before_backward(model, optimizer)
    assert all(second)
    assert calls == [1, 1]
