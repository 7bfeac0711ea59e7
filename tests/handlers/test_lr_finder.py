import copy
import math
import warnings

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import FastaiLRFinder, PiecewiseLinear
from support import harness, lr_finder_processes


def make(lr=0.01, groups=1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    parameters = list(model.parameters())
    split = [parameters] if groups == 1 else [parameters[:2], parameters[2:]]
    optimizer = torch.optim.SGD([{"params": one} for one in split], lr=lr, momentum=0.9)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    return model, optimizer, trainer, [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(10)]


def find(trainer, model, optimizer, data, **options):
    finder = FastaiLRFinder()
    with finder.attach(trainer, {"model": model, "optimizer": optimizer}, **options) as training:
        training.run(data)
    return finder


@pytest.mark.filterwarnings("ignore:Run completed without loss diverging")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # In a run that is longer than num_iter, one more iteration follows, as in Ignite.
        ({"num_iter": 4, "end_lr": 1.0}, [0.01 * 100 ** (k / 4) for k in (1, 2, 3, 4, 5)]),
        (
            {"num_iter": 4, "end_lr": 1, "step_mode": "linear"},
            [0.01 + 0.99 * k / 4 for k in (0, 1, 2, 3, 4)],
        ),
        ({"num_iter": 2, "start_lr": 1, "end_lr": 4.0}, [2.0, 4.0, 8.0]),
        ({"num_iter": 10, "end_lr": 1.0}, [0.01 * 100 ** (k / 10) for k in range(1, 11)]),
        ({"num_iter": 12, "end_lr": 1.0}, [0.01 * 100 ** (k / 12) for k in range(1, 13)]),
        ({"end_lr": 1.0}, [0.01 * 100 ** (k / 10) for k in range(1, 11)]),
    ],
)
def test_rates(options, expected):
    model, optimizer, trainer, data = make()
    finder = find(trainer, model, optimizer, data, diverge_th=math.inf, **options)
    assert finder.get_results()["lr"] == pytest.approx(expected)
    assert len(finder.get_results()["loss"]) == len(expected)


@pytest.mark.filterwarnings("ignore:Run completed without loss diverging")
def test_each_rate_is_that_of_the_step_it_stands_for():
    model, optimizer, _, data = make()
    used = []

    def step(engine, batch):
        used.append(optimizer.param_groups[0]["lr"])
        return 1.0

    finder = find(Engine(step), model, optimizer, data, start_lr=0.1, end_lr=1.0)
    assert finder.get_results()["lr"] == used


def test_processes_end_their_test_together_at_the_mean_of_their_losses():
    for losses, num_rates in harness.run(lr_finder_processes.find_with_other_losses, 2):
        assert losses == pytest.approx([1.0, 2.0, 3.0])
        assert num_rates == 3


def test_losses_are_smoothed_as_recorded_with_ignite():
    # pytorch-ignite 0.5.5 with the same losses gives 0.05 * loss + 0.95 * the value before.
    losses = iter([1.0, 3.0, 2.0, 100.0, 1.0])
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    trainer = Engine(lambda engine, batch: next(losses))
    finder = FastaiLRFinder()
    with finder.attach(trainer, {"optimizer": optimizer}) as training:
        training.run(range(5))
    second = 0.05 * 3 + 0.95 * 1
    third = 0.05 * 2 + 0.95 * second
    assert finder.get_results()["loss"] == pytest.approx(
        [1.0, second, third, 0.05 * 100 + 0.95 * third]
    )


@pytest.mark.parametrize("has_failed", [False, True])
def test_nothing_is_left_of_the_test(has_failed):
    model, optimizer, trainer, data = make()
    expected_model, expected_optimizer, expected_trainer, _ = make()
    random = torch.get_rng_state()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    if has_failed:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            find(trainer, model, optimizer, data, num_iter=25)
        trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    else:
        find(trainer, model, optimizer, data, num_iter=25, end_lr=1e4)
    torch.testing.assert_close((model.state_dict(), optimizer.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert (trainer.state.epoch, trainer.state.iteration, trainer.state.max_epochs) == (0, 0, None)

    # And so the training that follows is that of a program that never looked for a rate.
    trainer.run(data, max_epochs=2)
    torch.set_rng_state(random)
    expected_trainer.run(data, max_epochs=2)
    torch.testing.assert_close(model.state_dict(), expected_model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(
        optimizer.state_dict(), expected_optimizer.state_dict(), rtol=0, atol=0
    )


def test_a_trainer_in_mid_training_and_its_schedule():
    model, optimizer, trainer, data = make()
    schedule = PiecewiseLinear(optimizer, "lr", [(0, 0.1), (100, 0.2)])
    schedule.attach(trainer)
    trainer.run(data, max_epochs=1)
    finder = FastaiLRFinder()
    options = {"num_iter": 5, "start_lr": 0.1, "end_lr": 0.2, "diverge_th": math.inf}
    saved = {"model": model, "optimizer": optimizer, "schedule": schedule}
    with (
        pytest.warns(UserWarning, match="without loss diverging"),
        finder.attach(trainer, saved, **options) as training,
    ):
        training.run(data, max_epochs=3)
    assert finder.get_results()["lr"][-1] == pytest.approx(0.1 * 2 ** (6 / 5))  # not the schedule's
    assert (trainer.state.iteration, trainer.state.epoch, schedule.event_index) == (10, 1, 10)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_test(loss):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    trainer = Engine(lambda engine, batch: loss if engine.state.iteration == 3 else 1.0)
    finder = FastaiLRFinder()
    with finder.attach(trainer, {"optimizer": optimizer}) as training:
        training.run(range(10))
    assert len(finder.get_results()["loss"]) == 3


def test_data_of_unknown_length_and_several_groups():
    model, optimizer, trainer, data = make(groups=2)
    finder = FastaiLRFinder()
    saved = {"model": model, "optimizer": optimizer}
    options = {"num_iter": 4, "start_lr": [0.1, 0.2], "end_lr": [1.0, 2.0], "diverge_th": math.inf}
    with (
        pytest.warns(UserWarning, match="without loss diverging"),
        finder.attach(trainer, saved, **options) as training,
    ):
        training.run(iter(data))
    assert finder.get_results()["lr"][-1] == pytest.approx([1.0, 2.0])
    with (
        pytest.raises(ValueError, match="num_iter should be given"),
        finder.attach(trainer, saved) as training,
    ):
        training.run(iter(data), max_epochs=1)


def test_the_suggestion_is_the_steepest_descent():
    finder = FastaiLRFinder()
    finder._lrs, finder._losses = (
        [[float(i)] for i in range(7)],
        [5.0, 4.9, 3.0, 1.0, 0.9, 2.0, 0.95],
    )
    assert finder.lr_suggestion() == 2.0  # (1.0 - 4.9) / 2 is the lowest slope
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    finder.apply_suggested_lr(optimizer)
    assert optimizer.param_groups[0]["lr"] == 2.0
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)]})
    with pytest.raises(
        RuntimeError, match="number of parameter groups does not match: 1 in the test and 2"
    ):
        finder.apply_suggested_lr(optimizer)
    finder._losses = [1.0, 2.0, 3.0]
    with pytest.raises(RuntimeError, match="unexpected curve shape"):
        finder.lr_suggestion()


def test_plots():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    finder = FastaiLRFinder()
    finder._lrs, finder._losses = [[10.0**i] for i in range(7)], [5.0, 4.9, 3.0, 1.0, 0.9, 2.0, 3.0]
    axes = finder.plot(skip_start=1, skip_end=2)
    assert axes.lines[0].get_xdata().tolist() == [10.0, 100.0, 1e3, 1e4]
    assert axes.get_xscale() == "log"
    assert axes.collections[0].get_offsets().tolist() == [[100.0, 3.0]]
    assert (
        finder.plot(
            0, 0, log_lr=False, display_suggestion=False, ax=pyplot.subplots()[1]
        ).get_xscale()
        == "linear"
    )
    with pytest.raises(ValueError, match="skip_start cannot be negative"):
        finder.plot(skip_start=-1)
    pyplot.close("all")
    with pytest.raises(RuntimeError, match="didn't run yet so results can't be plotted"):
        FastaiLRFinder().plot()


def test_on_digits_the_suggestion_is_within_a_factor_of_three_of_the_best_of_a_grid():
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    data = [(x[part], y[part]) for part in order.split(32)]

    def make(lr):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        return model, optimizer, create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())

    def loss_after(lr):
        model, _, trainer = make(lr)
        trainer.run(data, max_epochs=3)
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(x), y).item()
        return loss if math.isfinite(loss) else math.inf

    grid = [10 ** (exponent / 4) for exponent in range(-12, 9)]
    best = min(grid, key=loss_after)
    model, optimizer, trainer = make(1e-3)
    finder = find(trainer, model, optimizer, data, num_iter=200, start_lr=1e-3, end_lr=100.0)
    assert best / 3 <= finder.lr_suggestion() <= best * 3


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"to_save": 3}, TypeError, "Argument to_save should be a mapping, but given int"),
        ({"to_save": {"optimizer": 3}}, TypeError, "should have `state_dict` method"),
        ({"to_save": {}}, ValueError, "should contain 'optimizer' key"),
        ({"to_save": {"optimizer": nn.Linear(1, 1)}}, TypeError, "should be torch optimizer"),
        ({"smooth_f": 1.0}, ValueError, "smooth_f is outside the range"),
        ({"diverge_th": 0.9}, ValueError, "diverge_th should be larger than 1"),
        (
            {"step_mode": "log"},
            ValueError,
            "step_mode should be 'exp' or 'linear', but given 'log'",
        ),
        ({"num_iter": 1.5}, TypeError, "num_iter should be an integer"),
        ({"num_iter": 0}, ValueError, "num_iter should be positive"),
        (
            {"start_lr": [0.1, 0.2]},
            ValueError,
            "Number of values of start_lr should be equal to optimizer values, 1",
        ),
        ({"end_lr": "1"}, TypeError, "end_lr should be a float or list of floats"),
        ({"start_lr": True}, TypeError, "start_lr should be a float or list of floats"),
        ({"start_lr": 20.0}, ValueError, "start_lr must be less than end_lr"),
        ({"start_lr": 0.0}, ValueError, "start_lr should be positive"),
    ],
    ids=lambda value: None if not isinstance(value, dict) else next(iter(value)),
)
def test_bad_input(arguments, error, match):
    model, optimizer, trainer, _ = make()
    full = {"to_save": {"model": model, "optimizer": optimizer}, **arguments}
    with pytest.raises(error, match=match), FastaiLRFinder().attach(trainer, **full):
        pass
    assert not trainer._tables["ITERATION_STARTED"].calls


@pytest.mark.parametrize(
    ("output", "error"), [("a", TypeError), (torch.zeros(2), ValueError)], ids=["text", "vector"]
)
def test_outputs_that_are_no_loss(output, error):
    _, optimizer, _, _ = make()
    trainer = Engine(lambda engine, batch: output)
    with (
        pytest.raises(error, match="output_transform"),
        FastaiLRFinder().attach(trainer, {"optimizer": optimizer}),
    ):
        trainer.run([0])


def test_before_it_has_run():
    with pytest.raises(RuntimeError, match="didn't run yet so lr_suggestion can't be returned"):
        FastaiLRFinder().lr_suggestion()


@pytest.mark.parametrize(("losses", "expected"), [([3.0, 3.0, 3.1, 9.0], 3), ([3.0, 3.0, 3.0], 3)])
def test_a_threshold_of_1_ends_at_the_first_loss_above_the_lowest(losses, expected):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    trainer = Engine(lambda engine, batch: losses[engine.state.iteration - 1])
    finder = FastaiLRFinder()
    assert finder._history == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error" if losses[-1] > 3 else "ignore")
        with finder.attach(trainer, {"optimizer": optimizer}, diverge_th=1) as training:
            training.run(range(len(losses)))
    assert len(finder._history["loss"]) == len(finder._history["lr"]) == expected
    assert finder.logger.name == "ignite.handlers.lr_finder.FastaiLRFinder"
