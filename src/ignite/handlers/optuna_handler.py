"""Reports a metric to an Optuna trial after each epoch, and prunes the trial."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ignite import distributed as idist
from ignite._core.optional import import_optional
from ignite._core.trees import replaced
from ignite.engine import Engine, Events
from ignite.handlers._patience import as_score

__all__ = ["OptunaHandler", "retry_killed_trials"]

_RETRIES = "retries_trial"
"""User attribute of a retried trial: the number of the trial that was killed."""


class OptunaHandler:
    """Reports a metric to an Optuna trial after each epoch, and ends the run if Optuna prunes it.

    A pruned run ends as after ``trainer.terminate()``: handlers of COMPLETED are called, and
    checkpoints and logs are written. Then ``run``, and thus ``Learner.fit``, raises
    ``optuna.TrialPruned``. A trial is not pruned after its last epoch.

    Args:
        trial: the trial. With several processes, the trial on rank 0, and None on the others.
        metric: name of a metric of the engine that reports, such as "accuracy"; or a function
            ``f(engine)`` that returns a number. A function may read the history of a learner:
            ``lambda engine: learner.history["valid_loss"][-1]``.

    Raises:
        ModuleNotFoundError: Optuna is not installed; extra ``optuna``.
        TypeError: an argument has the wrong type; or, when called, the metric is not a number.
        KeyError: when called, the engine has no such metric.

    Attributes:
        pruned_at: the epoch after which the trial was pruned; None before.

    State:
        The reported values and ``pruned_at``. A resumed run reports all values that a new trial
        lacks, see :func:`retry_killed_trials`. A run that was pruned raises again, before its first
        step.

    Distributed:
        Attach it on all ranks; if one is missing, the run raises an error that gives its rank. Rank
        0 reports and decides, and all ranks stop after the same epoch.

    Example:
        >>> class Trial:  # in a program, this comes from study.optimize
        ...     def report(self, value, step): ...
        ...     def should_prune(self):
        ...         return True
        >>> trainer = Engine(lambda engine, batch: None)
        >>> OptunaHandler(Trial(), lambda engine: 0.5).attach(trainer)
        >>> trainer.run([0], max_epochs=3)
        Traceback (most recent call last):
        optuna.exceptions.TrialPruned: The trial was pruned after epoch 1
    """

    needs_all_processes = "OptunaHandler"

    def __init__(self, trial: Any, metric: str | Callable[[Engine[Any, Any]], float]) -> None:
        import_optional("optuna", extra="optuna")
        if trial is not None and not callable(getattr(trial, "should_prune", None)):
            raise TypeError(f"trial should be an Optuna trial or None, but given {trial!r:.100}")
        if not (isinstance(metric, str) or callable(metric)):
            raise TypeError(
                f"metric should be the name of a metric or a function, but given {metric!r}"
            )
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self.pruned_at: int | None = None
        self._trial, self._metric = trial, metric
        self._values: dict[int, float] = {}
        self._known: set[int] = set()
        """Epochs whose value has been reported to the trial."""
        self._trainer: Engine[Any, Any] | None = None
        """The trainer during its run."""
        self._is_dry_run = False

    def attach(self, trainer: Engine[Any, Any], evaluator: Engine[Any, Any] | None = None) -> None:
        """Reports after each run of ``evaluator``, or without an evaluator after each epoch.

        Runs of the evaluator outside of a run of the trainer are not reported.

        Args:
            trainer: the engine that the trial runs, such as ``learner.trainer``.
            evaluator: the engine that has the metric, such as ``learner.evaluator``; the trainer by
                default.
        """
        trainer.add_run_context(self._frame)
        # The state of a run has the handlers of its trainer, but not always those of an evaluator.
        trainer.add_event_handler(Events.STARTED, self._belong)
        if evaluator is None:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self)
        else:
            evaluator.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Reports the metric of ``engine``; terminates the trainer if the trial should be pruned."""
        trainer = self._trainer
        if trainer is None:
            return
        value, epoch = self._read(engine), trainer.state.epoch
        if self._is_dry_run:
            return
        self._values[epoch] = value
        is_last = trainer.state.max_epochs is not None and epoch >= trainer.state.max_epochs
        is_pruned = self._report(value, epoch) and not is_last
        if idist.get_world_size() > 1:
            is_pruned = bool(idist.all_gather(int(is_pruned))[0])
        if is_pruned:
            self.pruned_at = epoch
            self.logger.info("The trial is pruned after epoch %s: stopping", epoch)
            trainer.will_resume = True  # otherwise, the checkpoint would be that of a finished run
            trainer.terminate()

    def _belong(self, engine: Engine[Any, Any]) -> None:
        """Does nothing. Attaching it makes this object a handler of the trainer."""

    def _read(self, engine: Engine[Any, Any]) -> float:
        if not isinstance(self._metric, str):
            return as_score(self._metric(engine))
        metrics = engine.state.metrics
        if self._metric not in metrics:
            raise KeyError(
                f"metric should be one of {sorted(map(str, metrics))}, but given {self._metric!r}"
            )
        return as_score(metrics[self._metric])

    def _report(self, value: float, epoch: int) -> bool:
        """Reports a value once per epoch. Returns whether Optuna prunes the trial."""
        if idist.get_rank() != 0:
            return False
        if epoch not in self._known:
            self._trial.report(value, epoch)
            self._known.add(epoch)
        return bool(self._trial.should_prune())

    @contextmanager
    def _frame(self, trainer: Engine[Any, Any], is_new: bool) -> Iterator[None]:
        """Raises at the end of a pruned run, after all its files have been written."""
        if is_new:
            self.pruned_at, self._values = None, {}
        if not self._is_dry_run:
            self._catch_up()
        self._check_pruned()
        self._trainer = trainer
        try:
            yield
        finally:
            self._trainer = None
        self._check_pruned()

    def _catch_up(self) -> None:
        """Reports the values of a resumed run that the trial lacks."""
        if idist.get_rank() != 0:
            return
        if self._trial is None:
            raise ValueError("trial should be an Optuna trial on rank 0, but given None")
        self._known = _reported_steps(self._trial)
        for epoch in sorted(set(self._values) - self._known):
            self._trial.report(self._values[epoch], epoch)
            self._known.add(epoch)

    def _check_pruned(self) -> None:
        if self.pruned_at is not None:
            optuna = import_optional("optuna", extra="optuna")
            raise optuna.TrialPruned(f"The trial was pruned after epoch {self.pruned_at}")

    @contextmanager
    def dry_run_in(self, folder: Path) -> Iterator[Callable[[], None]]:
        """In a dry run: reads the metric, but reports nothing."""
        with replaced(self, _is_dry_run=True):
            yield lambda: None

    def state_dict(self) -> dict[str, Any]:
        """Returns the reported values, and the epoch after which the trial was pruned."""
        return {"values": dict(self._values), "pruned_at": self.pruned_at}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        self._values = {int(epoch): float(value) for epoch, value in state_dict["values"].items()}
        self.pruned_at = state_dict["pruned_at"]


def _reported_steps(trial: Any) -> set[int]:
    study = getattr(trial, "study", None)  # a FixedTrial has no study
    if study is None:
        return set()
    found = (one for one in study.get_trials(deepcopy=False) if one.number == trial.number)
    return {step for one in found for step in one.intermediate_values}


def retry_killed_trials(study: Any) -> list[int]:
    """Retries trials that a killed process has left in the state RUNNING.

    Each is enqueued again with the same parameters and user attributes, such as the folder of its
    run, and the killed trial is marked as FAIL. ``study.optimize`` runs enqueued trials before new
    ones. With ``resume="latest"`` and an :class:`OptunaHandler`, the run continues from its last
    checkpoint, and the new trial has the values of all epochs.

    Call it only while no process is working on the study, because running trials would be retried,
    too. No trial is lost if the process is killed during this function.

    Args:
        study: a study in persistent storage, such as an SQLite file.

    Returns:
        The numbers of the killed trials.

    Raises:
        ModuleNotFoundError: Optuna is not installed; extra ``optuna``.

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study()  # with storage="sqlite:///study.db" in a program
        >>> killed = study.ask({"lr": optuna.distributions.FloatDistribution(0.0, 1.0)})
        >>> retry_killed_trials(study)
        [0]
        >>> [trial.state.name for trial in study.trials]
        ['FAIL', 'WAITING']
    """
    states = import_optional("optuna", extra="optuna").trial.TrialState
    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get(_RETRIES) for trial in trials}
    killed = [trial for trial in trials if trial.state == states.RUNNING]
    for trial in killed:
        if trial.number not in retried:
            # Optuna stores here the parameters of an enqueued trial that have not been suggested yet.
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            study.enqueue_trial(params, {**trial.user_attrs, _RETRIES: trial.number})
        study.tell(trial.number, state=states.FAIL)
    return [trial.number for trial in killed]
