"""What most trainings have attached, in one call: checkpoints, averages, progress bars, early stopping."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.utils.data.distributed import DistributedSampler

from ignite import distributed as idist
from ignite.contrib.engines._parts import (
    averages_of,
    checkpoint_of,
    disk_saver,
    schedule_of,
    tell_epoch,
    tells_epoch,
)
from ignite.engine import Engine, Events
from ignite.handlers.base_logger import BaseLogger
from ignite.handlers.checkpoint import BaseSaveHandler, Checkpoint
from ignite.handlers.early_stopping import EarlyStopping
from ignite.handlers.logger_utils import setup_mlflow_logging, setup_tb_logging
from ignite.handlers.param_scheduler import ParamScheduler
from ignite.handlers.terminate_on_nan import TerminateOnNan
from ignite.handlers.tqdm_logger import ProgressBar
from ignite.handlers.utils import global_step_from_engine
from ignite.metrics import GpuInfo

__all__ = [
    "add_early_stopping_by_val_score",
    "empty_cuda_cache",
    "gen_save_best_models_by_val_score",
    "get_default_score_fn",
    "save_best_model_by_val_score",
    "setup_any_logging",
    "setup_common_distrib_training_handlers",
    "setup_common_training_handlers",
    "setup_mlflow_logging",
    "setup_tb_logging",
]

AnyEngine = Engine[Any, Any]
Scheduler = ParamScheduler | TorchScheduler | Callable[..., Any]
SaveHandler = Callable[..., Any] | BaseSaveHandler

get_default_score_fn = Checkpoint.get_default_score_fn


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
    """Attaches what most trainings need. If it raises, nothing has been attached.

    Args:
        trainer: to what.
        train_sampler: over several processes, it is told the epoch, so that each has another order.
        to_save: objects to save every ``save_every_iters`` iterations; see :class:`Checkpoint`.
        save_every_iters: at least 1.
        output_path: the folder to save to. It may hold files, and they are left there.
        lr_scheduler: torch's, stepped after each iteration; or Ignite's, or a handler, called
            before each.
        with_gpu_stats: put the use of GPUs into the metrics. See :class:`GpuInfo`.
        output_names: running averages of the trainer's output, in its metrics under these names:
            the outputs with these keys if it is a dictionary, those at these positions if it is a
            list or tuple, or the only one.
        with_pbars: show progress bars, in the first process.
        with_pbar_on_iters: one bar for each epoch, with all metrics, besides that of epochs.
        log_every_iters: after how many iterations to move that bar, and to look at the GPUs; at
            least 1.
        stop_on_nan: see :class:`TerminateOnNan`.
        clear_cuda_cache: after each epoch, if there is a GPU; see :func:`empty_cuda_cache`.
        save_handler: writes what is saved, instead of ``output_path``.
        **kwargs: for :class:`Checkpoint`.

    Raises:
        TypeError: ``lr_scheduler`` is no scheduler that steps without a metric; over several
            processes, ``train_sampler`` has no ``set_epoch``; or, in the run, the output is none of
            the above.
        ValueError: there is not exactly one place to save to, or a number is less than 1.
        KeyError, IndexError: in the run, the output has nothing for one of ``output_names``.
        ModuleNotFoundError: a package is not installed that progress bars or ``with_gpu_stats``
            need.

    Example:
        >>> trainer = Engine(lambda engine, batch: {"loss": batch})
        >>> setup_common_training_handlers(trainer, output_names=["loss"], with_pbars=False)
        >>> trainer.run([1.0, float("nan"), 3.0]).iteration
        2
    """
    is_told_epoch = tells_epoch(train_sampler)
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
    if is_told_epoch:
        trainer.add_event_handler(Events.EPOCH_STARTED, tell_epoch, train_sampler)


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
    """Saves the model with the best metrics to a folder; see :func:`gen_save_best_models_by_val_score`.

    Args:
        output_path: the folder. It may hold files, and they are left there.
        evaluator, metric_name, n_saved, trainer, tag, score_sign, **kwargs: as there.
        model: saved as "model".
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
    """Saves models when a run of ``evaluator`` has ended, and keeps those with the best metrics.

    Args:
        save_handler: writes them; see :class:`Checkpoint`.
        evaluator: whose metric is the score.
        models: one, which is called "model", or several with their names.
        metric_name: its name in ``evaluator.state.metrics``; the file has it in lower case.
        n_saved: how many to keep.
        trainer: whose epochs are in the names of files; without it, there are none.
        tag: stands before the metric's name in those of files.
        score_sign: -1 if a lower metric is better.
        **kwargs: for :class:`Checkpoint`, and go before what is said here.

    Returns:
        The handler that is attached.

    Raises:
        TypeError: something cannot be saved.
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
    """Stops ``trainer`` when ``patience`` runs of ``evaluator`` have not improved a metric.

    Args:
        patience: see :class:`EarlyStopping`.
        evaluator: whose metric is the score.
        trainer: what is stopped.
        metric_name: its name in ``evaluator.state.metrics``.
        score_sign: -1 if a lower metric is better.

    Returns:
        The handler that is attached.

    Raises:
        TypeError: ``trainer`` is no engine.
        ValueError: a number is out of range.
    """
    stopper = EarlyStopping(patience, get_default_score_fn(metric_name, score_sign), trainer)
    evaluator.add_event_handler(Events.COMPLETED, stopper)
    return stopper


def empty_cuda_cache(_: AnyEngine) -> None:
    """Gives memory of the GPU that no tensor uses back to the driver.

    Takes milliseconds, and waits for the GPU.
    """
    gc.collect()  # first: tensors in reference cycles hold memory until then
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
        "setup_any_logging has been deprecated since version 0.4.0: use setup_tb_logging, setup_mlflow_logging or the "
        "attach methods of the logger"
    )
