"""A run that fails in the middle, and one that resumes it."""

import contextlib

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint


def run_until(fail_at, data, folder, max_epochs):
    """Resumes the run of ``folder``, and fails at the start of iteration ``fail_at``.

    Returns:
        The batches of this run.
    """
    batches = []
    trainer = Engine(lambda engine, batch: batches.append(batch.tolist()))
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)

    @trainer.on(Events.ITERATION_STARTED(once=fail_at))
    def fail():
        raise InterruptedError

    with contextlib.suppress(InterruptedError):
        trainer.run(data, max_epochs=max_epochs, resume="latest")
    return batches
