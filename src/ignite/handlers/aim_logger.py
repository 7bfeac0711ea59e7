"""Logging to Aim."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite.handlers import trackers
from ignite.handlers._trackers.journal import ClientRun
from ignite.handlers._trackers.resumed import bin_counts
from ignite.handlers.base_logger import BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = ["AimLogger", "OptimizerParamsHandler", "OutputHandler", "global_step_from_engine"]


class AimLogger(trackers.TrackerLogger):
    """Logs to a run in a repository of Aim, or on a server of Aim (``repo="aim://..."``).

    Other attributes are looked up in Aim's run object: ``logger.add_tag("baseline")``,
    ``logger.track(...)``. If the server cannot be reached when the run starts, a warning is issued,
    and the run is stored in the repository of the current folder.

    ``trainer.run(..., resume="latest")`` continues the run of the checkpoint, and does not log a
    step twice. The run that the new process has started stays empty; pass ``run_hash=`` to avoid
    it.

    Aim has no wheels for Python 3.13 and later. Artifacts are stored in the repository, unless
    ``logger.set_artifacts_uri(...)`` sets another location.

    Args:
        run_hash: the run to continue; a new one by default.
        repo: the folder of the repository, or the server; by default, the current folder.
        **kwargs: further arguments of ``aim.Run``.

    Attributes:
        run: Aim's run object.

    Raises:
        ModuleNotFoundError: aim is not installed.
        OSError: the repository cannot be created.

    Example::

        with AimLogger(repo="runs", experiment="digits") as logger:
            logger.params({"lr": 0.1})
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            trainer.run(loader, max_epochs=10)
    """

    def __init__(self, run_hash: str | None = None, *, repo: Any = None, **kwargs: Any) -> None:
        aim = import_optional("aim", extra="aim")
        super().__init__(_Run(aim, {"run_hash": run_hash, "repo": repo, **kwargs}))

    @property
    def run(self) -> Any:
        """The Aim run."""
        return self._client()


class _Run(ClientRun):
    """A :class:`~ignite.handlers.trackers.Tracker` on a run.

    Aim writes each value to disk immediately, so no journal is needed.
    """

    id_argument = "run_hash"

    def __init__(self, aim: Any, arguments: dict[str, Any]) -> None:
        self._aim = aim
        self.errors = (import_optional("aimrocks", extra="aim").errors.RocksIOError,)
        super().__init__(arguments)

    def _start(self, run_id: str | None) -> str:
        # A killed process does not remove its lock.
        continued = {} if run_id is None else {"run_hash": run_id, "force_resume": True}
        arguments = {**self._arguments, **continued}
        try:
            self.client = self._aim.Run(**arguments)
        except RuntimeError as error:
            if not str(arguments["repo"]).startswith("aim://"):
                raise
            warnings.warn(
                f"Cannot reach the Aim server: the run is stored in the repository of the current folder: "
                f"{error}",
                stacklevel=6,
            )
            self.client = self._aim.Run(**{**arguments, "repo": None})
        return str(self.client.hash)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        for name, value in values.items():
            self.client.track(value, name=name, step=step)

    def _end(self) -> None:
        self.client.close()

    def _folder(self) -> None:
        return None

    def _stored(self) -> Iterator[tuple[str, int]]:
        kinds = ("metric", "distributions", "images", "figures")
        for found in self.client.collect_sequence_info(kinds).values():
            for sequence in found:
                yield sequence["name"], sequence["values"]["last_step"]

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        counts, edges = bin_counts(values)
        distribution = self._aim.Distribution(hist=counts, bin_range=(edges[0], edges[-1]))
        self._log_new({name: distribution}, step)

    def params(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self.client[name] = value

    def image(self, name: str, image: Tensor, step: int) -> None:
        self._log_new({name: self._aim.Image(image.detach().cpu())}, step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._log_new({name: self._aim.Image(figure)}, step)

    def artifact(self, path: str | os.PathLike[str]) -> None:
        if self.client.artifacts_uri is None and not self.client.repo.is_remote_repo:
            self.client.set_artifacts_uri(f"file://{self.client.repo.path}/artifacts")
        self.client.log_artifact(os.fspath(path))


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = AimLogger


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``.

    See ``base_logger.BaseOptimizerParamsHandler`` for the arguments.
    """

    logger_class = AimLogger


AimLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
