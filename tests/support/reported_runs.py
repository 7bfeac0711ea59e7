"""Small runs with a folder, for the tests of reports."""

import torch

from ignite.engine import Events
from ignite.handlers import RunProfiler
from ignite.learner import Learner


def make_learner(lr=0.05, **options):
    torch.manual_seed(0)
    return Learner(
        torch.nn.Linear(4, 2), "cross_entropy", "sgd", lr=lr, metrics=["accuracy"], **options
    )


def make_data(num_samples=80):
    torch.manual_seed(1)
    x = torch.randn(num_samples, 4)
    return x, (x[:, 0] > 0).long()


def train(folder, epochs=3, fails_at=None, lr=0.05, resume=None, is_profiled=False, data=None):
    """Trains 15 steps per epoch; ``fails_at`` raises in a step."""
    learner = make_learner(lr)
    if is_profiled:
        RunProfiler().attach(learner.trainer)
    if fails_at is not None:

        @learner.trainer.on(Events.ITERATION_COMPLETED(once=fails_at))
        def fail(engine):
            raise RuntimeError("out of <b>memory</b>")

    return learner.fit(
        make_data() if data is None else data, valid=0.25, epochs=epochs, batch_size=4, run_dir=folder,
        resume=resume, schedule="linear", progress=False,
    )  # fmt: skip


def train_when_told(folder, connection):
    """Trains an epoch each time it is told to through a connection, and answers when it has ended."""
    learner = make_learner()

    @learner.trainer.on(Events.EPOCH_COMPLETED)
    def wait(engine):
        connection.send(engine.state.epoch)
        connection.recv()

    learner.fit(make_data(), valid=0.25, epochs=100, batch_size=4, run_dir=folder, progress=False)
