"""What the processes of the tests of the learner do."""

import torch
from torch import nn

from ignite import distributed
from ignite.engine import Events
from ignite.learner import Learner


def fail_on_one(rank):
    """Returns what a dry run raises where one process fails, and what stays of it."""
    torch.manual_seed(1)
    learner = Learner(nn.Linear(4, 3), "cross_entropy", "sgd", lr=0.1, device="cpu")
    before = learner.model.weight.tolist()

    @learner.trainer.on(Events.COMPLETED)
    def fail():
        if rank == 1:
            raise InterruptedError("here")

    try:
        learner.fit((X[:48], Y[:48]), dry_run=True)
    except Exception as error:
        return type(error).__name__, error.__notes__, learner.model.weight.tolist() == before
    return None, [], learner.model.weight.tolist() == before


X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def train(folder, rank, *, batch_size=8, is_tried=False):
    """Returns the weights, the figures and the predictions; ``is_tried`` after a dry run."""
    torch.manual_seed(1)
    learner = Learner(nn.Linear(4, 3), "cross_entropy", "sgd", lr=0.1, metrics=["accuracy"], device="cpu")
    how = {"valid": (X, Y), "epochs": 2, "batch_size": batch_size, "run_dir": folder, "resume": "latest"}
    if is_tried:
        learner.fit((X[:48], Y[:48]), **how, dry_run=True)
        assert not folder.exists()
        distributed.barrier()
    history = learner.fit((X[:48], Y[:48]), **how)
    figures = {name: history[name] for name in ("valid_loss", "valid_accuracy")}
    return learner.model.weight.tolist(), figures, learner.predict(X).argmax(1).tolist(), learner.evaluate((X, Y))
