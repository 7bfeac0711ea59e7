"""Process functions for the tests of checkpoints."""

import inspect
import os
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ignite import distributed as idist
from ignite.engine import Engine, Events, State
from ignite.handlers import Checkpoint, DiskSaver
from ignite.handlers._checkpoints.run_checkpoint import raise_together


def trainer(iteration=1):
    engine = Engine(lambda engine, batch: None)
    engine.state = State(iteration=iteration, epoch=1)
    return engine


class Counter:
    """Its state takes all processes, as those of metrics do."""

    def state_dict(self):
        return {"count": idist.all_reduce(1)}

    def load_state_dict(self, state):
        pass


def error_of(act):
    try:
        return act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def second_fails(rank):
    def act():
        if rank == 1:
            raise OSError("no space left")

    return error_of(lambda: raise_together(act))


def folder():
    """The same for all: that of the test, named after the function that asks."""
    path = Path(os.environ["CHECKPOINT_FOLDER"], inspect.stack()[1].function)
    path.mkdir(exist_ok=True)
    return str(path)


def one_writes(rank):
    """The second one, and only it."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # takes a second, and warns

    path = folder()
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(2, 1))
    optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    saver = DiskSaver(path, save_on_rank=1)
    checkpoint = Checkpoint(
        {"m": model, "o": optimizer, "c": Counter()}, saver, save_on_rank=1, include_self=True
    )
    opened = saver._opened is not None
    for i in (1, 2):
        checkpoint(trainer(i))
    idist.barrier()
    state = torch.load(checkpoint.last_checkpoint, weights_only=True)
    return {
        "files": os.listdir(path), "opened": opened, "model": list(state["m"]), "count": state["c"]["count"],
        "num_in_optimizer": len(state["o"]["state"]), "saved": list(checkpoint.state_dict()["_saved"]),
    }  # fmt: skip


def writing_fails_in_the_first(rank):
    """The other process is not told: it would have to wait for the one that writes."""
    path = folder()
    checkpoint = Checkpoint({"c": nn.Linear(1, 1)}, path, n_saved=1)
    checkpoint(trainer(1))
    if rank == 0:
        real, checkpoint.save_handler._opened.write = checkpoint.save_handler._opened.write, _fail
    error = error_of(lambda: checkpoint(trainer(2)))
    saved = list(checkpoint._saved)
    if rank == 0:
        checkpoint.save_handler._opened.write = real
    checkpoint(trainer(3))
    idist.barrier()
    return error, saved, os.listdir(path)


def writing_behind_fails_in_the_first(rank):
    path = folder()
    checkpoint = Checkpoint({"c": nn.Linear(1, 1)}, DiskSaver(path, background=True), n_saved=1)
    checkpoint(trainer(1))
    checkpoint.wait()
    if rank == 0:
        real, checkpoint.save_handler._opened.write = checkpoint.save_handler._opened.write, _fail
    checkpoint(trainer(2))
    errors = [error_of(lambda: checkpoint(trainer(3)))]
    saved = [list(checkpoint._saved)]
    if rank == 0:
        checkpoint.save_handler._opened.write = real
    checkpoint(trainer(4))
    checkpoint.wait()
    idist.barrier()
    return errors, saved, os.listdir(path)


def _fail(*args, **kwargs):
    raise OSError(28, "No space left on device")


def _scored(path, to_save, rank):
    scores = iter([(0.5, 0.9), (0.6, 0.1), (0.1, 0.95)])
    checkpoint = Checkpoint(to_save, path, score_function=lambda engine: next(scores)[rank])
    for i in (1, 2, 3):
        checkpoint(trainer(i))
    idist.barrier()
    return os.listdir(path), list(checkpoint._saved)


def scores_differ(rank):
    """What each process measures says something else."""
    return _scored(folder(), {"c": nn.Linear(1, 1)}, rank)


def scores_of_a_spread_state_differ(rank):
    """All have to take part in each save: the one that writes decides."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    optimizer = ZeroRedundancyOptimizer(nn.Linear(1, 1).parameters(), torch.optim.SGD, lr=0.1)
    return _scored(folder(), {"o": [optimizer]}, rank)


def files_are_taken_over(rank):
    path = folder()
    for begin in (1, 11):
        checkpoint = Checkpoint(
            {"c": Counter()}, DiskSaver(path, require_empty="resume"), n_saved=2
        )
        for i in range(begin, begin + 3):
            checkpoint(trainer(i))
        idist.barrier()
    return (
        sorted(os.listdir(path)),
        [item.filename for item in checkpoint._saved],
        checkpoint._files.restarts,
    )


def constructors_ask_nobody(rank):
    """Only one process makes one: it is not left waiting."""
    path = folder()
    if rank == 1:
        for _ in range(2):
            Checkpoint(
                {"c": nn.Linear(1, 1)},
                DiskSaver(path, save_on_rank=1, require_empty="resume"),
                save_on_rank=1,
            )
    idist.barrier()
    return Path(path).is_dir()


def a_run_with_events(rank):
    path = folder()
    events, engine = [], Engine(lambda engine, batch: None)
    engine.register_events(*[Checkpoint.SAVED_CHECKPOINT])
    engine.add_event_handler(
        Checkpoint.SAVED_CHECKPOINT, lambda e: events.append(e.state.iteration)
    )
    engine.add_event_handler(
        Events.ITERATION_COMPLETED(every=2), Checkpoint({"c": Counter()}, path, n_saved=2)
    )
    engine.run([0] * 6)
    idist.barrier()
    return events, sorted(os.listdir(path))


def all_of_them(rank):
    functions = (
        one_writes,
        writing_fails_in_the_first,
        writing_behind_fails_in_the_first,
        scores_differ,
        scores_of_a_spread_state_differ,
        files_are_taken_over,
        constructors_ask_nobody,
        a_run_with_events,
    )
    return {function.__name__: function(rank) for function in functions}
