"""Logging to SwanLab."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite.handlers import trackers
from ignite.handlers._trackers import leveldb
from ignite.handlers._trackers.journal import ClientRun
from ignite.handlers._trackers.outbox import why_unreachable
from ignite.handlers._trackers.resumed import pixels
from ignite.handlers.base_logger import BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = ["OptimizerParamsHandler", "OutputHandler", "SwanLabLogger", "global_step_from_engine"]


class SwanLabLogger(trackers.TrackerLogger):
    """Logs to an experiment of SwanLab, online or offline (``mode="offline"``).

    Other attributes are looked up in SwanLab's run object: ``logger.log_text(...)``,
    ``logger.config.update({...})``. If the server cannot be reached when the run starts, a warning
    is issued, and the run is offline; ``swanlab sync`` uploads its folder later. Later outages do
    not stop training.

    ``trainer.run(..., resume="latest")`` continues the experiment of the checkpoint in another
    folder with the same id; together, the folders contain each step once. The experiment that the
    new process has started stays empty; pass ``id=`` and ``resume="allow"`` to avoid it.

    Args:
        **kwargs: arguments of ``swanlab.init``.

    Attributes:
        run: SwanLab's run object.

    Raises:
        ModuleNotFoundError: swanlab is not installed.

    Example::

        with SwanLabLogger(project="digits", mode="offline") as logger:
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
        super().__init__(_Run(import_optional("swanlab", extra="swanlab"), kwargs))

    @property
    def run(self) -> Any:
        """The SwanLab run."""
        return self._client()


class _Run(ClientRun):
    """A :class:`~ignite.handlers.trackers.Tracker` on an experiment."""

    def __init__(self, swanlab: Any, arguments: dict[str, Any]) -> None:
        self._swanlab = swanlab
        super().__init__(arguments)

    def _start(self, run_id: str | None) -> str:
        continued = {} if run_id is None else {"id": run_id, "resume": "allow"}
        arguments = {**self._arguments, **continued}
        settings = arguments.get("settings") or self._swanlab.Settings()
        mode = arguments.get("mode") or settings.mode
        reason = why_unreachable(str(settings.api_host)) if mode == "online" else None
        if reason is not None:
            warnings.warn(
                "Cannot reach the SwanLab server: the run is offline; `swanlab sync` uploads it "
                f"later ({reason})",
                stacklevel=6,
            )
            arguments["mode"] = "offline"
        self.client = self._swanlab.init(**arguments)
        return str(self.client.id)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self.client.log(dict(values), step=step)

    def _end(self) -> None:
        self.client.finish()

    def _folder(self) -> Path | None:
        return None if self.client.mode == "disabled" else Path(self.client.dir).resolve().parent

    def _stored(self) -> Iterator[tuple[str, int]]:
        folder = self._folder()
        record_class = import_optional(
            "swanlab.proto.swanlab.record.v1.record_pb2", extra="swanlab"
        ).Record
        for path in () if folder is None else folder.glob(f"run-*-{self._id}/*.swanlab"):
            for content in leveldb.records(path.read_bytes()):
                record = record_class.FromString(content)
                kind = record.WhichOneof("record_type")
                if kind in ("scalar", "media"):
                    value = getattr(record, kind)
                    yield value.key, value.step

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Warns that histograms are not supported."""
        warnings.warn("SwanLab does not support histograms: skipped", stacklevel=4)

    def params(self, values: Mapping[str, Any]) -> None:
        self.client.config.update(dict(values))

    def image(self, name: str, image: Tensor, step: int) -> None:
        self._log_new({name: self._swanlab.Image(pixels(image))}, step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._log_new({name: self._swanlab.Image(figure)}, step)

    def artifact(self, path: str | os.PathLike[str]) -> None:
        path = Path(path).resolve()
        self.client.save(str(path), base_path=str(path.parent))


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = SwanLabLogger


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``.

    See ``base_logger.BaseOptimizerParamsHandler`` for the arguments.
    """

    logger_class = SwanLabLogger


SwanLabLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
