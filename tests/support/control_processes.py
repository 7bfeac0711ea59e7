"""Processes that are controlled from outside; run by test_live_control.py and test_deadline.py."""

import os
import signal
import threading
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from ignite import distributed as idist
from ignite._core import clock
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, Deadline, LiveControl, Preemption
from ignite.storage.mailbox import Mailbox
from support.fake_clock import FakeClock


def deadline(rank, folder):
    """Clocks that differ: that of the first process decides."""
    now = clock.now = FakeClock(100.0 * rank)
    trainer = Engine(lambda engine, batch: now.spend(1 + rank))
    checkpoint = Checkpoint.of(trainer, folder, background=False)
    limit = Deadline(after=200, margin=0)
    limit.attach(trainer)
    collectives, gather = [], idist.all_gather

    def counted(*args, **options):
        collectives.append(1)
        return gather(*args, **options)

    idist.all_gather = counted
    try:
        iteration = trainer.run(range(50), max_epochs=1000).iteration
    finally:
        idist.all_gather = gather
    left = idist.all_gather(limit.left_s)[0]
    saved = int(checkpoint.last_checkpoint.stem[-8:]) if rank == 0 else iteration
    return {
        "iteration": iteration,
        "saved": saved,
        "left": left,
        "collectives": len(collectives),
    }


class Program:
    """A training whose processes wait for each other in each step, with a validation."""

    def __init__(self, folder):
        torch.manual_seed(0)
        self.model = nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.trainer = Engine(self.step)
        self.checkpoint = Checkpoint.of(self.trainer, Path(folder) / "checkpoints")
        self.trainer.control.add("sum", lambda engine: f"sum {idist.all_reduce(1)}")
        LiveControl(folder, poll_s=0.02).attach(self.trainer)
        self.began = threading.Event()
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), self.began.set)

    def step(self, engine, batch):
        self.optimizer.zero_grad()
        self.model(torch.full((2, 2), 0.01)).square().mean().backward()
        for parameter in self.model.parameters():
            dist.all_reduce(parameter.grad)
        self.optimizer.step()

    def summary(self):
        return [
            (done.command, done.iteration, done.is_done) for done in self.trainer.control.record
        ]


def controlled(rank, folder):
    """A thread of the first process gives commands, as another program would."""
    program, told = Program(folder), []
    thread = threading.Thread(target=_command, args=(program, folder, told))
    if rank == 0:
        thread.start()
    program.trainer.run(range(1000), max_epochs=1000)
    if rank == 0:
        thread.join()
    iteration, rate = program.trainer.state.iteration, program.optimizer.param_groups[0]["lr"]
    return {"record": program.summary(), "iteration": iteration, "lr": rate, "told": str(told)}


def _command(program, folder, told):
    program.began.wait()
    mailbox = Mailbox(Path(folder) / "control")
    for command, arguments in (
        ("sum", {}), ("pause", {}), ("set", {"lr": 0.05}), ("save", {}), ("unknown", {}), ("go", {}), ("sum", {}),
        ("stop", {}),
    ):  # fmt: skip
        told.append(mailbox.ask(command, arguments, timeout_s=30).text.partition("/")[0])


def signalled(rank, folder):
    """A signal to the second process in a pause stops and saves all."""
    program = Program(folder)
    preemption = Preemption(raise_exit=False)
    preemption.attach(program.trainer)
    if rank == 0:
        program.trainer.add_event_handler(
            Events.ITERATION_COMPLETED(once=2),
            lambda: Mailbox(Path(folder) / "control").send("pause"),
        )
    program.trainer.control.add_listener(
        lambda done: (
            os.kill(os.getpid(), signal.SIGTERM) if rank == 1 and done.command == "pause" else None
        )
    )
    program.trainer.run(range(1000), max_epochs=1000)
    return {
        "record": [command for command, _, _ in program.summary()],
        "iteration": program.trainer.state.iteration,
        "received": preemption.received,
    }


def both(rank, folder):
    return controlled(rank, f"{folder}/controlled") | {
        "signalled": signalled(rank, f"{folder}/signalled")
    }
