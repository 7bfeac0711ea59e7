"""A trial that records, and two processes of which one has it; see test_optuna_handler.py."""

from ignite import distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import OptunaHandler


class FakeTrial:
    """Records what is reported; prunes after a given epoch."""

    def __init__(self, prunes_at=None):
        self.values = {}
        self.prunes_at = prunes_at

    def report(self, value, step):
        assert step not in self.values
        self.values[step] = value

    def should_prune(self):
        return max(self.values) == self.prunes_at


def prune_on_two_ranks(rank):
    import optuna

    trial = FakeTrial(prunes_at=2) if rank == 0 else None
    trainer = Engine(lambda engine, batch: idist.all_reduce(1.0))
    handler = OptunaHandler(trial, lambda engine: float(rank))
    handler.attach(trainer)
    found = {"values": None}
    try:
        trainer.run([0, 0], max_epochs=4)
    except optuna.TrialPruned:
        found["stopped at"] = trainer.state.epoch
    if trial is not None:
        found["values"] = trial.values
    other = Engine(lambda engine, batch: None)
    other.add_event_handler(Events.COMPLETED, lambda: None)
    if rank == 0:
        OptunaHandler(trial, lambda engine: 0.0).attach(other)
    try:
        other.run([0])
    except RuntimeError as error:
        found["missing"] = str(error)
    return found
