"""Logging to Weights & Biases."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite.engine import Engine
from ignite.handlers import trackers
from ignite.handlers._trackers import leveldb
from ignite.handlers._trackers.journal import Journal, journaled, plain
from ignite.handlers._trackers.outbox import why_unreachable
from ignite.handlers._trackers.resumed import Discarding, LoggedSteps, bin_counts, pixels
from ignite.handlers.base_logger import BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

__all__ = ["OptimizerParamsHandler", "OutputHandler", "WandBLogger", "global_step_from_engine"]

# Defaults that the user can override. With those of W&B, a server that does not respond blocks the
# start of the program for minutes, and its end forever.
_LIMITS_S = {"init_timeout": 60.0, "finish_timeout": 600.0}


class WandBLogger(trackers.TrackerLogger):
    """Logs to a run of W&B, online or offline (``mode="offline"``).

    Other attributes are looked up in ``wandb``: ``logger.config.update({...})``, ``logger.run``.
    Log all values of a step before those of the next step, because W&B drops values of earlier
    steps. If the server cannot be reached when the run starts, a warning is issued, and the run is
    offline; ``wandb sync`` uploads it later. Training continues if the server goes down later, or
    W&B's background process dies. At the end, the run waits up to 10 minutes for the server
    (``settings={"finish_timeout": ...}``, in seconds).

    ``trainer.run(..., resume="latest")`` continues the W&B run of the checkpoint. Steps that the
    earlier process logged after the checkpoint are not logged again. The run that the new process
    has started stays empty; pass ``id=`` and ``resume="allow"`` to avoid it.

    Args:
        *args: arguments of ``wandb.init``.
        init: False to use the current run instead of calling ``wandb.init``.
        **kwargs: further arguments of ``wandb.init``.

    Raises:
        ModuleNotFoundError: wandb is not installed.

    Example::

        with WandBLogger(project="digits", config={"lr": 0.1}) as logger:
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            trainer.run(loader, max_epochs=10)
    """

    def __init__(self, *args: Any, init: bool = True, **kwargs: Any) -> None:
        wandb = import_optional("wandb", extra="wandb")
        super().__init__(_Run(wandb, args, kwargs, init))

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Logs a dictionary like ``wandb.log``, or pairs of a path and a value at a step.

        Args:
            *args: positional arguments of ``wandb.log``, or of :meth:`TrackerLogger.log`.
            **kwargs: keyword arguments of the same function.
        """
        if "data" in kwargs or (args and isinstance(args[0], Mapping)):
            self._client().log(*args, **kwargs)
        else:
            super().log(*args, **kwargs)


class _Run:
    """A :class:`~ignite.handlers.trackers.Tracker` on the current run."""

    takes_text = True

    def __init__(
        self, wandb: Any, args: tuple[Any, ...], kwargs: dict[str, Any], starts: bool
    ) -> None:
        self.client = wandb
        self.errors = (wandb.errors.CommError, *_errors_of_service())
        self._arguments = (args, kwargs)
        self._logged = LoggedSteps()
        self._last_step = -1
        self._journal: Journal | None = None
        self._restored: set[Path] = set()
        self._is_ours = starts and wandb.run is None
        if starts:
            self._start(*args, **kwargs)
        self._id: str | None = None if wandb.run is None else wandb.run.id

    def _start(self, *args: Any, **kwargs: Any) -> None:
        kwargs["settings"] = self._limited(kwargs.get("settings"))
        reason = self._why_unreachable(kwargs)
        if reason is None:
            try:
                self.client.init(*args, **kwargs)
            except self.client.errors.AuthenticationError:
                raise
            except self.client.errors.CommError as error:
                reason = " ".join(str(error).split())
        if reason is not None:
            warnings.warn(
                "Cannot reach the W&B server: the run is offline; `wandb sync` uploads it later "
                f"({reason})",
                stacklevel=6,
            )
            self.client.init(*args, **{**kwargs, "mode": "offline"})
        run = self.client.run
        if run is not None and run.offline:
            # W&B buffers up to a block of its file in memory, which is lost if the process is killed.
            self._journal = Journal(_folder_of(run), run.id)

    def _limited(self, given: Any) -> Any:
        """Adds limits on the wait for the server to the user's settings.

        They cannot be environment variables, because W&B reads these only once per process.
        """
        environment = self.client.setup().settings.model_fields_set
        limits = {
            name: limit
            for name, limit in _LIMITS_S.items()
            if name in self.client.Settings.model_fields and name not in environment
        }
        if given is None or isinstance(given, Mapping):
            return {**limits, **(given or {})}
        unset = {name: limits[name] for name in limits if name not in given.model_fields_set}
        return given.model_copy(update=unset)

    def _why_unreachable(self, kwargs: Mapping[str, Any]) -> str | None:
        """Returns the reason why the server of an online run cannot be reached."""
        settings = self.client.setup().settings.model_copy()
        given = kwargs["settings"]
        given = given if isinstance(given, Mapping) else given.model_dump(exclude_unset=True)
        mode = kwargs.get("mode") or given.get("mode") or settings.mode
        if mode not in ("online", "shared"):
            return None
        return why_unreachable(given.get("base_url") or settings.base_url)

    def reopen(self) -> None:
        """Reopens the run after it was finished."""
        if self._is_ours and self.client.run is None:
            self._continue(self._id)

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        self._last_step = max(step, self._last_step)
        new = self._logged.new(plain(values), step)
        if (
            self._journal is not None
        ):  # first, because the client may fail with its background process
            self._journal.add(new, step)
        self._log(new, step)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        new = self._logged.new(values, step)
        if new:
            self.client.log(new, step=step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        self._log({name: self.client.Histogram(np_histogram=bin_counts(values))}, step)

    def params(self, values: Mapping[str, Any]) -> None:
        self.client.config.update(dict(values), allow_val_change=True)

    def image(self, name: str, image: Tensor, step: int) -> None:
        self._log({name: self.client.Image(pixels(image))}, step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._log({name: self.client.Image(figure)}, step)

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self.client.log_artifact(os.fspath(path))

    def close(self) -> None:
        try:
            self.client.finish()
        finally:
            if self._journal is not None:
                self._journal.close()

    def elsewhere(self, folder: Path) -> Discarding:
        return Discarding(self.client)

    def state_dict(self) -> dict[str, Any]:
        run = self.client.run
        folder = None if run is None else str(_folder_of(run).parent)
        return {"id": self._id, "folder": folder, "last_step": self._last_step}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        run_id, folder = state_dict["id"], state_dict["folder"]
        if not self._is_ours or run_id is None:
            return
        if run_id != self._id:
            self.close()
            self._continue(run_id)
        run = self.client.run
        if run.offline:
            folders = () if folder is None else Path(folder).glob(f"*-{run_id}")
            earlier = {one for one in folders if one.name != _folder_of(run).name}
            self._restore(sorted(earlier - self._restored), state_dict["last_step"])
            self._restored |= earlier
        else:
            self._logged.note_all(run.step - 1)

    def _continue(self, run_id: str | None) -> None:
        args, kwargs = self._arguments
        self._start(*args, **{**kwargs, "id": run_id, "resume": "allow"})
        self._id = run_id

    def _restore(self, folders: list[Path], last_step: int) -> None:
        """Logs again the values that W&B had only in memory when earlier processes were killed."""
        for path in (file for folder in folders for file in folder.glob("run-*.wandb")):
            self._logged.note_all(max(_steps_of(path), default=-1))
        rows: dict[int, dict[str, Any]] = {}
        for folder in folders:
            for step, values in journaled(folder, str(self._id)):
                rows.setdefault(step, {}).update(values)
        for step in sorted(step for step in rows if step <= last_step):
            self.scalars(rows[step], step)


def _errors_of_service() -> tuple[type[Exception], ...]:
    """Returns the errors that W&B raises if its background process has died, for example out of memory."""
    mailbox = import_optional("wandb.sdk.mailbox", extra="wandb")
    names = ("HandleAbandonedError", "MailboxClosedError")
    return tuple(getattr(mailbox, name) for name in names if hasattr(mailbox, name))


def _folder_of(run: Any) -> Path:
    """Returns the folder with the files of a run."""
    return Path(run.settings.sync_file).parent


def _steps_of(path: Path) -> Iterator[int]:
    """Yields the steps in a file of an offline run."""
    record_class = import_optional("wandb.proto.wandb_internal_pb2", extra="wandb").Record
    for content in leveldb.records(path.read_bytes()):
        record = record_class.FromString(content)
        if record.WhichOneof("record_type") == "history":
            yield record.history.step.num


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the other arguments.

    Args:
        sync: deprecated, without effect.
    """

    logger_class = WandBLogger

    def __init__(
        self,
        tag: str,
        metric_names: str | list[str] | None = None,
        output_transform: Callable[..., Any] | None = None,
        global_step_transform: Callable[[Engine[Any, Any], Any], int] | None = None,
        sync: bool | None = None,
        state_attributes: list[str] | None = None,
    ) -> None:
        super().__init__(
            tag, metric_names, output_transform, global_step_transform, state_attributes
        )
        _warn_of_sync(sync)


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``.

    See ``base_logger.BaseOptimizerParamsHandler`` for the other arguments.

    Args:
        sync: deprecated, without effect.
    """

    logger_class = WandBLogger

    def __init__(
        self,
        optimizer: Any,
        param_name: str = "lr",
        tag: str | None = None,
        sync: bool | None = None,
    ) -> None:
        super().__init__(optimizer, param_name, tag)
        _warn_of_sync(sync)


def _warn_of_sync(sync: bool | None) -> None:
    if sync is not None:
        warnings.warn(
            "The sync argument for the WandBLoggers is no longer used, and may be removed in the "
            "future",
            stacklevel=3,
        )


WandBLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
