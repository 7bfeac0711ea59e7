"""Distributed programs: ranks, devices, process groups and collectives.

Usually imported as ``idist``. All functions also work in a single process.
"""

from typing import TYPE_CHECKING

from ignite._core.optional import names_when_used
from ignite.distributed.utils import (
    all_gather,
    all_gather_tensors_with_shapes,
    all_reduce,
    available_backends,
    backend,
    barrier,
    broadcast,
    device,
    finalize,
    get_local_rank,
    get_nnodes,
    get_node_rank,
    get_nproc_per_node,
    get_rank,
    get_world_size,
    has_hvd_support,
    has_native_dist_support,
    has_xla_support,
    hostname,
    initialize,
    model_name,
    new_group,
    one_rank_first,
    one_rank_only,
    set_local_rank,
    show_config,
    spawn,
    sync,
)

if TYPE_CHECKING:
    from ignite.distributed.auto import (
        DistributedProxySampler,
        auto_dataloader,
        auto_model,
        auto_optim,
    )
    from ignite.distributed.comp_models import registered_computation_models
    from ignite.distributed.launcher import Parallel

__all__ = [
    "DistributedProxySampler",
    "Parallel",
    "all_gather",
    "all_gather_tensors_with_shapes",
    "all_reduce",
    "auto_dataloader",
    "auto_model",
    "auto_optim",
    "available_backends",
    "backend",
    "barrier",
    "broadcast",
    "device",
    "finalize",
    "get_local_rank",
    "get_nnodes",
    "get_node_rank",
    "get_nproc_per_node",
    "get_rank",
    "get_world_size",
    "has_hvd_support",
    "has_native_dist_support",
    "has_xla_support",
    "hostname",
    "initialize",
    "model_name",
    "new_group",
    "one_rank_first",
    "one_rank_only",
    "registered_computation_models",
    "set_local_rank",
    "show_config",
    "spawn",
    "sync",
]

__getattr__, __dir__ = names_when_used(__name__)
