"""Recipes that attach common handlers: checkpoints, averages, progress bars, early stopping."""

from __future__ import annotations

import functools
import gc
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data.distributed import DistributedSampler

from ignite import distributed as idist
from ignite._core.old_arguments import OldOrder, dropped, takes_old, warn_program
from ignite.engine import Engine, Events
from ignite.handlers.base_logger import BaseLogger
from ignite.handlers.checkpoint import BaseSaveHandler, Checkpoint, DiskSaver
from ignite.handlers.early_stopping import EarlyStopping
from ignite.handlers.logger_utils import (
    setup_clearml_logging,
    setup_mlflow_logging,
    setup_neptune_logging,
    setup_plx_logging,
    setup_tb_logging,
    setup_trains_logging,
    setup_visdom_logging,
    setup_wandb_logging,
)
from ignite.handlers.param_scheduler import ParamScheduler
from ignite.handlers.terminate_on_nan import TerminateOnNan
from ignite.handlers.tqdm_logger import ProgressBar
from ignite.handlers.utils import global_step_from_engine
from ignite.metrics import GpuInfo, RunningAverage

__all__ = [
    "add_early_stopping_by_val_score",
    "empty_cuda_cache",
    "gen_save_best_models_by_val_score",
    "get_default_score_fn",
    "save_best_model_by_val_score",
    "setup_any_logging",
    "setup_clearml_logging",
    "setup_common_distrib_training_handlers",
    "setup_common_training_handlers",
    "setup_mlflow_logging",
    "setup_neptune_logging",
    "setup_plx_logging",
    "setup_tb_logging",
    "setup_trains_logging",
    "setup_visdom_logging",
    "setup_wandb_logging",
]

AnyEngine = Engine[Any, Any]
Scheduler = ParamScheduler | TorchScheduler | Callable[..., Any]
SaveHandler = Callable[..., Any] | BaseSaveHandler

get_default_score_fn = Checkpoint.get_default_score_fn


@takes_old(
    OldOrder(
        "trainer train_sampler to_save save_every_iters output_path lr_scheduler with_gpu_stats "
        "output_names with_pbars with_pbar_on_iters log_every_iters device stop_on_nan "
        "clear_cuda_cache save_handler",
        lambda values: len(values) > 11 and not isinstance(values[11], bool),
    ),
    arguments={
        "device": dropped(
            "device", "remove device, and pass what follows it by name (stop_on_nan=)"
        )
    },
)
def setup_common_training_handlers(  # noqa: PLR0913 - Ignite's signature
    trainer: AnyEngine,
    train_sampler: DistributedSampler[Any] | None = None,
    to_save: Mapping[str, Any] | None = None,
    save_every_iters: int = 1000,
    output_path: str | None = None,
    lr_scheduler: Scheduler | None = None,
    with_gpu_stats: bool = False,
    output_names: Iterable[str] | None = None,
    with_pbars: bool = True,
    with_pbar_on_iters: bool = True,
    log_every_iters: int = 100,
    stop_on_nan: bool = True,
    clear_cuda_cache: bool = True,
    save_handler: SaveHandler | None = None,
    **kwargs: Any,
) -> None:
    """Attaches common handlers to a trainer. If it raises, no handler has been attached.

    Args:
        trainer: the trainer.
        train_sampler: with several processes, its ``set_epoch`` is called at the start of each
            epoch.
        to_save: objects to save every ``save_every_iters`` iterations; see :class:`Checkpoint`.
        save_every_iters: number of iterations between two checkpoints, at least 1.
        output_path: the folder to save to. Existing files are kept.
        lr_scheduler: a PyTorch scheduler, stepped after each iteration; or a scheduler of Ignite or
            a handler, called before each iteration.
        with_gpu_stats: whether to add the utilization of GPUs to the metrics; see
            :class:`GpuInfo`.
        output_names: names of running averages of the output, added to the metrics of the trainer.
            The names are keys of a dictionary, or stand for the items of a list or tuple in order,
            or for the single output.
        with_pbars: whether to show progress bars, on rank 0.
        with_pbar_on_iters: whether to show a bar of the iterations, with all metrics, in addition
            to the bar of the epochs.
        log_every_iters: number of iterations between two updates of that bar and the GPU metrics,
            at least 1.
        stop_on_nan: whether to attach :class:`TerminateOnNan`.
        clear_cuda_cache: whether to call :func:`empty_cuda_cache` after each epoch, if there is a
            GPU.
        save_handler: a save handler, instead of ``output_path``.
        **kwargs: passed to :class:`Checkpoint`.

    Raises:
        TypeError: ``lr_scheduler`` is not a scheduler that steps without a metric; with several
            processes, ``train_sampler`` has no ``set_epoch``; or, during the run, the output has
            another type.
        ValueError: both or neither of ``output_path`` and ``save_handler`` are given, or a number
            is less than 1.
        KeyError, IndexError: during the run, the output lacks one of ``output_names``.
        ModuleNotFoundError: a package that progress bars or ``with_gpu_stats`` need is not
            installed.

    Example:
        >>> trainer = Engine(lambda engine, batch: {"loss": batch})
        >>> setup_common_training_handlers(trainer, output_names=["loss"], with_pbars=False)
        >>> trainer.run([1.0, float("nan"), 3.0]).iteration
        2
    """
    sets_epoch = needs_epoch(train_sampler)
    on_log: Any = Events.ITERATION_COMPLETED(every=log_every_iters)
    on_save = Events.ITERATION_COMPLETED(every=save_every_iters)
    on_schedule, schedule = schedule_of(lr_scheduler)
    averages = averages_of(output_names)
    gpu_info = GpuInfo() if with_gpu_stats else None
    has_bars = with_pbars and idist.get_rank() == 0
    bar_of_iterations = ProgressBar(persist=False) if has_bars and with_pbar_on_iters else None
    bar_of_epochs = ProgressBar(persist=True, bar_format="") if has_bars else None
    checkpoint = checkpoint_of(to_save, output_path, save_handler, kwargs)

    if stop_on_nan:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    if lr_scheduler is not None:
        trainer.add_event_handler(on_schedule, *schedule)
    if clear_cuda_cache and torch.cuda.is_available():
        trainer.add_event_handler(Events.EPOCH_COMPLETED, empty_cuda_cache)
    if checkpoint is not None:
        trainer.add_event_handler(on_save, checkpoint)
    if gpu_info is not None:
        gpu_info.attach(trainer, name="gpu", event_name=on_log)
    for name, average in averages:
        average.attach(trainer, name)
    if bar_of_iterations is not None:
        bar_of_iterations.attach(trainer, metric_names="all", event_name=on_log)
    if bar_of_epochs is not None:
        bar_of_epochs.attach(
            trainer, event_name=Events.EPOCH_STARTED, closing_event_name=Events.COMPLETED
        )
    if sets_epoch:
        trainer.add_event_handler(Events.EPOCH_STARTED, set_epoch, train_sampler)


setup_common_distrib_training_handlers = setup_common_training_handlers


def save_best_model_by_val_score(
    output_path: str,
    evaluator: AnyEngine,
    model: torch.nn.Module,
    metric_name: str,
    n_saved: int = 3,
    trainer: AnyEngine | None = None,
    tag: str = "val",
    score_sign: float = 1.0,
    **kwargs: Any,
) -> Checkpoint:
    """Saves the model with the best metrics to a folder.

    See :func:`gen_save_best_models_by_val_score`.

    Args:
        output_path: the folder. Existing files are kept.
        evaluator, metric_name, n_saved, trainer, tag, score_sign, **kwargs: see
            :func:`gen_save_best_models_by_val_score`.
        model: the model, saved as "model".
    """
    saver = disk_saver(output_path, kwargs)
    return gen_save_best_models_by_val_score(
        saver, evaluator, model, metric_name, n_saved, trainer, tag, score_sign, **kwargs
    )


def gen_save_best_models_by_val_score(
    save_handler: SaveHandler,
    evaluator: AnyEngine,
    models: torch.nn.Module | dict[str, torch.nn.Module],
    metric_name: str,
    n_saved: int = 3,
    trainer: AnyEngine | None = None,
    tag: str = "val",
    score_sign: float = 1.0,
    **kwargs: Any,
) -> Checkpoint:
    """Saves models after each run of ``evaluator``, and keeps those with the best metrics.

    Args:
        save_handler: the save handler; see :class:`Checkpoint`.
        evaluator: the engine whose metric is the score.
        models: a model, which is saved as "model", or several models by name.
        metric_name: the name in ``evaluator.state.metrics``; in lower case part of file names.
        n_saved: number of files to keep.
        trainer: if given, its epoch is part of file names.
        tag: prefix of the metric in file names.
        score_sign: -1 if a lower metric is better.
        **kwargs: passed to :class:`Checkpoint`; override the arguments set here.

    Returns:
        The attached handler.

    Raises:
        TypeError: an object cannot be saved.
        ValueError: ``score_sign`` is neither 1 nor -1.

    Example:
        >>> evaluator, model = Engine(lambda engine, batch: None), torch.nn.Linear(1, 1)
        >>> def write(checkpoint, filename):
        ...     print(filename)
        >>> best = gen_save_best_models_by_val_score(write, evaluator, model, "Accuracy")
        >>> for evaluator.state.metrics["Accuracy"] in (0.5, 0.75):
        ...     evaluator.fire_event(Events.COMPLETED)
        best_model_val_accuracy=0.5000.pt
        best_model_val_accuracy=0.7500.pt
    """
    options = {
        "filename_prefix": "best",
        "score_function": get_default_score_fn(metric_name, score_sign),
        "score_name": f"{tag}_{metric_name.lower()}",
        "n_saved": n_saved,
        "global_step_transform": None if trainer is None else global_step_from_engine(trainer),
        **kwargs,
    }
    checkpoint = Checkpoint(
        models if isinstance(models, Mapping) else {"model": models}, save_handler, **options
    )
    evaluator.add_event_handler(Events.COMPLETED, checkpoint)
    return checkpoint


def add_early_stopping_by_val_score(
    patience: int,
    evaluator: AnyEngine,
    trainer: AnyEngine,
    metric_name: str,
    score_sign: float = 1.0,
) -> EarlyStopping:
    """Stops ``trainer`` when a metric has not improved in ``patience`` runs of ``evaluator``.

    Args:
        patience: see :class:`EarlyStopping`.
        evaluator: the engine whose metric is the score.
        trainer: the engine to stop.
        metric_name: the name in ``evaluator.state.metrics``.
        score_sign: -1 if a lower metric is better.

    Returns:
        The attached handler.

    Raises:
        TypeError: ``trainer`` is not an engine.
        ValueError: a number is out of range.
    """
    stopper = EarlyStopping(patience, get_default_score_fn(metric_name, score_sign), trainer)
    evaluator.add_event_handler(Events.COMPLETED, stopper)
    return stopper


def empty_cuda_cache(_: AnyEngine) -> None:
    """Releases unused GPU memory to the driver.

    Takes some milliseconds and synchronizes with the GPU.
    """
    gc.collect()  # first, because it deletes tensors in reference cycles
    torch.cuda.empty_cache()


def setup_any_logging(
    logger: BaseLogger,
    logger_module: Any,
    trainer: AnyEngine,
    optimizers: Any,
    evaluators: AnyEngine | dict[str, AnyEngine] | None,
    log_every_iters: int,
) -> None:
    """Deprecated.

    Raises:
        DeprecationWarning: always.
    """
    raise DeprecationWarning(
        "setup_any_logging has been deprecated since version 0.4.0: use setup_tb_logging, "
        "setup_mlflow_logging or the attach methods of the logger"
    )


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
