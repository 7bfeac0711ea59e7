"""XLA is not supported. Exists because programs import ``has_xla_support``."""

from ignite.distributed._process_group import has_xla_support
from ignite.distributed.comp_models.base import ComputationModel, missing_names

__all__ = ["ComputationModel", "has_xla_support"]

__getattr__ = missing_names(
    __name__, ("XLA_TPU", "_XlaDistModel"), "use a backend of torch.distributed"
)
