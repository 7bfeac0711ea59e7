"""Handlers of ``setup_common_training_handlers``, created and checked before any is attached."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data.distributed import DistributedSampler

from ignite import distributed as idist
from ignite._core.old_arguments import warn_program
from ignite.engine import Engine, Events
from ignite.handlers.checkpoint import BaseSaveHandler, Checkpoint, DiskSaver
from ignite.metrics import RunningAverage

__all__ = ["averages_of", "checkpoint_of", "disk_saver", "needs_epoch", "schedule_of", "set_epoch"]

AnyEngine = Engine[Any, Any]


def needs_epoch(train_sampler: Any) -> bool:
    """Whether ``set_epoch`` of a sampler has to be called at the start of each epoch.

    Raises:
        TypeError: with several processes, the sampler has no ``set_epoch``.
    """
    if train_sampler is None:
        return False
    if idist.get_world_size() > 1:
        if not callable(getattr(train_sampler, "set_epoch", None)):
            raise TypeError(
                "Train sampler should be torch DistributedSampler and have `set_epoch` method, "
                f"but given {type(train_sampler).__name__}"
            )
        return True
    if isinstance(train_sampler, DistributedSampler):
        warn_program(
            "Argument train_sampler is a distributed sampler, but either there is no distributed "
            "setting or world size is < 2. Train sampler argument will be ignored",
            UserWarning,
        )
    return False


def set_epoch(engine: AnyEngine, train_sampler: DistributedSampler[Any]) -> None:
    """Sets the epoch of a sampler, which shuffles the samples differently in each epoch."""
    train_sampler.set_epoch(engine.state.epoch - 1)


def schedule_of(lr_scheduler: Any) -> tuple[Events, tuple[Any, ...]]:
    """Returns the event at which to step a scheduler, and the handler with its arguments.

    The scheduler is an argument, where ``Checkpoint.of`` finds it.
    """
    if isinstance(lr_scheduler, ReduceLROnPlateau):
        raise TypeError(
            "Argument lr_scheduler should step without a metric, but given ReduceLROnPlateau: "
            "attach a ReduceLROnPlateauScheduler to the evaluator instead"
        )
    if isinstance(lr_scheduler, TorchScheduler):
        return Events.ITERATION_COMPLETED, (_step, lr_scheduler)
    if lr_scheduler is not None and not callable(lr_scheduler):
        raise TypeError(
            "Argument lr_scheduler should be a scheduler of torch or Ignite, "
            f"but given {lr_scheduler!r}"
        )
    return Events.ITERATION_STARTED, (lr_scheduler,)


def _step(engine: AnyEngine, lr_scheduler: TorchScheduler) -> None:
    lr_scheduler.step()


def checkpoint_of(
    to_save: Mapping[str, Any] | None,
    output_path: str | None,
    save_handler: Callable[..., Any] | BaseSaveHandler | None,
    kwargs: dict[str, Any],
) -> Checkpoint | None:
    """Returns the checkpoint handler; None if there is nothing to save.

    Raises:
        ValueError: both or neither of ``output_path`` and ``save_handler`` are given.
    """
    if output_path is not None and save_handler is not None:
        raise ValueError(
            "Arguments output_path and save_handler are mutually exclusive, but given both. "
            "Please, define only one of them"
        )
    if to_save is None:
        if kwargs:
            warn_program(
                f"Arguments have no effect without to_save: {', '.join(kwargs)}", UserWarning
            )
        return None
    if output_path is None and save_handler is None:
        raise ValueError(
            "If to_save argument is provided then output_path or save_handler arguments should be "
            "also defined, but given neither"
        )
    saver = disk_saver(output_path, kwargs) if output_path is not None else save_handler
    assert saver is not None
    return Checkpoint(to_save, saver, **{"filename_prefix": "training", **kwargs})


def disk_saver(output_path: str, kwargs: Mapping[str, Any]) -> DiskSaver:
    """Returns a saver to a folder, which may have other files."""
    return DiskSaver(output_path, require_empty=False, save_on_rank=kwargs.get("save_on_rank", 0))


def averages_of(output_names: Iterable[str] | None) -> list[tuple[str, RunningAverage]]:
    """Returns the names and running averages of the parts of the output."""
    names = [output_names] if isinstance(output_names, str) else output_names or ()
    return [
        (name, RunningAverage(output_transform=functools.partial(_part_of_output, name, i)))
        for i, name in enumerate(names)
    ]


def _part_of_output(name: str, i: int, output: Any) -> Any:
    if isinstance(output, numbers.Number | Tensor):
        return output
    if isinstance(output, Mapping):
        if name not in output:
            raise KeyError(
                f"output_names should be keys of the output of the trainer, {list(output)}, "
                f"but given {name!r}"
            )
        return output[name]
    if isinstance(output, Sequence) and not isinstance(output, str):
        if i >= len(output):
            raise IndexError(
                "output_names should have as many names as the trainer has outputs, "
                f"{len(output)}, but given {name!r} as number {i + 1}"
            )
        return output[i]
    raise TypeError(
        "Unhandled type of update_function's output. It should be a mapping, a sequence, a number "
        f"or a tensor, but given {type(output).__name__}"
    )
