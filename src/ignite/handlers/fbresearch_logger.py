"""Progress of a run as log lines."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from ignite._core.logs import to_str_list
from ignite._core.old_arguments import OldOrder, takes_old
from ignite.engine import Engine, Events
from ignite.handlers.timing import Timer

__all__ = ["FBResearchLogger"]

MB = 1024.0 * 1024.0


class FBResearchLogger:
    """Logs the progress of a run: epoch, iteration, ETA, learning rates, output and times.

    Lines have the level INFO. The output is read, and the device synchronized, only when a line is
    logged. Times are means over the current epoch; the ETA is the time to the end of the epoch.

    Args:
        logger: a logger, from ``logging.getLogger(...)`` or :func:`~ignite.utils.setup_logger`.
        delimiter: separator between the parts of a line.
        show_output: whether to show the output of the step.

    Example:
        >>> import sys
        >>> logger = logging.getLogger("fbresearch.example")
        >>> logger.setLevel(logging.INFO)
        >>> logger.addHandler(logging.StreamHandler(sys.stdout))
        >>> trainer = Engine(lambda engine, batch: {"loss": batch / 2})
        >>> FBResearchLogger(logger, show_output=True).attach(trainer, name="Train", every=2)
        >>> _ = trainer.run(range(4), max_epochs=1)  # doctest: +ELLIPSIS
        Train: start epoch [1/1]
        Epoch [1/1]  [2/4]:  ETA: 0:00:00  loss: 0.5000  Iter time: 0.00... s  Data prep time: ... s
        Epoch [1/1]  [4/4]:  ETA: 0:00:00  loss: 1.5000  Iter time: 0.00... s  Data prep time: ... s
        Train: Epoch [1/1]  Total time: 0:00:00  (0.00... s / it)
    """

    def __init__(self, logger: Any, delimiter: str = "  ", show_output: bool = False) -> None:
        self.logger = logger
        self.delimiter = delimiter
        self.show_output = show_output
        self.output_transform: Callable[[Any], Any] = lambda output: output
        self.state_attributes: list[str] = []
        self.iter_timer = Timer(average=True)
        self.data_timer = Timer(average=True)

    @takes_old(
        OldOrder(
            "engine name every optimizer",
            lambda values: len(values) > 3 and hasattr(values[3], "param_groups"),
        )
    )
    def attach(
        self,
        engine: Engine[Any, Any],
        name: str,
        every: int = 1,
        output_transform: Callable[[Any], Any] | None = None,
        state_attributes: list[str] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        """Logs the progress of ``engine``. Use one logger object per engine.

        Args:
            engine: a trainer or an evaluator.
            name: name of the engine in the log.
            every: number of iterations between two lines.
            output_transform: selects what to show from ``engine.state.output``; everything by
                default.
            state_attributes: names of attributes of ``engine.state`` to show.
            optimizer: the optimizer whose learning rates are shown.

        Raises:
            TypeError: ``state_attributes`` is a string.
            ValueError: ``every`` is not a positive integer.
        """
        if isinstance(state_attributes, str):
            raise TypeError(
                f"state_attributes should be a list of names, but given {state_attributes!r}"
            )
        event = Events.ITERATION_COMPLETED(every=every)
        self.iter_timer.attach(
            engine,
            start=Events.EPOCH_STARTED,
            pause=Events.ITERATION_COMPLETED,
            resume=Events.GET_BATCH_STARTED,
            step=Events.ITERATION_COMPLETED,
        )
        self.data_timer.attach(
            engine,
            start=Events.EPOCH_STARTED,
            pause=Events.GET_BATCH_COMPLETED,
            resume=Events.GET_BATCH_STARTED,
            step=Events.GET_BATCH_COMPLETED,
        )
        engine.add_event_handler(event, self.log_every, optimizer=optimizer)
        engine.add_event_handler(Events.EPOCH_STARTED, self.log_epoch_started, name=name)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_epoch_completed, name=name)
        engine.add_event_handler(Events.COMPLETED, self.log_completed, name=name)
        self.output_transform = output_transform or self.output_transform
        self.state_attributes = state_attributes or []

    def log_every(self, engine: Engine[Any, Any], optimizer: Optimizer | None = None) -> None:
        """Logs the progress within the epoch."""
        if not self.logger.isEnabledFor(logging.INFO):
            return
        state = engine.state
        done, length = engine.iteration_in_epoch, state.epoch_length
        seconds = self.iter_timer.value()
        parts = [f"Epoch {_count(state.epoch, state.max_epochs)}", f"{_count(done, length)}:"]
        if length is not None:
            parts.append(f"ETA: {_duration(seconds * (length - done))}")
        if optimizer is not None:
            parts.append(_rates(optimizer))
        if self.show_output:
            parts += to_str_list(self.output_transform(state.output))
        parts += to_str_list({name: getattr(state, name, None) for name in self.state_attributes})
        parts += [f"Iter time: {seconds:.4f} s", f"Data prep time: {self.data_timer.value():.4f} s"]
        if torch.cuda.is_available():
            parts.append(f"GPU Max Mem: {torch.cuda.max_memory_allocated() / MB:.0f} MB")
        self.logger.info(self.delimiter.join(parts))

    def log_epoch_started(self, engine: Engine[Any, Any], name: str) -> None:
        """Logs the start of an epoch."""
        self.logger.info(
            "%s: start epoch %s", name, _count(engine.state.epoch, engine.state.max_epochs)
        )

    def log_epoch_completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Logs the duration of an epoch, in total and per iteration."""
        state = engine.state
        seconds = state.times["EPOCH_COMPLETED"] or 0.0
        num_done = engine.iteration_in_epoch
        parts = [
            f"{name}: Epoch {_count(state.epoch, state.max_epochs)}",
            f"Total time: {_duration(seconds)}",
            f"({seconds / max(num_done, 1):.4f} s / it)",
        ]
        self.logger.info(self.delimiter.join(parts))

    def log_completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Logs the duration of a run of several epochs."""
        if engine.state.epoch > 1:
            total = _duration(engine.state.times["COMPLETED"] or 0.0)
            self.logger.info(
                self.delimiter.join([f"{name}: run completed", f"Total time: {total}"])
            )


def _count(number: int, total: int | None) -> str:
    return f"[{number}]" if total is None else f"[{number}/{total}]"


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


def _rates(optimizer: Optimizer) -> str:
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if len(rates) == 1:
        return f"lr: {rates[0]:.5f}"
    return ", ".join(f"lr [g{index}]: {rate:.5f}" for index, rate in enumerate(rates))
