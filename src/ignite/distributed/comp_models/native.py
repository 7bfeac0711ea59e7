"""The computation model of torch.distributed."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ignite.distributed import _collectives, _launch, _process_group
from ignite.distributed._process_group import has_native_dist_support
from ignite.distributed.comp_models.base import ComputationModel

__all__ = ["GLOO", "MPI", "NCCL", "has_native_dist_support"]

GLOO = "gloo"
MPI = "mpi"
NCCL = "nccl"


class _NativeDistModel(ComputationModel):
    """The default process group of torch.distributed.

    With ``backend``, it is created; without it, it must exist.
    """

    name = "native-dist"
    available_backends = _launch.available_backends()

    def __init__(
        self,
        backend: str | None = None,
        timeout: int | datetime.timedelta | None = None,
        init_method: str | None = None,
        world_size: int | None = None,
        rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if backend is not None:
            seconds = datetime.timedelta(seconds=timeout) if isinstance(timeout, int) else timeout
            options = {
                "timeout": seconds,
                "init_method": init_method,
                "world_size": world_size,
                "rank": rank,
            }
            given = {name: value for name, value in options.items() if value is not None}
            _launch.initialize(backend, **given, **kwargs)
        elif not _process_group.has_group():
            raise ValueError(
                "Default process group has not been initialized, please make sure to call "
                "init_process_group, or pass a backend"
            )
        self._backend = self.backend()

    def get_local_rank(self) -> int:
        return _process_group.get_local_rank()

    def get_rank(self) -> int:
        return _process_group.get_rank()

    def get_world_size(self) -> int:
        return _process_group.get_world_size()

    def get_nproc_per_node(self) -> int:
        return _process_group.get_nproc_per_node()

    def get_nnodes(self) -> int:
        return _process_group.get_nnodes()

    def get_node_rank(self) -> int:
        return _process_group.get_node_rank()

    def device(self) -> torch.device:
        return _process_group.device()

    def backend(self) -> str | None:
        return _process_group.backend()

    def finalize(self) -> None:
        _launch.finalize()

    @staticmethod
    def create_from_context() -> _NativeDistModel | None:
        return _NativeDistModel() if _process_group.has_group() else None

    @staticmethod
    def create_from_backend(
        backend: str,
        init_method: str | None = None,
        world_size: int | None = None,
        rank: int | None = None,
        **kwargs: Any,
    ) -> _NativeDistModel:
        return _NativeDistModel(
            backend=backend, init_method=init_method, world_size=world_size, rank=rank, **kwargs
        )

    @staticmethod
    def spawn(  # noqa: PLR0913 - Ignite's signature
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs_dict: Mapping[str, Any] | None = None,
        nproc_per_node: int = 1,
        nnodes: int = 1,
        node_rank: int = 0,
        master_addr: str | None = None,
        master_port: int | None = None,
        backend: str = "nccl",
        init_method: str | None = None,
        **kwargs: Any,
    ) -> None:
        place = {
            "nnodes": nnodes,
            "node_rank": node_rank,
            "master_addr": master_addr,
            "master_port": master_port,
        }
        if init_method is not None:
            kwargs["init_method"] = init_method
        _launch.spawn(backend, fn, args, kwargs_dict, nproc_per_node, **place, **kwargs)

    def barrier(self) -> None:
        _collectives.barrier()

    def all_reduce(
        self, tensor: Tensor | float, op: str = "sum", group: Any = None
    ) -> Tensor | float:
        return _collectives.all_reduce(tensor, op.upper(), group)

    def all_gather(self, tensor: Any, group: Any = None) -> Any:
        return _collectives.all_gather(tensor, group)

    def broadcast(
        self,
        tensor: Tensor | float | str | Path | None,
        src: int = 0,
        safe_mode: bool = False,
    ) -> Tensor | float | str | Path:
        value: Tensor | float | str | Path = _collectives.broadcast(tensor, src, safe_mode)
        return value

    def _compute_nproc_per_node(self) -> int:
        return _process_group.get_nproc_per_node()

    def _rank_not_in_group(self, group: Any) -> bool:
        return _process_group.is_outside(_process_group.as_group(group))

    def _do_all_reduce(self, tensor: Tensor, op: str = "SUM", group: Any = None) -> Tensor:
        _collectives.all_reduce(tensor, op, group)
        return tensor

    def _do_all_gather(self, tensor: Tensor, group: Any = None) -> Tensor:
        gathered: Tensor = _collectives.all_gather(tensor, group)
        return gathered

    def _do_all_gather_object(self, tensor: Any, group: Any = None) -> list[Any]:
        gathered: list[Any] = _collectives.all_gather([tensor], group)
        return [value for (value,) in gathered]

    def _do_broadcast(self, tensor: Tensor, src: int) -> Tensor:
        value: Tensor = _collectives.broadcast(tensor, src)
        return value

    def _do_new_group(self, ranks: list[int], **kwargs: Any) -> Any:
        return _process_group.new_group(ranks, **kwargs)
