"""Logging to Trackio."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite.handlers import trackers
from ignite.handlers._trackers.journal import ClientRun
from ignite.handlers._trackers.resumed import bin_counts, pixels
from ignite.handlers.base_logger import BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = ["OptimizerParamsHandler", "OutputHandler", "TrackioLogger", "global_step_from_engine"]


class TrackioLogger(trackers.TrackerLogger):
    """Logs to a run of Trackio: to its local database, a server (``server_url=``) or a Space.

    Other attributes are looked up in Trackio's run object: ``logger.log_artifact(path)``,
    ``logger.alert("diverges")``. Training continues if the server cannot be reached: Trackio keeps
    the values on disk, and sends them when it is used again.

    ``trainer.run(..., resume="latest")`` continues the Trackio run of the checkpoint. The local
    database contains each step once; on a server or a Space, values that were logged after the
    checkpoint remain in addition to those of the resumed run.

    Args:
        project: the name of the project.
        **kwargs: further arguments of ``trackio.init``. To continue a run without a checkpoint,
            pass its ``name=`` and ``resume="allow"``.

    Attributes:
        run: Trackio's run object.

    Raises:
        ModuleNotFoundError: trackio is not installed.

    Example::

        with TrackioLogger("digits") as logger:
            logger.params({"lr": 0.1})
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            trainer.run(loader, max_epochs=10)
    """

    def __init__(self, project: str, **kwargs: Any) -> None:
        trackio = import_optional("trackio", extra="trackio")
        super().__init__(_Run(trackio, {"project": project, **kwargs}))

    @property
    def run(self) -> Any:
        """The Trackio run."""
        return self._client()


class _Run(ClientRun):
    """A :class:`~ignite.handlers.trackers.Tracker` on a run."""

    takes_text = True
    id_argument = "name"

    def __init__(self, trackio: Any, arguments: dict[str, Any]) -> None:
        self._trackio = trackio
        self._is_empty = True
        super().__init__(arguments)

    def _start(self, run_id: str | None) -> str:
        name = None if run_id is None else run_id.partition(" ")[2]
        continued = {} if name is None else {"name": name, "resume": "allow"}
        self.client = self._trackio.init(**{**self._arguments, **continued})
        return f"{self.client.id} {self.client.name}"

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self._is_empty = False
        self.client.log(dict(values), step=step)

    def _end(self) -> None:
        self.client.finish()

    def _folder(self) -> Path | None:
        is_remote = self.client.url is not None
        return None if is_remote else Path(self._trackio.TRACKIO_DIR) / self._arguments["project"]

    def _stored(self) -> Iterator[tuple[str, int]]:
        storage, project = self._trackio.SQLiteStorage, self._arguments["project"]
        for row in storage.get_logs(project, self.client.name, run_id=self.client.id):
            for name in row:
                yield name, row["step"]

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        histogram = self._trackio.Histogram(np_histogram=bin_counts(values))
        self._log_new({name: histogram}, step)

    def params(self, values: Mapping[str, Any]) -> None:
        if not self._is_empty:
            warnings.warn(
                "Hyperparameters for Trackio should be logged before the first values, "
                f"but given {list(values)} after them: they are not stored",
                stacklevel=5,
            )
        self.client.config.update(values)

    def image(self, name: str, image: Tensor, step: int) -> None:
        self._log_new({name: self._trackio.Image(pixels(image))}, step)

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self.client.log_artifact(os.fspath(path))


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = TrackioLogger


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``.

    See ``base_logger.BaseOptimizerParamsHandler`` for the arguments.
    """

    logger_class = TrackioLogger


TrackioLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
