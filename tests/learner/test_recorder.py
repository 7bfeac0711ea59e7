import math

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.learner import _runs
from ignite.learner._runs import Recorder, loss_of, numbers_in
from ignite.learner.history import History


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (1.5, 1.5),
        (torch.tensor([1.5]), 1.5),
        ({"loss": 1.5, "x": 2}, 1.5),
        ({"x": 2}, None),
        (None, None),
        (torch.ones(2), None),
        ("a", None),
    ],
)
def test_the_loss_in_what_a_step_returns(output, expected):
    found = loss_of(output)
    assert found is None if expected is None else float(found) == expected


def run(recorder, outputs, max_epochs=1):
    values = iter(outputs)
    trainer = Engine(lambda engine, batch: next(values))
    trainer.add_event_handler(Events.EPOCH_STARTED, recorder.begin_epoch)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, recorder.note_step)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, recorder.end_epoch)
    trainer.run(range(len(outputs) // max_epochs), max_epochs=max_epochs)


class OnAccelerator(torch.Tensor):
    """Stands for a tensor that has to be waited for."""

    is_cpu = False
    __torch_function__ = (
        torch._C._disabled_torch_function_impl
    )  # what is made of it is a plain tensor

    def item(self):
        raise AssertionError("waits for the device")


def test_tensors_on_an_accelerator_are_read_once_an_epoch(monkeypatch):
    recorder, read = Recorder(), []
    original = torch.Tensor.tolist
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda self: read.append(len(self)) or original(self)
    )
    run(
        recorder,
        [torch.tensor(float(i)).as_subclass(OnAccelerator) for i in range(6)],
        max_epochs=2,
    )
    assert read == [3, 3]
    assert recorder.history.steps == [0, 1, 2, 3, 4, 5]
    assert recorder.history["loss"] == [1, 4]


def test_tensors_on_the_host_are_read_at_once_and_not_kept():
    recorder = Recorder()
    loss = torch.tensor([0.1], dtype=torch.float64)
    recorder.note(loss)
    loss.zero_()
    recorder.note(torch.tensor(0.5).as_subclass(OnAccelerator))
    recorder.note(2)
    recorder.end_epoch(Engine(lambda engine, batch: None))
    assert recorder.history.steps == [0.1, 0.5, 2.0]


def test_of_a_long_epoch_some_thousand_at_a_time(monkeypatch):
    monkeypatch.setattr(_runs, "_MAX_PENDING", 4)
    recorder = Recorder()
    run(recorder, [torch.tensor(1.0), 2.0] * 5)
    assert (recorder.history.steps, recorder.history["loss"]) == ([1.0, 2.0] * 5, [1.5])


def test_steps_without_a_loss_have_none():
    recorder = Recorder()
    run(recorder, [None, None])
    assert recorder.history.names == ["epoch", "seconds"]


def test_what_the_evaluator_found_is_in_the_row():
    recorder, evaluator = Recorder(), Engine(lambda engine, batch: None)
    evaluator.state.metrics = {
        "accuracy": 0.5,
        "by_class": torch.ones(3),
        "text": "a",
        "one": torch.tensor([2.0]),
    }
    recorder.begin(History(), evaluator)
    run(recorder, [1.0])
    expected = ["epoch", "loss", "valid_accuracy", "valid_by_class", "valid_one", "seconds"]
    assert recorder.history.names == expected
    assert recorder.history["valid_by_class"] == [[1.0, 1.0, 1.0]]
    assert numbers_in(evaluator.state.metrics) == {"accuracy": 0.5, "one": 2.0}


def test_a_state_in_the_midst_of_an_epoch():
    first, second = Recorder(), Recorder()
    first.history.steps += [7.0]
    first.begin_epoch(None)
    first.note(torch.tensor(1.0).as_subclass(OnAccelerator), 3)
    second.load_state_dict(first.state_dict())
    second.note(5.0, 1)
    second.end_epoch(Engine(lambda engine, batch: None))
    assert (second.history.steps, second.history["loss"]) == (
        [7.0, 1.0, 5.0],
        [(1 * 3 + 5 * 1) / 4],
    )


def test_the_state_of_an_earlier_version_counts_each_step_the_same():
    recorder, state = Recorder(), Recorder().state_dict()
    state["history"]["steps"], state["num_before"] = torch.tensor([9.0, 1.0, 2.0]), 1
    del state["sums"]
    recorder.load_state_dict(state)
    recorder.end_epoch(Engine(lambda engine, batch: None))
    assert recorder.history["loss"] == [1.5]


@pytest.mark.parametrize(
    "wrap", [float, lambda loss: torch.tensor(loss).as_subclass(OnAccelerator)]
)
def test_the_loss_of_an_epoch_is_that_of_all_elements(wrap):
    recorder = Recorder()
    recorder.begin_epoch(None)
    recorder.note(wrap(2.0), 3)
    recorder.note(wrap(0.0), wrap(0.0))  # a batch of which nothing counts
    recorder.note(wrap(12.0), 4, True)  # a sum
    recorder.end_epoch(Engine(lambda engine, batch: None))
    assert (recorder.history.steps, recorder.history["loss"]) == (
        [2.0, 0.0, 12.0],
        [(2 * 3 + 12) / 7],
    )


def test_an_epoch_of_which_nothing_counts_has_no_loss():
    recorder = Recorder()
    recorder.note(0.0, 0)
    recorder.end_epoch(Engine(lambda engine, batch: None))
    assert math.isnan(recorder.history["loss"][0])


def test_a_step_of_ones_own_counts_the_samples_of_its_batch():
    recorder, batches = Recorder(), [(torch.zeros(3, 2), torch.zeros(3)), {"a": torch.zeros(1)}]
    trainer = Engine(lambda engine, batch: 4.0 if isinstance(batch, tuple) else 8.0)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, recorder.note_step)
    trainer.run(batches)
    recorder.end_epoch(trainer)
    assert recorder.history["loss"] == [(4 * 3 + 8) / 4]
