"""Process functions for the tests of ``Parallel`` and ``auto_*``."""

import os
import random
import signal
import threading
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)
from torch.utils.data.distributed import DistributedSampler

from ignite import distributed as idist
from ignite.distributed.comp_models.native import _NativeDistModel
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.utils import manual_seed
from support import harness


def place():
    """Rank, local rank, processes on the machine, rank of the machine, machines, and a sum."""
    return [
        idist.get_rank(),
        idist.get_local_rank(),
        idist.get_nproc_per_node(),
        idist.get_node_rank(),
        idist.get_nnodes(),
        idist.all_reduce(idist.get_rank() + 1),
    ]


def writes_place(local_rank, folder, word="none"):
    assert local_rank == idist.get_local_rank()
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT")
    Path(folder, f"{idist.get_rank()}").write_text(f"{word} {attempt} {place()}")


def start_node(node_rank, nproc_per_node, folder, meeting):
    with idist.Parallel(
        "gloo",
        nproc_per_node,
        nnodes=2,
        node_rank=node_rank,
        start_method=harness.START_METHOD,
        **meeting,
    ) as parallel:
        parallel.run(writes_place, folder)
        parallel.run(writes_place, folder, word="again")


def second_raises(local_rank):
    if local_rank == 1:
        raise OSError("no space left")
    idist.barrier()


def second_is_killed(local_rank):
    if local_rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    idist.barrier()


class Squares(Dataset):
    def __init__(self, length=24):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        x = torch.full((4,), i / self.length) + 0.1 * random.random()
        return x, torch.tensor([float(i % 3)])


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(6))


def loader_of(**options):
    """What a loader is like, and which warnings it has issued."""
    data = options.pop("data", Squares(20))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loader = idist.auto_dataloader(data, **options)
    sampler = loader.sampler
    return [
        loader.batch_size,
        loader.num_workers,
        loader.pin_memory,
        type(sampler).__name__,
        getattr(sampler, "shuffle", None),
        [str(warning.message) for warning in warned if "worker" not in str(warning.message)],
    ]


def auto(rank):
    os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"] = str(rank), "2"
    data, found = Squares(20), {}
    found["plain"] = loader_of()
    found["even"] = loader_of(batch_size=8, num_workers=3)
    found["odd"] = loader_of(batch_size=7, shuffle=False)
    found["single"] = loader_of(batch_size=1)
    found["unbatched"] = loader_of(batch_size=None)
    found["wrapped"] = loader_of(batch_size=8, sampler=RandomSampler(data))
    found["kept"] = loader_of(batch_size=8, sampler=DistributedSampler(data, 2, rank))
    found["foreign"] = loader_of(batch_size=8, sampler=DistributedSampler(data, 5, 3))
    found["batches"] = loader_of(batch_sampler=BatchSampler(SequentialSampler(data), 3, False))
    found["stream"] = loader_of(data=Stream(), batch_size=4)
    try:
        loader_of(sampler=SequentialSampler(data), shuffle=True)
    except ValueError as error:
        found["both"] = str(error)
    torch.manual_seed(rank)
    before = torch.rand(1), random.random()
    torch.manual_seed(rank)
    torch.rand(1)
    sampler = idist.DistributedProxySampler(RandomSampler(range(11)))
    found["drawn"] = [list(sampler), list(sampler)]
    sampler.set_epoch(1)
    found["drawn later"] = list(sampler)
    torch.manual_seed(rank)
    found["random state is kept"] = torch.equal(torch.rand(1), before[0])
    found["model"] = averaged_gradients(rank)
    found["computation model"] = through_a_model(rank)
    return found


def averaged_gradients(rank):
    torch.manual_seed(0)
    plain = nn.Linear(2, 1, bias=False)
    model = idist.auto_model(plain, find_unused_parameters=True)
    optimizer = idist.auto_optim(torch.optim.SGD(model.parameters(), lr=1.0))
    model(torch.tensor([[1.0, 0.0]]) * (rank + 1)).sum().backward()
    kind = type(optimizer).__name__, type(model).__name__, model.find_unused_parameters
    return [*kind, plain.weight.grad.tolist()]


def through_a_model(rank):
    model = _NativeDistModel.create_from_context()
    return [
        model.name,
        model.backend(),
        model.get_rank() == rank,
        model.get_world_size(),
        model.get_local_rank() == rank,
        [model.get_nproc_per_node(), model.get_nnodes(), model.get_node_rank()],
        model.all_reduce(rank + 1),
        model.all_reduce(torch.tensor([rank + 1.0]), "max").tolist(),
        model.all_gather(torch.tensor(rank)).tolist(),
        model.all_gather(f"rank {rank}"),
        model.broadcast(0.1 if rank == 1 else 0.0, src=1),
        model.broadcast("one" if rank == 1 else None, src=1, safe_mode=True),
        model.all_reduce(rank, group=[0, 1]),
        model._do_all_gather_object(rank),
        model._do_broadcast(torch.tensor(rank), 1).item(),
        model._do_all_reduce(torch.tensor(rank + 1), "SUM").item(),
        model._do_all_gather(torch.tensor([rank])).tolist(),
        model._rank_not_in_group([0, 1]),
    ]


def train(local_rank, folder, kills):
    """Trains over 3 epochs of 20 iterations, and resumes from the latest checkpoint.

    Args:
        local_rank: the local rank.
        folder: where checkpoints, notes of each attempt and the result are written.
        kills: ``(rank, number of iterations, delay_s)`` until the SIGKILL of each attempt.
    """
    torch.set_num_threads(1)
    attempt, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), idist.get_rank()
    manual_seed(7 + rank)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    torch.manual_seed(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    torch.manual_seed(11 + rank)
    loader = idist.auto_dataloader(Squares(80), batch_size=4)
    ddp = idist.auto_model(model)
    optimizer = idist.auto_optim(torch.optim.Adam(ddp.parameters(), lr=0.01))
    trainer = create_supervised_trainer(ddp, optimizer, nn.functional.mse_loss)
    Checkpoint.of(trainer, folder / "checkpoints", event=Events.ITERATION_COMPLETED)
    seen = []

    def note(engine):
        seen.append(engine.state.iteration)
        if len(seen) == 1 and rank == 0:
            (folder / f"resumed {attempt}").write_text(f"{engine.state.iteration - 1}")
        if attempt < len(kills) and kills[attempt][:2] == (rank, len(seen)):
            (folder / f"killed {attempt}").write_text(f"{engine.state.iteration}")
            threading.Timer(kills[attempt][2], os.kill, (os.getpid(), signal.SIGKILL)).start()

    trainer.add_event_handler(Events.ITERATION_STARTED, note)
    if attempt < len(kills) and kills[attempt][0] == rank:
        # The kill comes, even if the run is faster than the delay.
        trainer.add_event_handler(Events.COMPLETED, lambda: threading.Event().wait(60))
    trainer.run(loader, max_epochs=3, resume="latest")
    if rank == 0:
        final = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "iteration": trainer.state.iteration,
            "random": torch.rand(2),
        }
        torch.save(final, folder / "final.pt")


if __name__ == "__main__":  # under torchrun
    import sys

    FOLDER, WHAT = sys.argv[1:]
    with idist.Parallel("gloo") as parallel:
        if WHAT == "place":
            parallel.run(writes_place, FOLDER)
        elif os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            parallel.run(second_is_killed)
        else:
            parallel.run(writes_place, FOLDER)
            parallel.run(second_raises)
