"""Runs over several processes that are saved and resumed; see test_run_checkpoint_processes.py."""

import gc
import random

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from ignite import distributed as idist
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.metrics import Average
from ignite.utils import manual_seed

NUM_SAMPLES = 22


class Noisy(Dataset):
    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, i):
        return torch.full((4,), i / NUM_SAMPLES) + 0.1 * random.random(), torch.tensor(i % 3), i


class Killed(BaseException):
    """Nothing catches this."""


def train(*arguments, **options):
    """A model under DDP that is in a cycle until the interpreter ends may abort there, in torch's own clearing up."""
    try:
        return _train(*arguments, **options)
    finally:
        gc.collect()


def _train(folder, batch_size, stop_at=None, resume=None, steps=1):
    manual_seed(7 + idist.get_rank())  # each process drops out other units
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    torch.manual_seed(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    torch.manual_seed(11 + idist.get_rank())
    ddp = DistributedDataParallel(model) if idist.get_world_size() > 1 else model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    seen = []

    def prepare(batch, device, non_blocking):
        seen.append(batch[2].tolist())
        return batch[:2]

    trainer = create_supervised_trainer(
        ddp,
        optimizer,
        nn.CrossEntropyLoss(),
        prepare_batch=prepare,
        gradient_accumulation_steps=steps,
    )
    Average(output_transform=float).attach(trainer, "mean")
    data = Noisy()
    sampler = DistributedSampler(data, idist.get_world_size(), idist.get_rank(), seed=5)
    loader = DataLoader(data, batch_size=batch_size, sampler=sampler)
    checkpoint = Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)

    def kill():
        checkpoint.wait()
        raise Killed

    if stop_at is not None:
        trainer.add_event_handler(Events.ITERATION_STARTED(once=stop_at + 1), kill, priority=1e9)
    try:
        trainer.run(loader, max_epochs=2, resume=resume)
    except Killed:
        return {"seen": seen[:stop_at]}
    return {
        "seen": seen,
        "weights": torch.cat([parameter.detach().flatten() for parameter in model.parameters()]),
        "mean": trainer.state.metrics["mean"],
        "random": torch.rand(1).item(),
        "iteration": trainer.state.iteration,
    }


def whole_and_cut(rank, folder):
    found = {}
    for steps in (1, 2):
        whole, cut = train(f"{folder}/{steps}/whole", 4, steps=steps), {}
        for stop_at in (1, 3, 4):
            first = train(f"{folder}/{steps}/{stop_at}", 4, stop_at, steps=steps)
            cut[stop_at] = (
                first,
                train(f"{folder}/{steps}/{stop_at}", 4, resume="latest", steps=steps),
            )
        found[steps] = whole, cut
    return found


def begin(rank, folder, batch_size, stop_at):
    return train(folder, batch_size, stop_at)


def go_on(rank, folder, batch_size):
    return train(folder, batch_size, resume="latest")


def fail_to_write(rank, folder):
    trainer = Engine(lambda engine, batch: None)
    checkpoint = Checkpoint.of(trainer, folder, background=False)
    if rank == 0:

        def write(*args, **kwargs):
            raise OSError(28, "No space left on device")

        checkpoint.place.write = write
    try:
        trainer.run([1])
    except (OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def see_other_files(rank, folder):
    """The newest file cannot be read by the second process."""
    from ignite import storage

    trainer = Engine(lambda engine, batch: None)
    Checkpoint.of(trainer, folder, keep_last=5, background=False)
    trainer.run([1, 2], max_epochs=3)
    if rank == 1:
        load = storage.load

        def load_but_not_the_newest(source, *args, **kwargs):
            if source[1] == "checkpoint_00000006.pt":
                raise OSError(5, "Input/output error")
            return load(source, *args, **kwargs)

        storage.load = load_but_not_the_newest
    again = Engine(lambda engine, batch: None)
    Checkpoint.of(again, folder)
    again.run([1, 2], max_epochs=3, resume=folder)
    return again.state.iteration, again.state.epoch
