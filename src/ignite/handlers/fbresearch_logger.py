"""Progress as lines of text in a log, one every some iterations."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from ignite._core.logs import to_str_list
from ignite.engine import Engine, Events
from ignite.handlers.timing import Timer

__all__ = ["FBResearchLogger"]

MB = 1024.0 * 1024.0


class FBResearchLogger:
    """Writes epoch, iteration, time left, learning rates, output and times to a logger, at level INFO.

    An output is read only for a line, and only if the logger writes it: the other iterations do not
    wait for the device. Times are means over the epoch so far; what is left is that of the epoch.

    Args:
        logger: where lines go, as ``logging.getLogger(...)`` or :func:`~ignite.utils.setup_logger`
            gives.
        delimiter: between the parts of a line.
        show_output: whether lines show the output of the step.

    Example:
        >>> import sys
        >>> logger = logging.getLogger("fbresearch.example")
        >>> logger.setLevel(logging.INFO)
        >>> logger.addHandler(logging.StreamHandler(sys.stdout))
        >>> trainer = Engine(lambda engine, batch: {"loss": batch / 2})
        >>> FBResearchLogger(logger, show_output=True).attach(trainer, name="Train", every=2)
        >>> _ = trainer.run(range(4), max_epochs=1)  # doctest: +ELLIPSIS
        Train: start epoch [1/1]
        Epoch [1/1]  [2/4]:  ETA: 0:00:00  loss: 0.5000  Iter time: 0.00... s  Data prep time: 0.00... s
        Epoch [1/1]  [4/4]:  ETA: 0:00:00  loss: 1.5000  Iter time: 0.00... s  Data prep time: 0.00... s
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

    def attach(
        self,
        engine: Engine[Any, Any],
        name: str,
        every: int = 1,
        output_transform: Callable[[Any], Any] | None = None,
        state_attributes: list[str] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        """Writes the lines of ``engine``. One logger object is for one engine.

        Args:
            engine: a trainer or an evaluator.
            name: how lines call it.
            every: iterations from one line to the next.
            output_transform: what of ``engine.state.output`` is shown; by default all of it.
            state_attributes: names of attributes of ``engine.state`` to show.
            optimizer: to show the learning rates of.

        Raises:
            TypeError: ``state_attributes`` is one name.
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
        """Writes the line of an iteration."""
        if not self.logger.isEnabledFor(logging.INFO):
            return
        state = engine.state
        done, length = engine.iteration_in_epoch, state.epoch_length
        seconds = self.iter_timer.value()
        parts = [f"Epoch {_place(state.epoch, state.max_epochs)}", f"{_place(done, length)}:"]
        if length is not None:
            parts.append(f"ETA: {_clock(seconds * (length - done))}")
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
        """Writes the line of an epoch that begins."""
        self.logger.info(
            "%s: start epoch %s", name, _place(engine.state.epoch, engine.state.max_epochs)
        )

    def log_epoch_completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Writes the line of an epoch that is over: how long it took, in all and per iteration."""
        state = engine.state
        seconds = state.times["EPOCH_COMPLETED"] or 0.0
        num_done = engine.iteration_in_epoch
        parts = [
            f"{name}: Epoch {_place(state.epoch, state.max_epochs)}",
            f"Total time: {_clock(seconds)}",
            f"({seconds / max(num_done, 1):.4f} s / it)",
        ]
        self.logger.info(self.delimiter.join(parts))

    def log_completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Writes the line of a run of several epochs that is over."""
        if engine.state.epoch > 1:
            total = _clock(engine.state.times["COMPLETED"] or 0.0)
            self.logger.info(
                self.delimiter.join([f"{name}: run completed", f"Total time: {total}"])
            )


def _place(number: int, total: int | None) -> str:
    return f"[{number}]" if total is None else f"[{number}/{total}]"


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


def _rates(optimizer: Optimizer) -> str:
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if len(rates) == 1:
        return f"lr: {rates[0]:.5f}"
    return ", ".join(f"lr [g{index}]: {rate:.5f}" for index, rate in enumerate(rates))
