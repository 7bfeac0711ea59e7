"""Runs in which each process has a state of its own, stopped and resumed; see test_states_by_rank.py."""

import gc
import os
import signal
import warnings

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ignite import distributed as idist
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint, Preemption

NUM_BATCHES = 6


class Killed(BaseException):
    """Nothing catches this."""


class Tally:
    """An object with a state, which differs between processes."""

    def __init__(self):
        self.total = 0.0

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


def batches():
    generator = torch.Generator().manual_seed(5 + idist.get_rank())
    return list(torch.randn(NUM_BATCHES, 4, 3, generator=generator))


def model_of(**options):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions have another name
        return DistributedDataParallel(model, **options)


def hand_made_accumulation():
    """Gradients of three batches, which are averaged over processes with the third."""
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

    def step(engine, batch):
        if engine.state.iteration % 3:
            with model.no_sync():
                model(batch).square().mean().backward()
            return
        model(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return Engine(step), lambda: [one.detach().clone() for one in model.parameters()]


def buffers_of_each_process():
    model = model_of(broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        model,
        optimizer,
        lambda y_pred, y: y_pred.square().mean(),
        prepare_batch=lambda x, **_: (x, x),
    )
    return trainer, lambda: [one.detach().clone() for one in model.state_dict().values()]


def tensors_of_each_process():
    """A tensor and a model that are trained without DDP, an object with a state, a value of the state."""
    weight, tally = torch.zeros(3, requires_grad=True), Tally()
    torch.manual_seed(3)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam([weight, *model.parameters()], lr=0.1)

    def step(engine, batch):
        optimizer.zero_grad()
        ((batch - weight).square().mean() + model(batch).square().mean()).backward()
        optimizer.step()
        tally.total += float(batch.sum()) + engine.state.sum_so_far
        engine.state.sum_so_far += float(batch[0, 0])

    trainer = Engine(step)
    trainer.state.sum_so_far = 0.0
    trainer.state_dict_user_keys.append("sum_so_far")

    def result():
        found = [weight.detach().clone(), model.weight.detach().clone()]
        return [*found, torch.tensor([tally.total, trainer.state.sum_so_far])]

    return trainer, result


def supervised_accumulation():
    """Interrupted by a signal, which saves in the midst of a window."""
    model = model_of()
    trainer = create_supervised_trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        lambda y_pred, y: y_pred.square().mean(),
        prepare_batch=lambda x, **_: (x, x),
        gradient_accumulation_steps=4,
    )
    Preemption().attach(trainer)
    return trainer, lambda: [one.detach().clone() for one in model.parameters()]


PROGRAMS = {
    make.__name__: make
    for make in (
        hand_made_accumulation,
        buffers_of_each_process,
        tensors_of_each_process,
        supervised_accumulation,
    )
}


def run(name, folder, stop_at=None):
    trainer, result = PROGRAMS[name]()
    checkpoint = Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)

    def stop():
        if name == "supervised_accumulation":
            if idist.get_rank() == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return
        checkpoint.wait()
        raise Killed

    if stop_at is not None:
        event = (
            Events.ITERATION_COMPLETED(once=stop_at)
            if name == "supervised_accumulation"
            else Events.ITERATION_STARTED(once=stop_at + 1)
        )
        trainer.add_event_handler(event, stop, priority=1e9)
    try:
        trainer.run(batches(), max_epochs=2, resume="latest")
    except (Killed, SystemExit):
        return trainer.state.iteration
    return result()


def all_stopped_and_resumed(rank, folder):
    """Returns, by program and iteration of the stop, whether the results are those of a whole run."""
    found = {}
    for name in PROGRAMS:
        expected = run(name, f"{folder}/{name}")
        for stop_at in (2, 4, 7):
            cut = f"{folder}/{name}_{stop_at}"
            run(name, cut, stop_at)
            resumed = run(name, cut)
            found[name, stop_at] = all(map(torch.equal, resumed, expected))
            gc.collect()
    return found
