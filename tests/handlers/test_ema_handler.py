import warnings

import pytest
import torch
from torch import nn

from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.engine._supervised.training_step import BackpropEvents
from ignite.handlers import Checkpoint, EMAHandler, PiecewiseLinearStateScheduler
from ignite.handlers.ema_handler import EMAWarmUp


def set_weight(model):
    def step(engine, batch):
        with torch.no_grad():
            model.weight.fill_(batch)

    return step


def one_weight():
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(0.0)
    return model


def averages(engine, handler):
    found = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: found.append(handler.ema_model.weight.item())
    )
    return found


def test_the_definition_step_by_step():
    model = one_weight()
    handler, trainer = EMAHandler(model, momentum=0.1), Engine(set_weight(model))
    handler.attach(trainer)
    found = averages(trainer, handler)
    trainer.run([1.0, 2.0, 3.0])
    # 0.9 * 0 + 0.1 * 1; 0.9 * 0.1 + 0.1 * 2; 0.9 * 0.29 + 0.1 * 3
    assert found == pytest.approx([0.1, 0.29, 0.561])
    assert trainer.state.ema_momentum == 0.1
    assert not handler.ema_model.weight.requires_grad


@pytest.mark.parametrize("accumulation", [1, 3])
def test_under_accumulation_it_averages_over_the_steps_of_the_optimizer(accumulation):
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    trainer = create_supervised_trainer(
        model, optimizer, nn.functional.mse_loss, gradient_accumulation_steps=accumulation
    )
    handler = EMAHandler(model, momentum=0.2)
    weights = [model.weight.detach().clone()]
    trainer.add_event_handler(
        BackpropEvents.OPTIM_STEP_COMPLETED, lambda: weights.append(model.weight.detach().clone())
    )
    handler.attach(trainer, event=BackpropEvents.OPTIM_STEP_COMPLETED)
    data = [(torch.randn(4, 3).double(), torch.randn(4, 2).double()) for _ in range(7)]
    trainer.run(data, max_epochs=2)

    num_steps = len(weights) - 1
    assert num_steps == 2 * -(-7 // accumulation)
    # The sum that the recursion is: (1 - m)^n w_0 + sum of m (1 - m)^(n - i) w_i.
    expected = 0.8**num_steps * weights[0]
    expected += sum(0.2 * 0.8 ** (num_steps - i) * weights[i] for i in range(1, num_steps + 1))
    torch.testing.assert_close(handler.ema_model.weight.detach(), expected)


def test_warm_up_drives_the_momentum_under_any_name_of_several_handlers():
    model = one_weight()
    trainer = Engine(set_weight(model))
    slow = EMAHandler(model, momentum=0.2, momentum_warmup=0.6, warmup_iters=3)
    fast = EMAHandler(model, momentum=0.9)
    slow.attach(trainer, name="slow")
    fast.attach(trainer, name="fast")
    momenta, found = [], averages(trainer, slow)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: momenta.append(trainer.state.slow)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.run([1.0, 1.0, 1.0, 1.0])
    assert momenta == pytest.approx([0.6, 0.4, 0.2, 0.2])
    assert 1 - found[-1] == pytest.approx(0.4 * 0.6 * 0.8 * 0.8)  # how far it still is from 1
    assert trainer.state.fast == 0.9
    assert fast.ema_model.weight.item() == pytest.approx(0.9999)
    assert EMAWarmUp(0.6, 1, 0.2)(1) == 0.2


def test_a_scheduler_may_drive_the_momentum():
    model = one_weight()
    trainer, handler = Engine(set_weight(model)), EMAHandler(model, momentum=0.5)
    handler.attach(trainer, event=Events.ITERATION_COMPLETED(every=2))
    PiecewiseLinearStateScheduler([(1, 0.1), (2, 0.2)], param_name="ema_momentum").attach(
        trainer, Events.ITERATION_STARTED
    )
    trainer.run([9.0, 1.0])
    assert handler.ema_model.weight.item() == pytest.approx(0.2)


def test_an_attribute_that_exists_is_kept():
    trainer = Engine(lambda engine, batch: None)
    trainer.state.ema_momentum = 0.7
    with pytest.warns(
        UserWarning, match="Attribute 'ema_momentum' already exists .* keeps its value 0.7"
    ):
        EMAHandler(one_weight()).attach(trainer)
    EMAHandler(one_weight()).attach(trainer, warn_if_exists=False)
    assert trainer.state.ema_momentum == 0.7


@pytest.mark.parametrize(
    ("handling", "mean", "is_training"),
    [("copy", 4.0, False), ("update", 1.0, False), ("ema_train", 0.0, True)],
)
def test_buffers_and_modes(handling, mean, is_training):
    model = nn.BatchNorm1d(1)
    handler = EMAHandler(model, momentum=0.25, handle_buffers=handling)

    def step(engine, batch):
        model.train()
        model.running_mean.fill_(4.0)
        model.num_batches_tracked.add_(1)

    trainer = Engine(step)
    handler.attach(trainer)
    trainer.run([0])
    assert handler.ema_model.running_mean.item() == mean
    assert handler.ema_model.num_batches_tracked.item() == (0 if handling == "ema_train" else 1)
    assert (handler.ema_model.training, model.training) == (is_training, True)
    model.running_mean.fill_(8.0)
    assert handler.ema_model.running_mean.item() == mean  # not the same memory
    handler.ema_model.train(not is_training)
    trainer.run([0])
    assert handler.ema_model.training is not is_training  # as the user has set it


def test_a_resumed_run_has_the_same_average(tmp_path):
    def make():
        torch.manual_seed(1)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
        handler = EMAHandler(model, momentum=0.1, momentum_warmup=0.5, warmup_iters=9)
        handler.attach(trainer)
        return trainer, handler, [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(4)]

    trainer, expected, data = make()
    trainer.run(data, max_epochs=3)

    trainer, _, data = make()
    Checkpoint.of(trainer, tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: 1 / 0, priority=-1)
    with pytest.raises(ZeroDivisionError):
        trainer.run(data, max_epochs=3, resume="latest")
    trainer, resumed, data = make()
    Checkpoint.of(trainer, tmp_path)
    trainer.run(data, max_epochs=3, resume="latest")
    torch.testing.assert_close(resumed.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert trainer.state.ema_momentum == pytest.approx(0.1)


def test_evaluating_the_average():
    model, seen = one_weight(), []
    handler = EMAHandler(model, momentum=0.5)
    trainer, evaluator = (
        Engine(set_weight(model)),
        Engine(lambda engine, batch: seen.append(model.weight.item())),
    )
    handler.attach(trainer)
    handler.swap_for(evaluator)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: evaluator.run([0]))
    trainer.run([1.0, 1.0])
    assert seen == [0.5, 0.75]
    assert model.weight.item() == 1.0
    with handler.swapped():
        assert model.weight.item() == 0.75


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"momentum": 0.0}, ValueError, "Invalid momentum: .* but given 0.0"),
        ({"momentum": 1}, ValueError, "Invalid momentum"),
        ({"momentum": float("nan")}, ValueError, "Invalid momentum"),
        ({"momentum_warmup": 2.0, "warmup_iters": 2}, ValueError, "Invalid momentum_warmup"),
        ({"momentum_warmup": 0.5, "warmup_iters": 0}, ValueError, "Invalid warmup_iters"),
        (
            {"handle_buffers": "keep"},
            ValueError,
            "handle_buffers can only be one of .* given 'keep'",
        ),
        ({"model": None}, TypeError, "model should be an instance of nn.Module or its subclasses"),
    ],
)
def test_bad_input(arguments, error, match):
    with pytest.raises(error, match=match):
        EMAHandler(**{"model": nn.Linear(1, 1), **arguments})
