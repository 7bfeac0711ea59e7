"""Process functions for the tests of common setups."""

from torch.utils.data import SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from ignite.contrib.engines import common
from ignite.engine import Engine


class Told(DistributedSampler):
    """Remembers which epochs it was told."""

    def __init__(self, data):
        super().__init__(data)
        self.told = []

    def set_epoch(self, epoch):
        super().set_epoch(epoch)
        self.told.append(epoch)


def train(rank):
    """What the sampler was told, whether there are bars, and what becomes of a sampler that cannot be told."""
    sampler = Told(range(4))
    trainer = Engine(lambda engine, batch: 0.0)
    common.setup_common_training_handlers(trainer, train_sampler=sampler)
    has_bars = any(
        isinstance(arg, common.ProgressBar) for entry in attached(trainer) for arg in entry[1]
    )
    trainer.run(
        range(2), max_epochs=3
    )  # not with the sampler, which the engine would tell the epoch itself
    untouched = Engine(lambda engine, batch: 0.0)
    try:
        common.setup_common_distrib_training_handlers(
            untouched, train_sampler=SequentialSampler(range(4))
        )
    except TypeError as error:
        return sampler.told, has_bars, str(error), attached(untouched)
    return None


def attached(engine):
    """The handlers of an engine with their arguments, event by event."""
    return [entry[:2] for entries in engine._event_handlers.values() for entry in entries]
