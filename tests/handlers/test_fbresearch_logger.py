import logging

import pytest
import torch

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers import FBResearchLogger


@pytest.fixture
def time(monkeypatch):
    times = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: times[0])
    return times


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="fbresearch")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "fbresearch"]


def trainer_that_takes(time, seconds_of_data, seconds_of_step):
    def data(length):
        for batch in range(length):
            time[0] += seconds_of_data
            yield batch

    def step(engine, batch):
        time[0] += seconds_of_step
        return {"loss": torch.tensor(batch / 2)}

    return Engine(step), data


def attached(trainer, show_output=False, delimiter="  ", **arguments):
    handler = FBResearchLogger(logging.getLogger("fbresearch"), delimiter, show_output)
    handler.attach(trainer, name="Train", **arguments)
    return trainer


def test_the_lines_of_a_run(time, lines):
    trainer, _ = trainer_that_takes(time, 0, 2)
    attached(trainer, every=2).run(range(4), max_epochs=2)
    assert lines() == [
        "Train: start epoch [1/2]",
        "Epoch [1/2]  [2/4]:  ETA: 0:00:04  Iter time: 2.0000 s  Data prep time: 0.0000 s",
        "Epoch [1/2]  [4/4]:  ETA: 0:00:00  Iter time: 2.0000 s  Data prep time: 0.0000 s",
        "Train: Epoch [1/2]  Total time: 0:00:08  (2.0000 s / it)",
        "Train: start epoch [2/2]",
        "Epoch [2/2]  [2/4]:  ETA: 0:00:04  Iter time: 2.0000 s  Data prep time: 0.0000 s",
        "Epoch [2/2]  [4/4]:  ETA: 0:00:00  Iter time: 2.0000 s  Data prep time: 0.0000 s",
        "Train: Epoch [2/2]  Total time: 0:00:08  (2.0000 s / it)",
        "Train: run completed  Total time: 0:00:16",
    ]


def test_waiting_for_data_is_distinguished_from_the_step_and_from_other_handlers(time, lines):
    trainer, data = trainer_that_takes(time, 3, 1)
    attached(trainer)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: time.__setitem__(0, time[0] + 100)
    )
    trainer.run(data(2), epoch_length=2, max_epochs=1)
    assert lines() == [
        "Train: start epoch [1/1]",
        "Epoch [1/1]  [1/2]:  ETA: 0:00:04  Iter time: 4.0000 s  Data prep time: 3.0000 s",
        "Epoch [1/1]  [2/2]:  ETA: 0:00:00  Iter time: 4.0000 s  Data prep time: 3.0000 s",
        "Train: Epoch [1/1]  Total time: 0:03:28  (104.0000 s / it)",
    ]


def test_output_attributes_and_learning_rates(time, lines):
    weight, bias = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD(
        [{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.05}], lr=0.1
    )
    trainer, _ = trainer_that_takes(time, 0, 1)
    trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "alpha", 0.123))
    attached(
        trainer, show_output=True, optimizer=optimizer, state_attributes=["alpha", "beta"], every=3
    )
    trainer.run(range(3), max_epochs=1)
    assert lines()[1] == (
        "Epoch [1/1]  [3/3]:  ETA: 0:00:00  lr [g0]: 0.10000, lr [g1]: 0.05000  loss: 1.0000  alpha: 0.1230  beta:   "
        "Iter time: 1.0000 s  Data prep time: 0.0000 s"
    )


def test_a_transform_picks_what_is_shown_and_a_delimiter_parts_it(time, lines):
    trainer, _ = trainer_that_takes(time, 0, 1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    transform = lambda output: [output["loss"], "x"]  # noqa: E731
    attached(
        trainer, show_output=True, delimiter=" | ", output_transform=transform, optimizer=optimizer
    ).run([3], max_epochs=1)
    assert lines()[1] == (
        "Epoch [1/1] | [1/1]: | ETA: 0:00:00 | lr: 0.10000 | 1.5000 | x | Iter time: 1.0000 s | "
        "Data prep time: 0.0000 s"
    )


def test_a_limit_in_iterations_and_data_of_unknown_length(time, lines):
    trainer, _ = trainer_that_takes(time, 0, 1)
    attached(trainer, every=2).run(range(3), max_iters=4)
    assert lines() == [
        "Train: start epoch [1]",
        "Epoch [1]  [2/3]:  ETA: 0:00:01  Iter time: 1.0000 s  Data prep time: 0.0000 s",
        "Train: Epoch [1]  Total time: 0:00:03  (1.0000 s / it)",
        "Train: start epoch [2]",
        "Epoch [2]  [1/3]:  ETA: 0:00:02  Iter time: 1.0000 s  Data prep time: 0.0000 s",
        "Train: run completed  Total time: 0:00:04",
    ]


def test_what_is_left_is_not_said_while_the_length_is_unknown(time, lines):
    trainer, data = trainer_that_takes(time, 0, 1)
    attached(trainer).run(data(1), max_epochs=1)
    assert lines() == [
        "Train: start epoch [1/1]",
        "Epoch [1/1]  [1]:  Iter time: 1.0000 s  Data prep time: 0.0000 s",
        "Train: Epoch [1/1]  Total time: 0:00:01  (1.0000 s / it)",
    ]


def test_a_run_gone_on_with_inside_an_epoch_counts_the_iterations_of_the_epoch_and_times_its_own(
    time, lines
):
    trainer, _ = trainer_that_takes(time, 0, 2)
    trainer.load_state_dict({"iteration": 3, "epoch_length": 4, "max_epochs": 1})
    attached(trainer).run(range(4))
    assert (
        lines()[1]
        == "Epoch [1/1]  [4/4]:  ETA: 0:00:00  Iter time: 2.0000 s  Data prep time: 0.0000 s"
    )


def test_the_memory_of_a_gpu_is_shown_where_there_is_one(time, lines, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 1024 * 1024)
    trainer, _ = trainer_that_takes(time, 0, 1)
    attached(trainer).run([0], max_epochs=1)
    assert lines()[1].endswith("Data prep time: 0.0000 s  GPU Max Mem: 3 MB")


def test_a_logger_that_does_not_write_costs_no_reading_of_the_output():
    logger = logging.getLogger("fbresearch.quiet")
    logger.setLevel(logging.ERROR)
    read = []
    trainer = Engine(lambda engine, batch: batch)
    FBResearchLogger(logger, show_output=True).attach(
        trainer, name="Train", output_transform=read.append
    )
    trainer.run(range(3))
    assert read == []


def test_an_interval_that_makes_no_sense_attaches_nothing(lines):
    trainer = Engine(lambda engine, batch: batch)
    with pytest.raises(ValueError, match="every"):
        attached(trainer, every=0)
    trainer.run([0])
    assert lines() == []


def test_one_name_of_an_attribute_is_no_list_of_letters():
    logger = FBResearchLogger(logging.getLogger("letters"))
    with pytest.raises(
        TypeError, match="state_attributes should be a list of names, but given 'alpha'"
    ):
        logger.attach(Engine(lambda engine, batch: None), "Train", state_attributes="alpha")
