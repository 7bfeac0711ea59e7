"""Logging to MLflow."""

from __future__ import annotations

import copy
import os
import re
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite.handlers import trackers
from ignite.handlers._trackers.outbox import Outbox, why_unreachable
from ignite.handlers.base_logger import BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = ["MLflowLogger", "OptimizerParamsHandler", "OutputHandler", "global_step_from_engine"]

_ACCEPTED = re.compile(r"[\w\-. :/]+")
# Defaults that the user can override. With those of MLflow, a server that is down blocks the end of
# the program for minutes.
_REQUEST_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_TEMPORARY_STATUSES = (408, 429)


class MLflowLogger(trackers.TrackerLogger):
    """Logs to the active run of MLflow, or to a new one.

    A background thread sends the values. While the server is down, training continues, values are
    queued, and a warning is logged once a minute; :meth:`close` waits up to 30 seconds for them.
    Other attributes are looked up in ``mlflow``: ``logger.log_params({...})``. Parts of names are
    joined with spaces.

    ``trainer.run(..., resume="latest")`` continues the MLflow run of the checkpoint. Values logged
    after the checkpoint are not removed: MLflow keeps both values of a step.

    Args:
        tracking_uri: the server or folder; by default, MLflow's own.

    Attributes:
        active_run: MLflow's run object; None if the server cannot be reached. The run is then
            created later.

    Raises:
        ModuleNotFoundError: mlflow is not installed.

    Example::

        with MLflowLogger(tracking_uri="http://localhost:5000") as logger:
            logger.log_params({"lr": 0.1})
            logger.attach_output_handler(
                evaluator,
                Events.COMPLETED,
                tag="validation",
                metric_names="all",
                global_step_transform=global_step_from_engine(trainer),
            )
            trainer.run(loader, max_epochs=10)
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        mlflow = import_optional("mlflow", extra="mlflow")
        for name, value in _REQUEST_LIMITS.items():
            os.environ.setdefault(name, value)
        if tracking_uri is not None:
            mlflow.set_tracking_uri(tracking_uri)
        super().__init__(_Run(mlflow, f"{__name__}.{type(self).__name__}"))

    @property
    def active_run(self) -> Any:
        """The MLflow run."""
        return self.tracker.active_run  # type: ignore[attr-defined]


class _Run:
    """A :class:`~ignite.handlers.trackers.Tracker` on a run."""

    separator = " "

    def __init__(self, mlflow: Any, logger_name: str) -> None:
        self._mlflow = mlflow
        self._service = mlflow.MlflowClient()
        self._refused_names: set[str] = set()
        self._is_ours = mlflow.active_run() is None
        self._is_empty = True
        self.active_run = self._start()
        self._run_id: str | None = None if self.active_run is None else self.active_run.info.run_id
        self._logger_name = logger_name
        self._open()

    def _open(self) -> None:
        self._outbox = Outbox(self._send, _is_refused, self._logger_name)
        self._folder = tempfile.TemporaryDirectory(prefix="mlflow-")

    @property
    def client(self) -> Any:
        """The module ``mlflow``, after waiting until the queue is sent, unless the server is down."""
        self._outbox.wait()
        return self._mlflow

    def reopen(self) -> None:
        """Reopens the run after it was ended."""
        if self._is_ours:
            self.active_run = self._start(self._run_id)
        self._open()

    def _start(self, run_id: str | None = None) -> Any:
        reason = self._why_unreachable()
        if reason is None:
            try:
                return self._mlflow.active_run() or self._mlflow.start_run(run_id=run_id)
            except self._mlflow.MlflowException as error:
                if _is_refused(error):
                    raise
                reason = str(error)
        warnings.warn(f"Cannot reach the MLflow server, training continues: {reason}", stacklevel=5)
        return None

    def _why_unreachable(self) -> str | None:
        uri = self._mlflow.get_tracking_uri()
        return why_unreachable(uri) if uri.startswith(("http://", "https://")) else None

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        for name in values:
            if name not in self._refused_names and not _ACCEPTED.fullmatch(name):
                self._refused_names.add(name)
                warnings.warn(
                    "Names for MLflow should contain only letters, digits and _-. :/, "
                    f"but given {name!r}: it is not logged",
                    stacklevel=5,
                )
        now = int(time.time() * 1000)
        entity = self._mlflow.entities.Metric
        metrics = [
            entity(name, float(v), now, step)
            for name, v in values.items()
            if name not in self._refused_names
        ]
        if metrics:
            self._put("metrics", metrics)

    def params(self, values: Mapping[str, Any]) -> None:
        self._put(
            "params",
            [self._mlflow.entities.Param(str(name), str(value)) for name, value in values.items()],
        )

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Warns that histograms are not supported."""
        warnings.warn("MLflow does not support histograms: skipped", stacklevel=4)

    def image(self, name: str, image: Tensor, step: int) -> None:
        array = image.detach().cpu().permute(1, 2, 0).numpy()
        self._put(
            "call", lambda run_id: self._service.log_image(run_id, array, key=name, step=step)
        )

    def figure(self, name: str, figure: Any, step: int) -> None:
        path = Path(self._folder.name) / f"{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)}_{step}.png"
        figure.savefig(path)  # saved now, because the figure may change before it is sent
        self._put("call", lambda run_id: self._service.log_artifact(run_id, str(path), "figures"))

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self._put("call", lambda run_id: self._service.log_artifact(run_id, os.fspath(path)))

    def close(self) -> None:
        is_sent = self._outbox.close()
        if self._is_ours and is_sent and self.active_run is not None:
            self._mlflow.end_run()
        elif self._is_ours and is_sent and self._run_id is not None:
            self._service.set_terminated(self._run_id)
        self._folder.cleanup()

    def elsewhere(self, folder: Path) -> _Run:
        other = copy.copy(self)
        other._refused_names, other._is_ours = set(), False
        other._outbox = _NullOutbox()  # type: ignore[assignment]
        other._folder = tempfile.TemporaryDirectory(dir=folder)
        return other

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self._run_id, "tracking_uri": self._mlflow.get_tracking_uri()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        run_id = state_dict["run_id"]
        if run_id is None or run_id == self._run_id or not self._is_ours:
            return
        created, self._run_id = self._run_id, run_id
        if self.active_run is None:
            return
        self._mlflow.end_run()
        if self._is_empty and created is not None:
            self._service.delete_run(created)
        self.active_run = self._start(run_id)

    def _put(self, kind: str, content: Any) -> None:
        self._is_empty = False
        self._outbox.put((kind, content))

    def _send(self, items: list[tuple[str, Any]]) -> None:
        """Sends metrics and parameters in one request each.

        A retry may send the same values again, which MLflow accepts.
        """
        reason = self._why_unreachable()
        if reason is not None:  # otherwise, MLflow would print several lines at each attempt
            raise ConnectionError(reason)
        if self._run_id is None:
            experiment = self._service.get_experiment_by_name("Default")
            self._run_id = self._service.create_run(experiment.experiment_id).info.run_id
        metrics = [entry for kind, content in items if kind == "metrics" for entry in content]
        params = [entry for kind, content in items if kind == "params" for entry in content]
        for start in range(0, len(metrics), 1000):  # limit of a request
            self._service.log_batch(self._run_id, metrics=metrics[start : start + 1000])
        for start in range(0, len(params), 100):
            self._service.log_batch(self._run_id, params=params[start : start + 100])
        for kind, content in items:
            if kind == "call":
                content(self._run_id)


class _NullOutbox:
    """Replacement for an outbox that sends nothing."""

    def put(self, item: Any) -> None:
        """Drops the item."""

    def wait(self) -> bool:
        return True

    def close(self) -> bool:
        return True


def _is_refused(error: Exception) -> bool:
    """Whether the server answered and refused the request, so that a retry would fail as well."""
    status = getattr(
        error, "get_http_status_code", lambda: 500 if isinstance(error, OSError) else 400
    )()
    return 400 <= status < 500 and status not in _TEMPORARY_STATUSES


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = MLflowLogger
    mismatch = TypeError


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag ]lr group_0``."""

    logger_class = MLflowLogger
    mismatch = TypeError


MLflowLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
