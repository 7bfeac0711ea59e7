"""Models, optimizers and data loaders for the current distributed configuration.

The same program then runs in a single process and in a process group.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler
from torch.utils.data.distributed import DistributedSampler

from ignite._core.logs import visible_logger
from ignite._core.rng import capture_random_state, manual_seed, restore_random_state
from ignite.distributed._process_group import (
    backend,
    device,
    get_nproc_per_node,
    get_rank,
    get_world_size,
)

__all__ = ["DistributedProxySampler", "auto_dataloader", "auto_model", "auto_optim"]

_WRAPPED_BY_DDP = ("nccl", "gloo", "mpi", "xccl")


def auto_dataloader(dataset: Dataset[Any], **kwargs: Any) -> DataLoader[Any]:
    """Creates a data loader that gives each process its share of the data.

    In a single process, this is ``DataLoader(dataset, **kwargs)``. In a group of k processes:

    - ``batch_size`` is the size over all processes: each one gets ``batch_size // k``, and a size
      below k is not changed. A warning is logged if the size over all processes changes.
    - ``num_workers`` is the number on a machine, and divided by its number of processes, rounded
      up.
    - A ``DistributedSampler`` is created, which shuffles unless ``shuffle=False``. A given sampler
      is wrapped in :class:`DistributedProxySampler`; a ``DistributedSampler`` is kept.
    - An ``IterableDataset`` gets no sampler, and must yield different data on each rank.
    - A ``batch_sampler`` is passed on unchanged, with a warning.

    ``pin_memory`` is True by default if :func:`device` is a CUDA device. The arguments of the data
    loader are logged at level INFO by "ignite.distributed.auto.auto_dataloader".

    Args:
        dataset: the dataset.
        **kwargs: arguments of ``DataLoader``.

    Raises:
        ValueError: both ``shuffle=True`` and a sampler are given.

    Example:
        >>> loader = auto_dataloader(range(10), batch_size=4)
        >>> [len(batch) for batch in loader]
        [4, 4, 2]
    """
    logger = _logger("auto_dataloader")
    if get_world_size() > 1:
        _share(dataset, kwargs, logger)
    kwargs.setdefault("pin_memory", device().type == "cuda")
    logger.info(
        "Use data loader kwargs for dataset '%s': \n\t%s", repr(dataset)[:20].strip(), kwargs
    )
    return DataLoader(dataset, **kwargs)


def _share(dataset: Dataset[Any], kwargs: dict[str, Any], logger: logging.Logger) -> None:
    """Changes the arguments of a data loader to those for the share of this process."""
    size = get_world_size()
    if kwargs.get("batch_size") is not None:
        kwargs["batch_size"] = _size_of_share(kwargs["batch_size"], size, logger)
    if "num_workers" in kwargs:
        kwargs["num_workers"] = math.ceil(kwargs["num_workers"] / get_nproc_per_node())
    if kwargs.get("batch_sampler") is not None:
        warnings.warn(
            "Found batch_sampler in provided kwargs. Please, make sure that it is compatible with "
            "distributed configuration",
            stacklevel=3,
        )
    elif isinstance(dataset, IterableDataset):
        logger.info(
            "Found iterable dataset, dataloader will be created without any distributed sampling. "
            "Please, make sure that the dataset itself produces different data on different ranks."
        )
    else:
        sampler = kwargs.get("sampler")
        if sampler is None:
            kwargs["sampler"] = DistributedSampler(
                dataset,
                num_replicas=size,
                rank=get_rank(),
                shuffle=bool(kwargs.pop("shuffle", True)),
            )
        elif isinstance(sampler, DistributedSampler):
            _check_share(sampler)
        else:
            kwargs["sampler"] = DistributedProxySampler(sampler, size, get_rank())


def _size_of_share(batch_size: int, num_processes: int, logger: logging.Logger) -> int:
    each = batch_size // num_processes if batch_size >= num_processes else batch_size
    if each * num_processes != batch_size:
        logger.warning(
            "batch_size should be a multiple of the number of processes, but given %d for %d "
            "processes: each process gets %d, all together %d",
            batch_size,
            num_processes,
            each,
            each * num_processes,
        )
    return each


def _check_share(sampler: DistributedSampler[Any]) -> None:
    if sampler.rank != get_rank():
        warnings.warn(
            f"Found distributed sampler with rank={sampler.rank}, but process rank is {get_rank()}",
            stacklevel=4,
        )
    if sampler.num_replicas != get_world_size():
        warnings.warn(
            f"Found distributed sampler with num_replicas={sampler.num_replicas}, "
            f"but world size is {get_world_size()}",
            stacklevel=4,
        )


def auto_model(model: nn.Module, sync_bn: bool = False, **kwargs: Any) -> nn.Module:
    """Moves a model to the device of this process, and wraps it for the distributed configuration.

    In a group of several processes, the model is wrapped in ``DistributedDataParallel``, with the
    current device on CUDA. A single process with several GPUs uses ``DataParallel``. Otherwise, the
    model itself is returned.

    Args:
        model: the model; parameters on another device are moved to :func:`device`.
        sync_bn: whether to convert batch normalization to ``SyncBatchNorm``. Only in a group of
            several processes; PyTorch supports it on GPUs only.
        **kwargs: arguments of the wrapper, such as ``find_unused_parameters=True``.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: ``device_ids`` is given on CUDA, where the device is that of the process.

    Example:
        >>> auto_model(nn.Linear(2, 1))
        Linear(in_features=2, out_features=1, bias=True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, but given {type(model).__name__}")
    logger, target = _logger("auto_model"), device()
    if not all(parameter.device == target for parameter in model.parameters()):
        model.to(target)
    if get_world_size() > 1:
        return _wrap(model, sync_bn, kwargs, logger) if backend() in _WRAPPED_BY_DDP else model
    if torch.cuda.device_count() > 1 and target.type == "cuda" and backend() is None:
        logger.info("Apply torch DataParallel on model")
        return nn.DataParallel(model, **kwargs)
    return model


def _wrap(
    model: nn.Module, sync_bn: bool, kwargs: dict[str, Any], logger: logging.Logger
) -> nn.Module:
    on_cuda = device().type == "cuda"
    if on_cuda and "device_ids" in kwargs:
        raise ValueError(
            "Argument kwargs should not contain 'device_ids', because each process uses its own "
            f"device, but given {kwargs['device_ids']}"
        )
    if sync_bn:
        logger.info("Convert batch norm to sync batch norm")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if on_cuda:
        index = torch.cuda.current_device()
        logger.info("Apply torch DistributedDataParallel on model, device id: %d", index)
        kwargs["device_ids"] = [index]
    else:
        logger.info("Apply torch DistributedDataParallel on model")
    return nn.parallel.DistributedDataParallel(model, **kwargs)


def auto_optim(optimizer: Optimizer, **kwargs: Any) -> Optimizer:
    """Returns the optimizer unchanged: gradients are averaged by ``DistributedDataParallel``.

    Args:
        optimizer: the optimizer.
        **kwargs: ignored; arguments of Horovod's optimizer in Ignite.

    Raises:
        TypeError: ``optimizer`` is not an optimizer.

    Example:
        >>> optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
        >>> auto_optim(optimizer) is optimizer
        True
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer should be a torch.optim.Optimizer, but given {type(optimizer).__name__}"
        )
    return optimizer


class DistributedProxySampler(DistributedSampler[Any]):
    """Distributes the samples of any sampler with a length over processes.

    Rank r of k gets samples r, r + k, r + 2k, ... of the sampler. If the number of samples is not
    divisible by k, the first ones are repeated, so that all ranks get equally many. Random samplers
    draw the same on all ranks: during the draw, the generators of Python, numpy and torch are
    seeded with the epoch, and restored afterwards. Call ``set_epoch`` before each epoch, as for a
    ``DistributedSampler``.

    Args:
        sampler: the sampler. If it has a generator of its own, that should be in the same state on
            all ranks.
        num_replicas: number of processes; None for the world size of torch.distributed.
        rank: rank of this process; None for the rank of torch.distributed.

    Raises:
        TypeError: ``sampler`` is not a sampler, is distributed already or has no length.
        RuntimeError: when iterating, ``sampler`` yields fewer or more samples than its length.

    Example:
        >>> from torch.utils.data import SequentialSampler
        >>> sampler = SequentialSampler(range(5))
        >>> [list(DistributedProxySampler(sampler, 2, rank)) for rank in range(2)]
        [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self, sampler: Sampler[Any], num_replicas: int | None = None, rank: int | None = None
    ) -> None:
        if not isinstance(sampler, Sampler):
            raise TypeError(
                f"Argument sampler should be instance of torch Sampler, but given: {type(sampler)}"
            )
        if isinstance(sampler, DistributedSampler):
            raise TypeError(
                "Argument sampler must not be a distributed sampler already, "
                f"but given {type(sampler).__name__}"
            )
        if not hasattr(sampler, "__len__"):
            raise TypeError(
                f"Argument sampler should have length, but given {type(sampler).__name__}"
            )
        # Only the length of the "dataset" is used by the base class.
        super().__init__(sampler, num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        before = capture_random_state()
        try:
            manual_seed(self.epoch)
            drawn = list(self.sampler)
        finally:
            restore_random_state(before)
        expected = len(self.sampler)
        if len(drawn) != expected:
            raise RuntimeError(
                f"sampler should yield as many samples as its length, but given {len(drawn)} from "
                f"a {type(self.sampler).__name__} of length {expected}"
            )
        if drawn:
            times = math.ceil(self.total_size / len(drawn))
            drawn = (drawn * times)[: self.total_size]
        return iter(drawn[self.rank : self.total_size : self.num_replicas])


def _logger(name: str) -> logging.Logger:
    return visible_logger(f"{__name__}.{name}", get_rank())
