import io

import pytest
import torch
from rich.console import Console

from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers import LiveProgress
from ignite.handlers import live_progress as module


@pytest.fixture
def time(monkeypatch):
    time = [0.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    monkeypatch.setattr(module, "perf_counter", lambda: time[0])
    return time


def make(time, data_s=1.0, step_s=3.0, **options):
    file = io.StringIO()

    class Data:
        def __len__(self):
            return 4

        def __iter__(self):
            for batch in range(4):
                time[0] += data_s
                yield batch

    def step(engine, batch):
        time[0] += step_s
        return torch.tensor(float(batch))

    trainer, evaluator = Engine(step), Engine(lambda engine, batch: None)
    losses = iter([0.5, 0.7, 0.3])

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        evaluator.state.metrics = {"loss": next(losses), "name": "text"}
        evaluator.run([0, 0])

    progress = LiveProgress(console=Console(file=file, width=200), **options)
    progress.attach(trainer, {"validation": evaluator})
    return trainer, progress, Data(), file


def test_lines_have_all_figures(time):
    trainer, _, data, file = make(time)
    trainer.run(data, max_epochs=3)
    lines = file.getvalue().splitlines()
    # The first is drawn at once, then every ten seconds, which is every third iteration, and at the end of each epoch.
    assert lines[0] == "epoch 1/3  1/4  0.2 it/s  0:00:04 < 0:00:44  data 25%"
    ends = [line for line in lines if "  4/4  0.2 it/s" in line and "validation loss" in line]
    assert [line.split("validation ", 1)[1] for line in ends] == [
        "loss 0.5*  validation name text",
        "loss 0.7  validation name text",
        "loss 0.3*  validation name text",
    ]
    assert ends[-1].startswith("epoch 3/3  4/4  0.2 it/s  0:00:48 < 0:00:00  data 25%")


def test_best_values_are_saved_with_the_run(time):
    trainer, progress, data, _ = make(time)
    trainer.run(data, max_epochs=2)
    _, other, _, _ = make(time)
    other.load_state_dict(progress.state_dict())
    best = other._best["validation", "loss"]
    assert (best.value, best.epoch, best.lower) == (0.5, 1, True)


def test_the_direction_of_a_metric_can_be_set(time):
    trainer, progress, data, _ = make(time, lower_is_better={"loss": False})
    trainer.run(data, max_epochs=3)
    assert progress._best["validation", "loss"].value == 0.7


def test_outputs_are_read_only_to_be_drawn(time):
    trainer, progress, data, _ = make(time, data_s=0.0, step_s=0.5)
    reads = []
    progress._output_transform = lambda output: reads.append(trainer.state.iteration) or 1.0
    trainer.run(data, max_epochs=2)
    assert reads == [1, 4, 8]  # the first, and the ends of two epochs


def test_a_terminal_is_given_back_after_an_error(time):
    file = io.StringIO()
    trainer = Engine(lambda engine, batch: 1 / (1 - batch))
    LiveProgress(console=Console(file=file, force_terminal=True)).attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run([0, 1])
    assert "\x1b[?25l" in file.getvalue()
    assert file.getvalue().endswith("\x1b[?25h")


def test_other_processes_show_nothing(time, monkeypatch):
    monkeypatch.setattr(module.idist, "get_rank", lambda: 1)
    trainer, _, data, file = make(time)
    trainer.run(data)
    assert file.getvalue() == ""
    assert not trainer._frames
