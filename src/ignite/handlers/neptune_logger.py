"""Logging to Neptune, and checkpoints in its runs."""

from __future__ import annotations

import base64
import io
import json
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ignite import distributed as idist
from ignite._core.old_arguments import Old, renamed, takes_old
from ignite._core.optional import import_optional
from ignite.handlers import trackers
from ignite.handlers._trackers.outbox import why_unreachable
from ignite.handlers._trackers.resumed import Discarding, LoggedSteps, last_steps
from ignite.handlers.base_logger import (
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsScalarHandler,
)
from ignite.handlers.checkpoint import BaseSaveHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = [
    "GradsScalarHandler",
    "NeptuneLogger",
    "NeptuneSaver",
    "OptimizerParamsHandler",
    "OutputHandler",
    "WeightsScalarHandler",
    "global_step_from_engine",
]

_ID_FIELD = "ignite/run_id"
_DEFAULT_ADDRESS = "https://app.neptune.ai"
_OLD_ARGUMENTS = {
    "project_name": renamed("project_name", "project"),
    "experiment_name": renamed("experiment_name", "name"),
    "upload_source_files": renamed("upload_source_files", "source_files"),
    "params": Old("call logger.params(...) instead of passing params=", lambda arguments: None),
}


class NeptuneLogger(trackers.TrackerLogger):
    """Logs to a run of Neptune, or to files (``mode="offline"``).

    ``logger["params"] = {...}`` and ``logger["loss"].append(0.5)`` use the run. Other attributes
    are looked up in it, too. If the server cannot be reached when the run starts, a warning is
    issued, and the run is offline; ``neptune sync`` uploads it later. Histograms are skipped with a
    warning.

    ``trainer.run(..., resume="latest")`` continues the Neptune run of the checkpoint. Steps that
    the earlier process logged offline after the checkpoint are not logged again.

    Args:
        api_token: the token; by default ``NEPTUNE_API_TOKEN`` of the environment.
        project: the project, as "workspace/name"; by default ``NEPTUNE_PROJECT``.
        **kwargs: further arguments of ``neptune.init_run``.

    Attributes:
        experiment: Neptune's run object.

    Raises:
        ModuleNotFoundError: neptune is not installed.

    Example::

        with NeptuneLogger(project="me/digits", mode="offline") as logger:
            logger["parameters"] = {"lr": 0.1}
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            trainer.run(loader, max_epochs=10)
    """

    @takes_old(arguments=_OLD_ARGUMENTS)
    def __init__(
        self, api_token: str | None = None, project: str | None = None, **kwargs: Any
    ) -> None:
        neptune = import_optional("neptune", extra="neptune")
        params = kwargs.pop("params", None)
        super().__init__(_Run(neptune, {"api_token": api_token, "project": project, **kwargs}))
        if params is not None:
            self.params(params)

    @property
    def experiment(self) -> Any:
        """Neptune's run, after passing to it all values logged so far."""
        return self._client()

    def __getitem__(self, key: str) -> Any:
        return self._client()[key]

    def __setitem__(self, key: str, val: Any) -> None:
        self._client()[key] = val


class _Run:
    """A :class:`~ignite.handlers.trackers.Tracker` on a run."""

    def __init__(self, neptune: Any, arguments: dict[str, Any]) -> None:
        exceptions = import_optional("neptune.exceptions", extra="neptune")
        self.errors = (exceptions.NeptuneConnectionLostException,)
        self._neptune = neptune
        self._arguments = arguments
        self._logged = LoggedSteps()
        self._folder = os.environ.get("NEPTUNE_DATA_DIRECTORY", ".neptune")
        has_id = arguments.get("with_id") is not None
        self._id = arguments.get("custom_run_id") or uuid.uuid4().hex
        self._is_named = has_id or "custom_run_id" in arguments
        self.client = self._start()

    def _start(self) -> Any:
        arguments = dict(self._arguments)
        if arguments.get("with_id") is None:
            arguments["custom_run_id"] = self._id
        mode = arguments.get("mode") or os.environ.get("NEPTUNE_MODE", "async")
        reason = None
        if mode in ("async", "sync"):
            reason = why_unreachable(_address_of(arguments["api_token"]))
        if reason is None:
            try:
                run = self._neptune.init_run(**arguments)
            except (*self.errors, OSError) as error:
                reason = " ".join(str(error.__cause__ or error).split())
        if reason is not None:
            warnings.warn(
                "Cannot reach the Neptune server: the run is offline; `neptune sync` uploads it "
                f"later ({reason})",
                stacklevel=5,
            )
            arguments.pop("with_id", None)
            arguments.update(custom_run_id=self._id, mode="offline")
            run = self._neptune.init_run(**arguments)
        run[_ID_FIELD] = self._id
        return run

    def reopen(self) -> None:
        """Reopens the run after it was stopped."""
        self.client = self._start()

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        for name, value in self._logged.new(values, step).items():
            self.client[name].append(float(value), step=step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Warns that histograms are not supported."""
        warnings.warn("Neptune does not support histograms: skipped", stacklevel=4)

    def params(self, values: Mapping[str, Any]) -> None:
        utilities = import_optional("neptune.utils", extra="neptune")
        self.client["params"] = utilities.stringify_unsupported(dict(values))

    def image(self, name: str, image: Tensor, step: int) -> None:
        array = image.detach().cpu().permute(1, 2, 0).numpy()
        self._append_file(name, array, step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._append_file(name, figure, step)

    def _append_file(self, name: str, content: Any, step: int) -> None:
        types = import_optional("neptune.types", extra="neptune")
        if not self._logged.has(name, step):
            self.client[name].append(types.File.as_image(content), step=step)

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self.client[f"artifacts/{Path(path).name}"].upload(os.fspath(path))

    def flush(self) -> None:
        """Writes the values logged so far to disk."""
        self.client.wait(disk_only=True)

    def close(self) -> None:
        self.client.stop()

    def elsewhere(self, folder: Path) -> Discarding:
        return Discarding(self.client)

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        return {"run_id": self._id}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        run_id = state_dict["run_id"]
        if run_id != self._id:
            if self._is_named:
                return
            self.client.stop()
            self._id = run_id
            self.client = self._start()
        self.flush()
        self._logged = last_steps(_logged_offline(Path(self._folder), run_id))


def _address_of(api_token: str | None) -> str:
    """Returns the address of the server that an API token contains."""
    token = api_token or os.environ.get("NEPTUNE_API_TOKEN", "")
    try:
        return str(json.loads(base64.b64decode(token))["api_address"])
    except (ValueError, KeyError, TypeError):  # anonymous, or refused by Neptune itself later
        return _DEFAULT_ADDRESS


def _logged_offline(folder: Path, run_id: str) -> Iterator[tuple[str, int]]:
    """Yields the names and steps in the files of offline runs with this id."""
    for run in folder.glob("offline/run__*"):
        operations = [one for file in sorted(run.glob("data-*.log")) for one in _operations(file)]
        if any(
            one.get("path") == _ID_FIELD.split("/") and one.get("value") == run_id
            for one in operations
        ):
            for one in operations:
                if one.get("type") in ("LogFloats", "LogImages"):
                    for value in one["values"]:
                        yield "/".join(one["path"]), int(value["step"])


def _operations(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)["obj"]
        except ValueError:  # the last line of a process that was killed
            return


class NeptuneSaver(BaseSaveHandler):
    """Save handler that uploads checkpoints to a run of Neptune, from rank 0.

    Args:
        neptune_logger: the logger whose run to use.

    Example::

        with NeptuneLogger(project="me/digits") as logger:
            saver = NeptuneSaver(logger)
            checkpoint = Checkpoint({"model": model}, saver, n_saved=2)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
            trainer.run(loader, max_epochs=10)
    """

    def __init__(self, neptune_logger: NeptuneLogger) -> None:
        if not isinstance(neptune_logger, NeptuneLogger):
            raise TypeError(
                "neptune_logger should be a NeptuneLogger, "
                f"but given {type(neptune_logger).__name__}"
            )
        self._logger = neptune_logger

    @idist.one_rank_only()
    def __call__(
        self,
        checkpoint: Mapping[str, Any],
        filename: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Uploads a checkpoint as ``filename``."""
        types = import_optional("neptune.types", extra="neptune")
        content = io.BytesIO()
        torch.save(checkpoint, content)
        content.seek(0)
        self._logger[filename].upload(types.File.from_stream(content, extension="pt"))

    @idist.one_rank_only(with_barrier=True)
    def remove(self, filename: str) -> None:
        """Deletes a checkpoint."""
        del self._logger.experiment[filename]


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = NeptuneLogger
    mismatch = TypeError


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``."""

    logger_class = NeptuneLogger
    mismatch = TypeError


class WeightsScalarHandler(trackers._LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for each parameter, as ``[tag/]weights_norm/layer/weight``."""

    logger_class = NeptuneLogger
    _what = "weights"
    mismatch = TypeError


class GradsScalarHandler(trackers._LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for the gradient of each parameter, as ``[tag/]grads_norm/layer/weight``.

    Parameters without a gradient are skipped.
    """

    logger_class = NeptuneLogger
    _what = "grads"
    mismatch = TypeError


NeptuneLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
