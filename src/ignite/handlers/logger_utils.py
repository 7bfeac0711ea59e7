"""One-line setup of loggers for training and validation metrics and learning rates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer

from ignite.engine import Engine, Events
from ignite.handlers.base_logger import BaseLogger
from ignite.handlers.clearml_logger import ClearMLLogger
from ignite.handlers.mlflow_logger import MLflowLogger
from ignite.handlers.neptune_logger import NeptuneLogger
from ignite.handlers.polyaxon_logger import PolyaxonLogger
from ignite.handlers.tensorboard_logger import TensorboardLogger
from ignite.handlers.utils import global_step_from_engine
from ignite.handlers.visdom_logger import VisdomLogger
from ignite.handlers.wandb_logger import WandBLogger

__all__ = [
    "setup_clearml_logging",
    "setup_mlflow_logging",
    "setup_neptune_logging",
    "setup_plx_logging",
    "setup_tb_logging",
    "setup_trains_logging",
    "setup_visdom_logging",
    "setup_wandb_logging",
]


def setup_tb_logging(
    output_path: str,
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> TensorboardLogger:
    """Creates a ``TensorboardLogger`` for training and validation metrics, and learning rates.

    Args:
        output_path: the folder of the logger.
        trainer: its metrics are logged every ``log_every_iters`` iterations, as ``training/...``.
        optimizers: their learning rates are logged equally often, as ``lr/group_0``; keys of a
            dictionary become prefixes.
        evaluators: their metrics are logged after each run, as ``validation/...``, or with the keys
            of a dictionary as tags; the step is the epoch of the trainer.
        log_every_iters: interval in iterations; None for 1.
        trainer_metric_names: the metrics to log: a list, or "all".
        evaluator_metric_names: the same for the metrics of the evaluators.
        **kwargs: passed to the logger.

    Returns:
        The logger. Close it at the end.

    Raises:
        TypeError: optimizers or evaluators have another type.
        ModuleNotFoundError: neither tensorboardX nor tensorboard is installed.
    """
    logger = TensorboardLogger(log_dir=output_path, **kwargs)
    names = (trainer_metric_names, evaluator_metric_names)
    _attach(logger, trainer, optimizers, evaluators, log_every_iters, *names)
    return logger


def setup_mlflow_logging(
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> MLflowLogger:
    """Creates an ``MLflowLogger`` for training and validation; see :func:`setup_tb_logging`."""
    logger = MLflowLogger(**kwargs)
    names = (trainer_metric_names, evaluator_metric_names)
    _attach(logger, trainer, optimizers, evaluators, log_every_iters, *names)
    return logger


def setup_clearml_logging(
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> ClearMLLogger:
    """Creates a ``ClearMLLogger`` for training and validation; see :func:`setup_tb_logging`."""
    logger = ClearMLLogger(**kwargs)
    names = (trainer_metric_names, evaluator_metric_names)
    _attach(logger, trainer, optimizers, evaluators, log_every_iters, *names)
    return logger


def setup_neptune_logging(
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> NeptuneLogger:
    """Creates a ``NeptuneLogger`` for training and validation; see :func:`setup_tb_logging`."""
    logger = NeptuneLogger(**kwargs)
    names = (trainer_metric_names, evaluator_metric_names)
    _attach(logger, trainer, optimizers, evaluators, log_every_iters, *names)
    return logger


def setup_plx_logging(
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> PolyaxonLogger:
    """Creates a ``PolyaxonLogger`` for training and validation; see :func:`setup_tb_logging`."""
    logger = PolyaxonLogger(**kwargs)
    names = (trainer_metric_names, evaluator_metric_names)
    _attach(logger, trainer, optimizers, evaluators, log_every_iters, *names)
    return logger


def setup_visdom_logging(
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> VisdomLogger:
    """Creates a ``VisdomLogger`` for training and validation; see :func:`setup_tb_logging`."""
    logger = VisdomLogger(**kwargs)
    names = (trainer_metric_names, evaluator_metric_names)
    _attach(logger, trainer, optimizers, evaluators, log_every_iters, *names)
    return logger


def setup_wandb_logging(
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> WandBLogger:
    """Creates a ``WandBLogger`` for training and validation; see :func:`setup_tb_logging`.

    The step of validation metrics is the iteration of the trainer, because W&B drops values of
    earlier steps.
    """
    logger = WandBLogger(**kwargs)
    names = (trainer_metric_names, evaluator_metric_names)
    _attach(
        logger,
        trainer,
        optimizers,
        evaluators,
        log_every_iters,
        *names,
        lambda *_: int(trainer.state.iteration),
    )
    return logger


def setup_trains_logging(
    trainer: Engine[Any, Any],
    optimizers: Optimizer | dict[str, Optimizer] | None = None,
    evaluators: Engine[Any, Any] | dict[str, Engine[Any, Any]] | None = None,
    log_every_iters: int = 100,
    *,
    trainer_metric_names: str | list[str] = "all",
    evaluator_metric_names: str | list[str] = "all",
    **kwargs: Any,
) -> ClearMLLogger:
    """Deprecated: :func:`setup_clearml_logging`."""
    warnings.warn("setup_trains_logging was renamed to setup_clearml_logging.", stacklevel=2)
    return setup_clearml_logging(
        trainer,
        optimizers,
        evaluators,
        log_every_iters,
        trainer_metric_names=trainer_metric_names,
        evaluator_metric_names=evaluator_metric_names,
        **kwargs,
    )


def _attach(
    logger: BaseLogger,
    trainer: Engine[Any, Any],
    optimizers: Any,
    evaluators: Any,
    log_every_iters: int | None,
    trainer_metric_names: str | list[str],
    evaluator_metric_names: str | list[str],
    step_of_evaluators: Callable[[Any, Any], int] | None = None,
) -> None:
    every = 1 if log_every_iters is None else log_every_iters
    try:
        by_prefix = _named(
            optimizers,
            "optimizers",
            "optimizer",
            lambda value: hasattr(value, "param_groups"),
            None,
        )
        by_tag = _named(
            evaluators,
            "evaluators",
            "engine",
            lambda value: isinstance(value, Engine),
            "validation",
        )
    except TypeError:
        logger.close()
        raise
    logger.attach_output_handler(
        trainer,
        Events.ITERATION_COMPLETED(every=every),
        tag="training",
        metric_names=trainer_metric_names,
    )
    for prefix, optimizer in by_prefix.items():
        logger.attach_opt_params_handler(
            trainer, Events.ITERATION_STARTED(every=every), optimizer, param_name="lr", tag=prefix
        )
    step = step_of_evaluators or global_step_from_engine(trainer)
    for tag, evaluator in by_tag.items():
        logger.attach_output_handler(
            evaluator,
            Events.COMPLETED,
            tag=tag,
            metric_names=evaluator_metric_names,
            global_step_transform=step,
        )


def _named(
    value: Any, argument: str, what: str, is_one: Any, name: str | None
) -> Mapping[Any, Any]:
    """Returns a dictionary, given a single object, a dictionary, or None."""
    if value is None:
        return {}
    named = value if isinstance(value, Mapping) else {name: value}
    for one in named.values():
        if not is_one(one):
            raise TypeError(
                f"Argument {argument} should be either a single {what} or a dictionary of them, "
                f"but given {type(one).__name__}"
            )
    return named
