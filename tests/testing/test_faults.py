import math
import os
import signal
import time

import pytest
import torch

from ignite.engine import BackpropEvents, Engine, Events, create_supervised_trainer
from ignite.testing import Kill, Nan, Raise, Signal, Slow, TornFile, inject, num_fired
from ignite.testing.resume import call_in_child


def test_a_kill_ends_the_process_at_once_and_leaves_its_mark(tmp_path):
    marker = tmp_path / "marker"

    def run(tell):
        trainer = Engine(lambda engine, batch: tell("seen", batch))
        inject(trainer, Kill(), at=Events.ITERATION_COMPLETED, count=2, marker=marker)
        trainer.run([1, 2, 3])

    assert call_in_child(run, is_killed=True).sent == [("seen", 1), ("seen", 2)]
    assert num_fired(marker) == 1


def test_a_kill_may_use_another_signal():
    def run(tell):
        trainer = Engine(lambda engine, batch: None)
        with inject(trainer, Kill(signal.SIGTERM)):
            trainer.run([1])

    with pytest.raises(RuntimeError, match=r"should end with exit code 0, but ended with -15"):
        call_in_child(run)


def test_a_signal_reaches_its_handler_and_the_run_continues():
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        trainer = Engine(lambda engine, batch: None)
        with inject(
            trainer, Signal(signal.SIGUSR1), at=Events.ITERATION_COMPLETED(every=2)
        ) as injection:
            assert trainer.run(range(6)).iteration == 6
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1] * 3
    assert injection.fault.fired == 3


@pytest.mark.parametrize("error", [KeyError, KeyError("a")])
def test_an_exception_or_a_class_is_raised(error):
    trainer = Engine(lambda engine, batch: None)
    with inject(trainer, Raise(error), count=2), pytest.raises(KeyError):
        trainer.run(range(4))
    assert trainer.state.iteration == 2


def test_slow_holds_the_run_up_each_time():
    trainer = Engine(lambda engine, batch: None)
    started = time.perf_counter()
    with inject(trainer, Slow(0.02)) as injection:
        trainer.run(range(3))
    assert time.perf_counter() - started >= 0.06
    assert injection.fault.fired == 3


def test_nan_in_a_batch_reaches_the_loss_and_leaves_the_data_alone():
    data = [(torch.ones(2, 3), torch.tensor([0, 1]))] * 3
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.cross_entropy)
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output)
    )
    with inject(trainer, Nan(), at=Events.ITERATION_STARTED, count=2):
        trainer.run(data)
    assert [math.isnan(loss) for loss in losses] == [False, True, True]
    assert bool((data[1][0] == 1).all())


def test_nan_in_an_output_is_seen_by_handlers_and_the_model_stays_sound():
    trainer = Engine(lambda engine, batch: {"loss": 0.5, "count": 3, "y": torch.ones(2)})
    with inject(trainer, Nan("output", value=math.inf), at=Events.ITERATION_COMPLETED):
        output = trainer.run([1]).output
    assert (output["loss"], output["count"], output["y"].tolist()) == (
        math.inf,
        3,
        [math.inf, math.inf],
    )


def test_nan_fills_the_gradients_of_a_module():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    with inject(trainer, Nan(model), at=BackpropEvents.BACKWARD_COMPLETED, count=1):
        trainer.run([(torch.ones(2, 3), torch.ones(2, 2))])
    assert all(bool(parameter.isnan().all()) for parameter in model.parameters())


def test_a_nan_without_a_number_to_replace_it_is_reported():
    trainer = Engine(lambda engine, batch: None)
    with (
        inject(trainer, Nan()),
        pytest.raises(ValueError, match=r"engine\.state\.batch should have floating point"),
    ):
        trainer.run([1])
    trainer, model = Engine(lambda engine, batch: None), torch.nn.Linear(1, 1)
    with (
        inject(trainer, Nan(model)),
        pytest.raises(ValueError, match="the gradients of the module should have"),
    ):
        trainer.run([1])


def test_nan_can_only_be_put_where_it_is_known():
    with pytest.raises(
        ValueError, match=r"where should be 'batch', 'output' or a module, but given 'loss'"
    ):
        Nan("loss")


def test_a_file_is_damaged_at_its_event(tmp_path):
    file = tmp_path / "model.pt"
    file.write_bytes(b"0123456789")
    trainer = Engine(lambda engine, batch: None)
    with inject(trainer, TornFile(tmp_path), at=Events.EPOCH_COMPLETED, count=2):
        trainer.run([1], max_epochs=1)
        assert file.read_bytes() == b"0123456789"
        trainer.run([1], max_epochs=2)
    assert file.read_bytes() == b"01234"
    with pytest.raises(
        ValueError, match="how should be 'truncate', 'flip' or 'zero', but given 'burn'"
    ):
        TornFile(file, "burn")


def test_a_marker_of_several_processes_has_a_line_for_each(tmp_path):
    def run(tell):
        trainer = Engine(lambda engine, batch: None)
        with inject(trainer, Slow(0), marker=tmp_path / "marker"):
            trainer.run([1])
        return os.getpid()

    assert call_in_child(run).result != call_in_child(run).result
    assert num_fired(tmp_path / "marker") == 2
