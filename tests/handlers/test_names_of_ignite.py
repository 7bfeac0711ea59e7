"""Attributes and small behaviors of Ignite's handlers that programs rely on."""

import io
import logging
import time

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import (
    BatchSizeScheduler,
    Checkpoint,
    ConcatScheduler,
    EarlyStopping,
    EMAHandler,
    LinearCyclicalScheduler,
    PiecewiseLinear,
    ProgressBar,
    TimeLimit,
)
from ignite.handlers.state_param_scheduler import (
    ExpStateScheduler,
    MultiStepStateScheduler,
    PiecewiseLinearStateScheduler,
    StepStateScheduler,
)


def idle():
    return Engine(lambda engine, batch: None)


def make_optimizer():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


def test_a_history_that_a_program_sets_to_none_starts_again():
    trainer = idle()
    schedule = PiecewiseLinear(make_optimizer(), "lr", [(0, 0.0), (4, 4.0)], save_history=True)
    schedule.attach(trainer)
    trainer.run([0, 1])
    trainer.state.param_history = None
    trainer.run([0, 1])
    assert trainer.state.param_history == {"lr": [[2.0], [3.0]]}


def test_a_warm_up_of_the_average_may_start_at_0():
    model, trainer, momenta = torch.nn.Linear(1, 1), idle(), []
    handler = EMAHandler(model, momentum=0.2, momentum_warmup=0.0, warmup_iters=4)
    handler.attach(trainer)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: momenta.append(trainer.state.ema_momentum)
    )
    trainer.run(range(5))
    assert momenta == pytest.approx([0, 0.2 / 3, 0.4 / 3, 0.2, 0.2])  # as Ignite 0.5.5
    assert handler.model is model
    with pytest.raises(ValueError, match="Invalid momentum_warmup: .* but given -0.1"):
        EMAHandler(model, momentum_warmup=-0.1, warmup_iters=4)


def test_batch_sizes_are_simulated_without_a_loader():
    expected = [[0, 1], [1, 2], [2, 3]]
    size = {"scheduler_fn": lambda event: event + 1}
    assert BatchSizeScheduler.simulate_values(3, **size) == expected
    assert BatchSizeScheduler.simulate_values(num_events=3, dataloader=None, **size) == expected


def test_early_stopping_registers_its_reset():
    trainer, evaluator = idle(), idle()
    stopper = EarlyStopping(2, lambda engine: 1, trainer)
    stopper.attach(evaluator, Events.COMPLETED, trainer, Events.STARTED)
    assert trainer.has_event_handler(stopper.reset, Events.STARTED)
    stopper.load_state_dict({"counter": 1, "best_score": 3.0})
    trainer.run([0])
    assert (stopper.counter, stopper.best_score) == (1, 3.0)  # a resumed run continues to count
    trainer.run([0])
    assert (stopper.counter, stopper.best_score) == (0, None)
    stopper.load_state_dict({"counter": 1, "best_score": 3.0})
    stopper.reset()
    assert (stopper.counter, stopper.best_score) == (0, None)


@pytest.mark.parametrize(
    ("scheduler", "options", "expected"),
    [
        (StepStateScheduler, {"initial_value": 4, "gamma": 2, "step_size": 2}, [4, 8, 8]),
        (ExpStateScheduler, {"initial_value": 4, "gamma": 1}, [4, 4, 4]),
        (MultiStepStateScheduler, {"initial_value": 4, "gamma": 2, "milestones": [2]}, [4, 8, 8]),
        (PiecewiseLinearStateScheduler, {"milestones_values": [(1, 2), (2, 6)]}, [2.0, 6.0, 6.0]),
        (
            PiecewiseLinearStateScheduler,
            {"milestones_values": [(0, torch.tensor(2.0)), (2, torch.tensor(4.0))]},
            [torch.tensor(3.0), torch.tensor(4.0), torch.tensor(4.0)],
        ),
        (
            StepStateScheduler,
            {"initial_value": torch.tensor(4.0), "gamma": 2, "step_size": 2},
            [torch.tensor(4.0), torch.tensor(8.0), torch.tensor(8.0)],
        ),
    ],
)
def test_values_of_state_parameters_keep_their_type(scheduler, options, expected):
    trainer, found = idle(), []
    scheduler(**options, param_name="weight", create_new=True).attach(trainer)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: found.append(trainer.state.weight)
    )
    trainer.run(range(3))
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))  # as Ignite 0.5.5


def test_a_state_with_tensors_continues():
    value = torch.tensor(4.0)
    options = {"gamma": 2, "step_size": 1, "param_name": "weight"}
    scheduler = StepStateScheduler(value, **options)
    value += 1
    other = StepStateScheduler(torch.tensor(0.0), **options)
    other.load_state_dict(scheduler.state_dict())
    assert other.get_param() == torch.tensor(4.0)
    with pytest.raises(TypeError, match="Argument initial_value should be a number, but given"):
        StepStateScheduler(torch.ones(2), **options)


def test_the_start_of_a_time_limit_is_read_and_set_in_the_time_of_the_wall():
    limit = TimeLimit(10)
    assert limit.start_time == pytest.approx(time.time(), abs=5)
    trainer = idle()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, limit)
    assert trainer.run(range(3)).iteration == 3
    limit.start_time = time.time() - 20
    assert trainer.run(range(3)).iteration == 1


def test_a_concatenation_exposes_its_current_scheduler():
    optimizer = make_optimizer()
    parts = [LinearCyclicalScheduler(optimizer, "lr", 1, 0, cycle_size=2) for _ in range(2)]
    scheduler = ConcatScheduler(parts, durations=[2])
    found = []
    for _ in range(4):
        scheduler(None)
        found.append(parts.index(scheduler._current_scheduler))
    assert found == [0, 0, 1, 1]


def test_a_checkpoint_lists_what_it_would_save():
    model = torch.nn.Linear(1, 1)
    found = Checkpoint({"model": model}, lambda checkpoint, filename: None)._setup_checkpoint()
    assert found["model"].keys() == {"weight", "bias"}


def shown(bar, trainer, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    bar.attach(trainer)
    trainer.run(range(3))
    return stream.getvalue()


def test_a_format_of_a_bar_is_followed_in_files_too(monkeypatch):
    text = shown(ProgressBar(bar_format="<{bar:4}> {n_fmt}"), idle(), monkeypatch)
    assert "<####> 3" in text


@pytest.mark.parametrize(
    ("options", "expected"), [({}, "img"), ({"bar_format": "{n_fmt} {unit}"}, "3 img")]
)
def test_the_unit_of_a_bar_can_be_set_at_any_time(options, expected, monkeypatch):
    bar = ProgressBar(**options)

    def step(engine, batch):
        if bar.pbar is not None:
            bar.pbar.unit = "img"

    text = shown(bar, Engine(step), monkeypatch)
    assert expected in text or not options


def test_a_progress_bar_exposes_its_options(monkeypatch):
    bar = ProgressBar(persist=True, bar_format="{n_fmt}", ncols=9)
    assert (bar.persist, bar.bar_format, bar.tqdm_kwargs) == (True, "{n_fmt}", {"ncols": 9})

    class Bar(bar.pbar_cls):
        created = 0

        def __init__(self, *args, **kwargs):
            Bar.created += 1
            super().__init__(*args, **kwargs)

    bar.pbar_cls = Bar
    shown(bar, idle(), monkeypatch)
    assert Bar.created == 1


def lines_of(run, level=logging.INFO):
    stream, logger = io.StringIO(), logging.getLogger("ignite")
    handler, before = logging.StreamHandler(stream), logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("state", "limits", "expected"),
    [
        (None, {"max_epochs": 2}, "Engine run starting with max_epochs=2."),
        (None, {"max_iters": 3}, "Engine run starting with max_iters=3."),
        (
            {"iteration": 3, "max_epochs": 4, "epoch_length": 2},
            {},
            "Engine run resuming from iteration 3, epoch 1 until 4 epochs",
        ),
        (
            {"iteration": 3, "max_iters": 5, "epoch_length": 2},
            {},
            "Engine run resuming from iteration 3, epoch 1 until 5 iterations",
        ),
    ],
)
def test_the_log_of_the_start_of_a_run_is_that_of_ignite(state, limits, expected):
    trainer = idle()
    if state is not None:
        trainer.load_state_dict(state)
    assert lines_of(lambda: trainer.run([1, 2], **limits))[0] == expected


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        ({"iteration": 0, "epoch": 0, "max_epochs": 2, "epoch_length": 2}, False),
        ({"iteration": 4, "epoch": 0, "max_epochs": 2, "epoch_length": 2}, True),
        ({"iteration": 4, "epoch": 2, "max_epochs": 2, "epoch_length": None}, True),
        ({"iteration": 4, "epoch": 1, "max_epochs": 2, "epoch_length": None}, False),
        ({"iteration": 4, "epoch": 1, "max_epochs": None, "max_iters": 4}, True),
        ({"iteration": 3, "epoch": 1, "max_epochs": None, "max_iters": 4}, False),
    ],
)
def test_is_done_answers_as_ignites(counters, expected):
    state = idle().state
    for name, value in counters.items():
        setattr(state, name, value)
    assert Engine._is_done(state) is expected


def test_an_interrupted_run_is_given_up_by_deleting_its_generator():
    trainer, seen = idle(), []
    trainer.add_event_handler(Events.STARTED, lambda: seen.append("started"))
    handle = trainer.add_event_handler(Events.ITERATION_COMPLETED, trainer.interrupt)
    assert trainer._internal_run_generator is None
    trainer.run(range(3))
    assert trainer._internal_run_generator is not None
    with pytest.raises(ValueError, match="should be set to None only, but given 1"):
        trainer._internal_run_generator = 1
    trainer._internal_run_generator = None
    handle.remove()
    trainer.run(range(3))
    assert seen == ["started", "started"]
    assert trainer.state.iteration == 3
