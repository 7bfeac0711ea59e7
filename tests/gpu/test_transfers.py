"""Batches copied to the device, and numbers copied back: pinned memory, streams, order."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from ignite import Learner
from ignite import distributed as idist
from ignite.data import ArrayLoader
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import trackers
from ignite.handlers._trackers.scalars import HostCopy
from support.device import DEVICE, HAS_CUDA, needs_cuda, synchronize

X, Y = torch.arange(60.0).reshape(20, 3), torch.arange(20) % 3


def busy(num_cycles=200_000_000):
    """Keeps the current stream busy for about a tenth of a second, without the host."""
    torch.cuda._sleep(num_cycles)


def test_batches_of_arrays_are_page_locked_and_those_of_the_order():
    loader = ArrayLoader((X, Y), 8, shuffle=True, seed=3, prefetch=2, pin_memory=True)
    plain = ArrayLoader((X, Y), 8, shuffle=True, seed=3)
    for (x, y), (expected_x, expected_y) in zip(loader, plain, strict=True):
        assert (x.is_pinned(), y.is_pinned()) == (HAS_CUDA, HAS_CUDA)
        assert torch.equal(x, expected_x)
        assert torch.equal(y, expected_y)


def test_arrays_on_the_device_are_cut_there_into_the_batches_of_the_host():
    on_device = ArrayLoader((X.to(DEVICE), Y.to(DEVICE)), 8, shuffle=True, seed=3)
    assert on_device.is_on_accelerator == HAS_CUDA
    for (x, y), (expected_x, expected_y) in zip(
        on_device, ArrayLoader((X, Y), 8, shuffle=True, seed=3), strict=True
    ):
        assert (x.device, y.device) == (DEVICE, DEVICE)
        assert torch.equal(x.cpu(), expected_x)
        assert torch.equal(y.cpu(), expected_y)


@needs_cuda
def test_a_batch_is_not_overwritten_while_its_copy_is_under_way():
    """The copies wait behind a busy stream; the page-locked memory of each batch stays until it is copied."""
    x = torch.arange(64 * 4096.0).reshape(64, 4096)
    seen = []

    def step(engine, batch):
        busy(20_000_000)
        seen.append(batch.to(DEVICE, non_blocking=True).sum(dim=1))

    Engine(step).run(ArrayLoader(x, 4, prefetch=2, pin_memory=True), max_epochs=2)
    assert torch.equal(torch.cat(seen).cpu(), x.sum(dim=1).repeat(2))


def train(stream=None, **loading):
    torch.manual_seed(0)
    model = nn.Linear(3, 3).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    trainer = create_supervised_trainer(
        model,
        optimizer,
        F.cross_entropy,
        device=DEVICE,
        non_blocking=True,
        output_transform=lambda x, y, y_pred, loss: loss.detach(),
    )
    logged = []
    logger = trackers.TrackerLogger(Rows(logged))
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda loss: {"loss": loss}
    )
    synchronize()
    with contextlib.nullcontext() if stream is None else torch.cuda.stream(stream):
        trainer.run(ArrayLoader((X, Y), 4, prefetch=1, pin_memory=True), max_epochs=3)
        logger.close()
    synchronize()
    return model.weight.detach().cpu(), logged


@needs_cuda
def test_on_a_stream_of_the_user_all_is_as_on_the_default_stream():
    (expected, expected_log), (found, log) = train(), train(torch.cuda.Stream(DEVICE))
    assert torch.equal(found, expected)
    assert log == expected_log
    assert len(log) == 15


class Rows:
    """A tracker."""

    def __init__(self, rows):
        self.rows = rows

    def scalars(self, values, step):
        self.rows.append((step, dict(values)))

    def histogram(self, name, values, step):
        pass

    def close(self):
        pass


@needs_cuda
def test_a_number_on_its_way_to_the_host_is_that_of_its_time():
    value = torch.zeros((), device=DEVICE)
    HostCopy(
        value
    ).value()  # page-locks memory, for which the host may have to wait; later copies use it again
    busy()
    value += 1
    copy = HostCopy(value)
    assert not copy.is_ready()
    value += 1  # later changes do not count
    assert copy.value() == 1.0
    assert copy.is_ready()
    assert value.item() == 2.0


@needs_cuda
def test_on_another_stream_a_number_waits_for_what_that_stream_computes():
    stream = torch.cuda.Stream(DEVICE)
    with torch.cuda.stream(stream):
        value = torch.zeros((), device=DEVICE)
        busy()
        value += 5
        copy = HostCopy(value)
    assert copy.value() == 5.0


def test_numbers_are_logged_in_the_order_of_their_steps():
    _, rows = train()
    assert [step for step, _ in rows] == list(range(1, 16))
    assert all(isinstance(values["t/loss"], float) for _, values in rows)


def test_the_learner_takes_the_accelerator_and_feeds_it_from_page_locked_memory():
    learner = Learner(nn.Linear(3, 3), loss="cross_entropy", optimizer="sgd", lr=1e-3)
    assert learner.device.type == DEVICE.type
    pinned = []
    learner.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: pinned.append(engine.state.batch[0].is_pinned())
    )
    learner.fit((X, Y), epochs=2, batch_size=5, progress=False)
    assert pinned == [HAS_CUDA] * 8
    assert next(learner.model.parameters()).device == DEVICE
    assert learner.predict(X).device.type == "cpu"
    dataset = TensorDataset(X, Y)
    learner.fit(DataLoader(dataset, batch_size=10), epochs=1, progress=False)
    found = learner.evaluate(dataset)
    assert found["loss"] > 0


def test_devices_without_an_index_and_with_one_are_the_same():
    learner = Learner(
        nn.Linear(3, 3).to(DEVICE),
        loss="cross_entropy",
        optimizer="sgd",
        lr=1e-3,
        device=DEVICE.type,
    )
    learner.fit((X.to(DEVICE), Y.to(DEVICE)), epochs=1, batch_size=5, progress=False)
    assert idist.device().type == DEVICE.type


@pytest.mark.parametrize("num_workers", [0, 1])
def test_auto_dataloader_pins_for_cuda(num_workers):
    loader = idist.auto_dataloader(TensorDataset(X, Y), batch_size=5, num_workers=num_workers)
    assert loader.pin_memory == HAS_CUDA
    assert [x.is_pinned() for x, _ in loader] == [HAS_CUDA] * 4
