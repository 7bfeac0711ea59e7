"""The state of a run as a dictionary."""

import random

import pytest
import torch

from ignite._core.rng import capture_random_state
from ignite.data import resumable
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.engine._emitter import Unfinished
from ignite.engine.resume.belongings import collect
from ignite.engine.resume.resumption import run_state_dict
from ignite.metrics import Average


def run(step=lambda engine, batch: batch, data=(1.0, 2.0, 3.0)):
    engine = Engine(step)
    Average().attach(engine, "mean")
    engine.state.metrics["not storable"] = object()
    engine.run(list(data))
    return engine


def test_everything_is_in_it_and_can_be_loaded_safely(tmp_path):
    engine = run()
    states = run_state_dict(engine, collect(engine, {}))
    assert list(states) == ["trainer", "is_finished", "Average.mean", "random", "results"]
    assert states["trainer"]["iteration"] == 3
    assert states["results"] == {"trainer": {"mean": 2.0}}
    assert (len(states["random"]), states["is_finished"]) == (1, False)
    torch.save(states, tmp_path / "run.pt")
    torch.load(tmp_path / "run.pt", weights_only=True)


def test_data_that_know_their_position_say_it():
    positions = []
    engine = Engine(
        lambda engine, batch: positions.append(
            run_state_dict(engine, collect(engine, {}))["data"][0]["num_batches"]
        )
    )
    engine.run(resumable([10, 20, 30]))
    assert positions == [1, 2, 3]


def test_the_midst_of_an_event_is_in_it_with_the_output_that_its_handlers_may_read():
    engine, before = run(), capture_random_state()
    random.random()
    states = run_state_dict(
        engine, collect(engine, {}), Unfinished("EPOCH_COMPLETED", 2), before, is_finished=True
    )
    assert states["event"] == {"name": "EPOCH_COMPLETED", "num_done": 2, "output": 3.0}
    assert states["random"] == [before]
    assert states["is_finished"]


def test_an_output_that_cannot_be_saved_is_left_out():
    engine = run()
    engine.state.output = object()
    assert run_state_dict(engine, collect(engine, {}), Unfinished("EPOCH_COMPLETED", 0))[
        "event"
    ] == {
        "name": "EPOCH_COMPLETED",
        "num_done": 0,
    }


@pytest.mark.parametrize("num_batches", [1, 2, 3])
def test_gradients_of_a_window_are_in_it(num_batches):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        model, optimizer, torch.nn.functional.mse_loss, gradient_accumulation_steps=3
    )
    windows = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=num_batches),
        lambda engine: windows.append(run_state_dict(engine, collect(engine, {}))["window"]),
    )
    trainer.run([(torch.ones(2, 1), torch.zeros(2, 1))] * 6)
    (window,) = windows
    assert window["num_accumulated"] == num_batches % 3
    assert [gradient.shape for gradient in window["gradients"]] == (
        [(1, 1), (1,)] if num_batches < 3 else []
    )
