"""What the processes of the tests of the learner do."""

import torch
from torch import nn

from ignite.learner import Learner

X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def train(folder, rank, *, batch_size=8):
    """Returns the weights, the figures and the predictions."""
    torch.manual_seed(1)
    learner = Learner(nn.Linear(4, 3), "cross_entropy", "sgd", lr=0.1, metrics=["accuracy"], device="cpu")
    history = learner.fit(
        (X[:48], Y[:48]), valid=(X, Y), epochs=2, batch_size=batch_size, run_dir=folder, resume="latest"
    )
    figures = {name: history[name] for name in ("valid_loss", "valid_accuracy")}
    return learner.model.weight.tolist(), figures, learner.predict(X).argmax(1).tolist(), learner.evaluate((X, Y))
