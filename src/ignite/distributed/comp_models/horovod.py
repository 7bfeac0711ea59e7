"""Horovod is not supported. Exists because programs import ``has_hvd_support``."""

from ignite.distributed._process_group import has_hvd_support
from ignite.distributed.comp_models.base import ComputationModel, missing_names

__all__ = ["ComputationModel", "has_hvd_support"]

__getattr__ = missing_names(
    __name__, ("HOROVOD", "_HorovodDistModel"), "use nccl or gloo under torchrun"
)
