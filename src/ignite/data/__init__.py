"""Loading data: the order of samples, the position in it, and reproducible random numbers."""

from ignite.data._own_state import OwnState
from ignite.data.arrays import ArrayLoader
from ignite.data.loaders import update_dataloader
from ignite.data.order import SampleOrder
from ignite.data.resumable import ResumableLoader, resumable
from ignite.data.sampler import ShardedBatchSampler
from ignite.data.seeding import seeded

__all__ = [
    "ArrayLoader",
    "OwnState",
    "ResumableLoader",
    "SampleOrder",
    "ShardedBatchSampler",
    "resumable",
    "seeded",
    "update_dataloader",
]
