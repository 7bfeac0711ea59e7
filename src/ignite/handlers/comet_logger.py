"""Logging to Comet."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite.handlers import trackers
from ignite.handlers._trackers.journal import ClientRun
from ignite.handlers._trackers.outbox import why_unreachable
from ignite.handlers._trackers.resumed import pixels
from ignite.handlers.base_logger import BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = ["CometLogger", "OptimizerParamsHandler", "OutputHandler", "global_step_from_engine"]

_DEFAULT_ADDRESS = "https://www.comet.com"


class CometLogger(trackers.TrackerLogger):
    """Logs to an experiment of Comet, online or offline (``online=False``).

    Other attributes are looked up in Comet's experiment object: ``logger.log_text(...)``,
    ``logger.add_tag("baseline")``. If the server cannot be reached when the experiment starts, a
    warning is issued, and the experiment is offline; ``comet upload`` uploads its archive later.
    Later outages do not stop training.

    ``trainer.run(..., resume="latest")`` continues the experiment of the checkpoint. Offline, the
    resumed run writes another archive for the same experiment; together, the archives contain each
    step once. A killed process leaves an empty archive, which ``comet upload`` refuses, and the
    experiment that the new process has started stays empty; pass ``experiment_key=`` to avoid it.
    Online, values logged after the checkpoint are not removed: Comet keeps both values of a step.

    Args:
        **kwargs: arguments of ``comet_ml.start``, such as ``project_name`` and
            ``experiment_config=comet_ml.ExperimentConfig(offline_directory=...)``.

    Attributes:
        experiment: Comet's experiment object.

    Raises:
        ModuleNotFoundError: comet_ml is not installed.

    Example::

        with CometLogger(project_name="digits", online=False) as logger:
            logger.params({"lr": 0.1})
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            trainer.run(loader, max_epochs=10)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(_Run(import_optional("comet_ml", extra="comet"), kwargs))

    @property
    def experiment(self) -> Any:
        """The Comet experiment."""
        return self._client()


class _Run(ClientRun):
    """A :class:`~ignite.handlers.trackers.Tracker` on an experiment."""

    id_argument = "experiment_key"

    def __init__(self, comet: Any, arguments: dict[str, Any]) -> None:
        self._comet = comet
        super().__init__(arguments)

    def _start(self, run_id: str | None) -> str:
        continued = {} if run_id is None else {"experiment_key": run_id, "mode": "get_or_create"}
        arguments = {**self._arguments, **continued}
        reason = None
        if arguments.get("online") is not False:
            url = self._comet.get_config("comet.url_override") or _DEFAULT_ADDRESS
            reason = why_unreachable(url)
        if reason is not None:
            warnings.warn(
                "Cannot reach the Comet server: the run is offline; `comet upload` uploads it "
                f"later ({reason})",
                stacklevel=6,
            )
            arguments["online"] = False
        self.client = self._comet.start(**arguments)
        return str(self.client.get_key())

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self.client.log_metrics(dict(values), step=step, include_context=False)

    def _end(self) -> None:
        self.client.end()

    def _folder(self) -> Path | None:
        folder = getattr(self.client, "offline_directory", None)
        return None if folder is None else Path(folder)

    def _stored(self) -> Iterator[tuple[str, int]]:
        folder = self._folder()
        for path in () if folder is None else folder.glob(f"{self._id}*.zip"):
            for line in _messages(path):
                message = json.loads(line)
                if message["type"] == "metric_msg":
                    metric = message["payload"]["metric"]
                    if metric["step"] is not None:
                        yield metric["metricName"], metric["step"]

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        self.client.log_histogram_3d(values.detach().cpu().float().numpy(), name=name, step=step)

    def params(self, values: Mapping[str, Any]) -> None:
        self.client.log_parameters(dict(values))

    def image(self, name: str, image: Tensor, step: int) -> None:
        self.client.log_image(pixels(image), name=name, step=step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self.client.log_figure(figure_name=name, figure=figure, step=step)

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self.client.log_asset(os.fspath(path))


def _messages(path: Path) -> list[bytes]:
    """Returns the lines of an archive; none if the process was killed before it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("messages.json").splitlines()
    except (KeyError, zipfile.BadZipFile):
        return []


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = CometLogger


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``.

    See ``base_logger.BaseOptimizerParamsHandler`` for the arguments.
    """

    logger_class = CometLogger


CometLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
