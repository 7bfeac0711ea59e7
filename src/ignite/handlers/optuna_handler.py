"""Reports a metric to a trial of Optuna in each epoch, and prunes the trial."""

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
"""User attribute of a trial that was enqueued again: the number of the one that was killed."""


class OptunaHandler:
    """Reports a metric to a trial of Optuna after each epoch, and ends the run if Optuna prunes it.

    A pruned run ends as after ``trainer.terminate()``: handlers of COMPLETED are called, and
    checkpoints and logs are written. Then ``run``, and so ``Learner.fit``, raises
    ``optuna.TrialPruned``. After the last epoch nothing is left to save: the trial is not pruned.

    Args:
        trial: the trial. With several processes, that of rank 0, and None on the others.
        metric: name of a metric of the engine that reports, such as "accuracy"; or a function
            ``f(engine)`` that returns a number. A function may read the history of a learner:
            ``lambda engine: learner.history["valid_loss"][-1]``.

    Raises:
        ModuleNotFoundError: Optuna is not installed; extra ``optuna``.
        TypeError: an argument is of the wrong kind; or, when called, the metric is not a number.
        KeyError: when called, the engine has no such metric.

    Attributes:
        pruned_at: the epoch after which the trial was pruned; None before.

    State:
        The reported values and ``pruned_at``. A resumed run reports to a new trial what it lacks,
        see :func:`retry_killed_trials`; one that was pruned raises again, before its first step.

    Distributed:
        Attach it on all ranks; the run raises an error that names a missing rank. Rank 0 reports
        and decides, and all ranks stop in the same epoch.

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
            raise TypeError(f"trial should be a trial of Optuna, or None, but given {trial!r:.100}")
        if not (isinstance(metric, str) or callable(metric)):
            raise TypeError(
                f"metric should be the name of a metric or a function, but given {metric!r}"
            )
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self.pruned_at: int | None = None
        self._trial, self._metric = trial, metric
        self._values: dict[int, float] = {}
        self._known: set[int] = set()
        """Epochs whose value the trial has."""
        self._trainer: Engine[Any, Any] | None = None
        """The trainer during its run."""
        self._is_dry_run = False

    def attach(self, trainer: Engine[Any, Any], evaluator: Engine[Any, Any] | None = None) -> None:
        """Reports at the end of each run of ``evaluator``, or of each epoch without one.

        Runs of the evaluator outside of a run of the trainer are not reported.

        Args:
            trainer: the engine whose run is the trial, such as ``learner.trainer``.
            evaluator: the engine with the metric, such as ``learner.evaluator``; by default, the
                trainer.
        """
        trainer.add_run_context(self._frame)
        # A run is saved with the handlers of its trainer; an evaluator may not be reachable.
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
            trainer.will_resume = True  # a checkpoint of a finished run would resume as complete
            trainer.terminate()

    def _belong(self, engine: Engine[Any, Any]) -> None:
        """Does nothing, but makes this object a handler of the trainer."""

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
        """Reports a value, once per epoch; returns whether Optuna prunes the trial."""
        if idist.get_rank() != 0:
            return False
        if epoch not in self._known:
            self._trial.report(value, epoch)
            self._known.add(epoch)
        return bool(self._trial.should_prune())

    @contextmanager
    def _frame(self, trainer: Engine[Any, Any], is_new: bool) -> Iterator[None]:
        """Raises at the end of a run that was pruned, when all its files are written."""
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
        """Reports the values of a resumed run that the trial does not have."""
        if idist.get_rank() != 0:
            return
        if self._trial is None:
            raise ValueError("trial should be a trial of Optuna on rank 0, but given None")
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
    study = getattr(trial, "study", None)  # a FixedTrial has none
    if study is None:
        return set()
    found = (one for one in study.get_trials(deepcopy=False) if one.number == trial.number)
    return {step for one in found for step in one.intermediate_values}


def retry_killed_trials(study: Any) -> list[int]:
    """Enqueues the trials again that a killed process has left in the state RUNNING.

    They get the same parameters and user attributes, such as the folder of their run, and the
    killed ones become FAIL. ``study.optimize`` runs them before it makes new ones. With
    ``resume="latest"`` and an :class:`OptunaHandler`, a run continues where it was killed, and its
    trial has the values of all epochs.

    Call it when no process works on the study: trials of others would be taken for killed ones.
    Being killed within this function loses no trial.

    Args:
        study: a study in a storage that survives the process, such as a file of SQLite.

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
            # Optuna's record of an enqueued trial: parameters that were not yet asked for.
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            study.enqueue_trial(params, {**trial.user_attrs, _RETRIES: trial.number})
        study.tell(trial.number, state=states.FAIL)
    return [trial.number for trial in killed]
