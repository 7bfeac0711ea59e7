"""Process functions for the tests of stopping and guarding."""

import logging
import math

import torch
from torch.nn.parallel import DistributedDataParallel

from ignite._core import clock
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers.spike_guard import SpikeGuard
from ignite.handlers.terminate_on_nan import TerminateOnNan
from ignite.handlers.time_limit import TimeLimit


class Lines(logging.Handler):
    def __init__(self, name):
        super().__init__(logging.WARNING)
        self.lines = []
        logging.getLogger(name).addHandler(self)

    def emit(self, record):
        self.lines.append(record.getMessage())


def terminates_on_nan_in_the_second(rank):
    said = Lines("ignite.handlers.terminate_on_nan")
    engine = Engine(lambda engine, batch: math.nan if (rank, batch) == (1, 3) else 1.0)
    engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    return engine.run([1, 2, 3, 4]).iteration, said.lines[0].split(": ")[1].split(".")[0]


def time_is_up_in_the_second(rank):
    times = {"now": 0.0}
    clock.now = lambda: times["now"]

    def step(engine, batch):
        times["now"] += 1 + rank  # the clock of the second process is ahead

    engine = Engine(step)
    engine.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(7))
    return engine.run(range(20)).iteration


def one_process_has_a_nan(rank, policy):
    """DDP; in the fifth iteration, the loss of the second process is NaN."""
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(2, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(rank)
    batches = [
        (torch.randn(4, 2, generator=generator), torch.randn(4, 1, generator=generator))
        for _ in range(10)
    ]
    if rank == 1:
        batches[4][0][0, 0] = math.nan
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    guard = SpikeGuard({"model": model, "optimizer": optimizer}, policy=policy, every=2)
    guard.attach(trainer)
    state = trainer.run(batches)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
    return state.iteration, guard.num_skipped, guard.num_rollbacks, weights


def one_process_has_nans(rank):
    return {policy: one_process_has_a_nan(rank, policy) for policy in ("skip", "rollback")}
