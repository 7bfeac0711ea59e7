"""Handlers that one call of ``fit`` attaches to its engines."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ignite import distributed as idist
from ignite.engine import Engine, Events
from ignite.engine.extension import Added
from ignite.handlers import (
    Checkpoint,
    EarlyStopping,
    EMAHandler,
    JSONLLogger,
    LiveControl,
    Preemption,
    RunProfiler,
    TensorboardLogger,
    global_step_from_engine,
)
from ignite.learner._events import add_callbacks
from ignite.learner._journal import Journal, attached_to
from ignite.learner._progress import shown
from ignite.learner._runs import Provenance, Recorder, is_save_due, loss_of, numbers_in, scalars_in
from ignite.learner._schedules import Schedule
from ignite.metrics import MetricGroup

__all__ = [
    "MEASURED",
    "BestWeights",
    "Folder",
    "Handlers",
    "Monitor",
    "Validation",
    "attached",
    "no_such_monitor",
]

MEASURED = "measured"
"""Name of the group of training metrics in ``trainer.state.metrics``."""
_LOG_EVERY = 10
# Handlers of users at the end of an epoch run after its metrics are known.
_BEFORE_THE_USER = 1


class BestWeights:
    """Keeps a copy of the weights of the best epoch, and of their moving average.

    Args:
        model: the model.
        average: the moving average of its weights, which is scored if there is one; or None.
        score: returns the score of the epoch; higher is better, NaN never is.
    """

    def __init__(
        self, model: nn.Module, average: EMAHandler | None, score: Callable[[], float]
    ) -> None:
        self._model = model
        self._average = average
        self._score = score
        self.best = -math.inf
        self.weights: dict[str, Any] | None = None
        self.averages: dict[str, Any] | None = None

    def note(self, engine: Engine[Any, Any]) -> None:
        """Copies the weights if the epoch that has ended is the best one."""
        score = self._score()
        if score > self.best:
            self.best = score
            self.weights = copy.deepcopy(self._model.state_dict())
            self.averages = (
                None if self._average is None else copy.deepcopy(self._average.state_dict())
            )

    def restore(self) -> None:
        """Loads the best weights into the model, if there are any."""
        if self.weights is not None:
            self._model.load_state_dict(self.weights)
        if self._average is not None and self.averages is not None:
            self._average.load_state_dict(self.averages)

    def state_dict(self) -> dict[str, Any]:
        """Returns the best score and weights."""
        return {"best": self.best, "weights": self.weights, "averages": self.averages}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the best score and weights."""
        self.best, self.weights = state_dict["best"], state_dict["weights"]
        self.averages = state_dict["averages"]


@dataclass(frozen=True)
class Folder:
    """The folder of a run, and the objects to save in addition to those attached to the trainer."""

    path: Path
    objects: Mapping[str, Any]
    save_every: Any
    score: Callable[[Engine[Any, Any]], float] | None
    provenance: Provenance
    is_paced: bool
    """Whether to skip saves that would take too large a fraction of the time."""
    rates: Callable[[], Mapping[str, Any]]
    """Returns the learning rates by name."""
    measured: Sequence[str] = ()
    """Names of the metrics of the training, which are logged after each epoch."""
    valid: Any = None
    """Batches of the validation, whose state is saved, too."""


@dataclass(frozen=True)
class Handlers:
    """Handlers that are attached during one call of ``fit``.

    None for those that are not requested.
    """

    measured: MetricGroup | None
    """Metrics of the training batches."""
    validation: Validation | None
    schedule: Schedule
    callbacks: Mapping[Any, Any]
    """Functions of the user by event."""
    stopping: EarlyStopping | None
    best: BestWeights | None
    folder: Folder | None
    progress: bool | str


@contextlib.contextmanager
def attached(
    trainer: Engine[Any, Any],
    evaluator: Engine[Any, Any] | None,
    recorder: Recorder,
    handlers: Handlers,
) -> Iterator[None]:
    """Attaches the handlers of one call of ``fit`` for the block.

    Handlers of users stay attached.
    """
    added = Added(trainer, *([] if evaluator is None else [evaluator]))
    with contextlib.ExitStack() as stack:
        stack.callback(added.take_off)
        with added:
            _add(trainer, evaluator, recorder, handlers)
            if handlers.progress is not False:
                shown(trainer, evaluator, recorder, handlers.progress)
            if handlers.validation is not None and evaluator is not None:
                _let_validate(trainer, evaluator, handlers.validation.evaluate, stack)
            if handlers.folder is not None:
                _keep(trainer, evaluator, recorder, handlers.folder, stack)
        yield


def _add(
    trainer: Engine[Any, Any],
    evaluator: Engine[Any, Any] | None,
    recorder: Recorder,
    handlers: Handlers,
) -> None:
    on, schedule = trainer.add_event_handler, handlers.schedule
    if schedule.handler is not None:
        on(schedule.event, schedule.handler)
    on(Events.EPOCH_STARTED, recorder.begin_epoch)
    on(Events.TERMINATE, recorder.end_early, priority=_BEFORE_THE_USER)
    if (measured := handlers.measured) is not None:
        on(Events.EPOCH_STARTED, measured.started)
        on(Events.ITERATION_COMPLETED, measured.iteration_completed)
        on(Events.EPOCH_COMPLETED, measured.completed, MEASURED, priority=_BEFORE_THE_USER)
    best = None if handlers.best is None else handlers.best.note
    plateau = None if schedule.plateau is None else schedule.plateau.note
    scored = [one for one in (handlers.stopping, best, plateau) if one is not None]
    validation = handlers.validation

    def validate(
        engine: Engine[Any, Any],
    ) -> None:  # a name for what describes and measures the run
        assert validation is not None
        validation(engine)

    if validation is not None and validation.every is not None:
        validation.followers, scored = scored, []
        every = Events.ITERATION_COMPLETED(every=validation.every)
        on(every, validate, priority=_BEFORE_THE_USER)
    for handler in [None if validation is None else validate, recorder.end_epoch, *scored]:
        if handler is not None:
            on(Events.EPOCH_COMPLETED, handler, priority=_BEFORE_THE_USER)
    add_callbacks(trainer, evaluator, handlers.callbacks)


def _let_validate(
    trainer: Engine[Any, Any],
    evaluator: Engine[Any, Any],
    evaluate: Callable[[], None],
    stack: contextlib.ExitStack,
) -> None:
    """Makes the validation an action of the trainer's control, unless the program has one."""

    def action(engine: Engine[Any, Any]) -> dict[str, float]:
        evaluate()
        return numbers_in(evaluator.state.metrics)

    control = trainer.control
    if "validate" not in control.actions:
        control.add("validate", action)
        stack.callback(control.remove, "validate")


def _keep(
    trainer: Engine[Any, Any],
    evaluator: Engine[Any, Any] | None,
    recorder: Recorder,
    folder: Folder,
    stack: contextlib.ExitStack,
) -> None:
    if idist.get_rank() == 0:
        on, journal = trainer.add_event_handler, Journal(folder.path, recorder)
        stack.enter_context(journal.told(trainer))
        on(Events.STARTED, folder.provenance.note, priority=_BEFORE_THE_USER)
        on(Events.STARTED, journal.note_start, priority=_BEFORE_THE_USER)
        on(Events.EPOCH_COMPLETED, journal.note_epoch, priority=_BEFORE_THE_USER)
        _log(trainer, evaluator, folder, stack)
    checkpoint = Checkpoint.of(
        trainer,
        folder.path / "checkpoints",
        event=folder.save_every,
        score=folder.score,
        **folder.objects,
    )
    if folder.valid is not None:
        checkpoint.data["valid"] = folder.valid
    if folder.is_paced:
        checkpoint.pace = is_save_due
    LiveControl(folder.path).attach(trainer)
    if idist.get_world_size() == 1 and attached_to(trainer, Preemption) is None:
        Preemption().attach(trainer)


def _log(
    trainer: Engine[Any, Any],
    evaluator: Engine[Any, Any] | None,
    folder: Folder,
    stack: contextlib.ExitStack,
) -> None:
    loggers: list[Any] = [JSONLLogger(folder.path / "scalars.jsonl")]
    if importlib.util.find_spec("tensorboard") or importlib.util.find_spec("tensorboardX"):
        loggers.append(TensorboardLogger(str(folder.path / "tensorboard")))
    profiler = attached_to(trainer, RunProfiler)
    for logger in loggers:
        stack.enter_context(logger)
        event = Events.ITERATION_COMPLETED(every=_LOG_EVERY)
        logger.attach_output_handler(
            trainer,
            event,
            tag="training",
            output_transform=lambda output: {"loss": loss_of(output), **folder.rates()},
        )
        if folder.measured:
            logger.attach_output_handler(
                trainer,
                Events.EPOCH_COMPLETED,
                tag="training",
                output_transform=lambda output: scalars_in(
                    {name: trainer.state.metrics[name] for name in folder.measured}
                ),
                global_step_transform=lambda engine, event: engine.state.iteration,
            )
        if profiler is not None:
            logger.attach_output_handler(
                trainer,
                Events.EPOCH_COMPLETED,
                tag="training",
                output_transform=profiler.scalars,
                global_step_transform=lambda engine, event: engine.state.iteration,
            )
        if evaluator is not None:
            logger.attach_output_handler(
                evaluator,
                Events.COMPLETED,
                tag="validation",
                output_transform=lambda output: scalars_in(evaluator.state.metrics),
                global_step_transform=global_step_from_engine(trainer, Events.ITERATION_COMPLETED),
            )


class Validation:
    """Runs the validation at the end of an epoch, and also every so many steps.

    Args:
        run: runs the evaluator.
        recorder: records the results.
        every: number of steps between two validations within an epoch; None for none.
    """

    def __init__(self, run: Callable[[], Any], recorder: Recorder, every: int | None) -> None:
        self.every = every
        self.followers: Sequence[Callable[[Engine[Any, Any]], Any]] = ()
        """Called after each validation."""
        self._run, self._recorder = run, recorder

    def evaluate(self) -> None:
        """Validates without recording it, when the trainer's control asks for it."""
        self._run()

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Validates, unless that was done after the same step."""
        if self.every is None:
            self._run()
        elif not self._recorder.is_validated_at(engine.state.iteration):
            self._run()
            self._recorder.note_validation(engine)
            for follow in self.followers:
                follow(engine)


class Monitor:
    """Reads a metric of the epoch that has ended, as a score: higher is better.

    Args:
        name: name of the metric.
        mode: whether a higher ("max") or a lower ("min") value is better.
        recorder: the recorder whose history has the metric.
        by_validation: whether to read the last validation, not the last epoch.
    """

    def __init__(
        self, name: str, mode: str, recorder: Recorder, by_validation: bool = False
    ) -> None:
        self.name, self.mode = name, mode
        self._by_validation = by_validation
        self._recorder = recorder
        self._sign = 1 if mode == "max" else -1

    def __call__(self, *args: Any) -> float:
        history = self._recorder.history
        rows = history.validations if self._by_validation else history.epochs
        if not rows:
            return math.nan
        if self.name not in rows[-1]:
            raise ValueError(
                no_such_monitor(self.name, [name for name in rows[-1] if name != "epoch"])
            )
        value = rows[-1][self.name]
        if not isinstance(value, int | float):
            raise ValueError(
                f"monitor should be a single number, but {self.name!r} is a {type(value).__name__}"
            )
        return self._sign * float(value)

    def state_dict(self) -> dict[str, Any]:
        """Returns the name and the mode."""
        return {"name": self.name, "mode": self.mode}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Checks that the run has monitored the same metric, so that scores can be compared.

        Raises:
            ValueError: name or mode differ.
        """
        if state_dict != self.state_dict():
            raise ValueError(
                f"monitor should be {state_dict['name']!r} with mode={state_dict['mode']!r}, as "
                f"when the run began, but given {self.name!r} with mode={self.mode!r}: start a run "
                "in another folder to monitor another metric"
            )


def no_such_monitor(name: str, known: Iterable[str]) -> str:
    return f"monitor should be one of {', '.join(sorted(known))}, but given {name!r}"
