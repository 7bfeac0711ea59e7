"""Logging to ClearML, and checkpoints as models of its tasks."""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from ignite import distributed as idist
from ignite._core.optional import import_optional
from ignite._core.trees import replaced
from ignite.handlers import trackers
from ignite.handlers._checkpoints.save_handlers import Metadata
from ignite.handlers._trackers.clearml_task import BETWEEN, ClearMLTask, wait_for_uploads
from ignite.handlers._trackers.outbox import Outbox
from ignite.handlers._trackers.scalars import Path as NamePath
from ignite.handlers.base_logger import (
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsHandler,
    BaseWeightsScalarHandler,
)
from ignite.handlers.checkpoint import DiskSaver
from ignite.handlers.utils import global_step_from_engine

__all__ = [
    "ClearMLLogger",
    "ClearMLSaver",
    "GradsHistHandler",
    "GradsScalarHandler",
    "OptimizerParamsHandler",
    "OutputHandler",
    "WeightsHistHandler",
    "WeightsScalarHandler",
    "global_step_from_engine",
]

_FILENAME = "filename: "


class ClearMLLogger(trackers.TrackerLogger):
    """Logs to the current task of ClearML, or to a new one.

    ClearML plots all series of a title together: metrics named ``tag/name`` have the title ``tag``.
    Other attributes are looked up in the logger of the task: ``logger.report_text("...")``. If the
    server cannot be reached when the task starts, a warning is issued, and the task is offline; use
    ``Task.import_offline_session`` to upload it later. Later outages do not stop training.

    ``trainer.run(..., resume="latest")`` continues the ClearML task of the checkpoint. Steps that
    the earlier process logged after the checkpoint are not logged again; values that ClearML had
    only in memory are. The task that the new process has started stays empty. ``reuse_last_task_id``
    is False by default, because ClearML would otherwise clear the task of the earlier run.

    ClearML reports from a thread, not from a subprocess, which may outlive a training process that
    is killed. To use a subprocess, set ``sdk.development.report_use_subprocess`` in
    ``clearml.conf``, or start the task yourself.

    Args:
        **kwargs: arguments of ``clearml.Task.init``, such as ``project_name`` and ``task_name``.

    Attributes:
        clearml_task: the task, as in :meth:`get_task`.
        clearml_logger: its logger.

    Raises:
        ModuleNotFoundError: clearml is not installed.

    Example::

        with ClearMLLogger(project_name="digits", task_name="first") as logger:
            logger.attach_output_handler(
                trainer,
                Events.ITERATION_COMPLETED(every=100),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
            trainer.run(loader, max_epochs=10)
    """

    _bypasses: ClassVar[bool | None] = None

    def __init__(self, **kwargs: Any) -> None:
        clearml = import_optional("clearml", extra="clearml")
        if self.bypass_mode():
            warnings.warn("ClearMLLogger runs in bypass mode: the task is offline", stacklevel=2)
            clearml.Task.set_offline(offline_mode=True)
        super().__init__(ClearMLTask(clearml, kwargs, f"{__name__}.{type(self).__name__}"))

    @classmethod
    def set_bypass_mode(cls, bypass: bool) -> None:
        """Makes new loggers offline, regardless of the configuration of ClearML.

        Args:
            bypass: whether to be offline.
        """
        ClearMLLogger._bypasses = bypass

    @classmethod
    def bypass_mode(cls) -> bool:
        """Whether new loggers are offline. True by default if ``CI`` is set in the environment."""
        if ClearMLLogger._bypasses is None:
            return bool(os.environ.get("CI"))
        return ClearMLLogger._bypasses

    def get_task(self) -> Any:
        """Returns the task, after passing to it all values logged so far."""
        self._hand_over()
        return self.tracker.task  # type: ignore[attr-defined]

    clearml_task = property(get_task)

    @property
    def clearml_logger(self) -> Any:
        """The logger of the task, which has received all values logged so far."""
        return self._client()

    def name(self, path: NamePath) -> str:
        """Returns the title and the series of a name."""
        parts = [str(part) for part in path]
        num_in_title = max(1, min(2, len(parts) - 1))
        title, series = parts[:num_in_title], parts[num_in_title:] or parts
        return BETWEEN.join(("/".join(title), "/".join(series)))


class ClearMLSaver(DiskSaver):
    """Save handler that writes checkpoints to a folder and uploads them as models of the task.

    The models are named ``<checkpoint>_0``, ``<checkpoint>_1`` and so on. A model is reused when
    its checkpoint has been removed, so there are at most ``n_saved + 1`` models. Uploads run in a
    background thread; closing the logger and the end of the program wait for them. An offline task
    has no models: its checkpoints are only in the folder.

    Args:
        logger: the logger whose task to use; by default, the current task.
        output_uri: where models are uploaded to, see ``clearml.Task.init``. Without it and without
            a default in ``clearml.conf``, the paths of the files are registered.
        dirname: the folder; by default a temporary one, with a warning.
        *args: further positional arguments of :class:`DiskSaver`.
        **kwargs: further keyword arguments of :class:`DiskSaver`.

    Raises:
        RuntimeError: there is no task.

    Example::

        with ClearMLLogger(project_name="digits", task_name="first") as logger:
            saver = ClearMLSaver(logger, dirname="checkpoints")
            checkpoint = Checkpoint({"model": model}, saver, n_saved=2)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
            trainer.run(loader, max_epochs=10)
    """

    def __init__(
        self,
        logger: ClearMLLogger | None = None,
        output_uri: str | None = None,
        dirname: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._clearml = import_optional("clearml", extra="clearml")
        # The logger and not its task is kept, because a resumed run continues another task.
        self._tracker: Any = None if logger is None else logger._own_tracker
        if self._task is None:
            raise RuntimeError("ClearMLSaver requires a ClearML Task to be initialized.")
        super().__init__(dirname or _make_folder(), *args, **kwargs)
        if output_uri:
            self._task.output_uri = output_uri
        self._output_uri = output_uri
        self._files: dict[str, list[str | None]] = {}
        self._models: dict[tuple[str, int], Any] = {}
        self._is_dry_run = False
        self._outbox = Outbox(_call_all, lambda error: True, __name__, max_batch_size=1)
        if self._tracker is not None:
            self._tracker.uploads.add(self._outbox)  # type: ignore[attr-defined]
        weakref.finalize(self, _finish, self._outbox)

    @property
    def _task(self) -> Any:
        if self._tracker is None:
            return self._clearml.Task.current_task()
        return self._tracker.task

    def get_local_copy(self, filename: str) -> str | None:
        """Returns the path of a checkpoint on this machine; downloads it if necessary.

        Args:
            filename: the name that it was saved with.

        Returns:
            The path, or None if there is no such checkpoint.
        """
        path = self._path_of(filename)
        if isinstance(path, Path) and path.exists():
            return str(path)
        self._outbox.wait()
        for basename, files in self._files.items():
            if filename in files:
                weights: str = self._models[basename, files.index(filename)].get_weights()
                return weights
        artifact = self._task.artifacts.get(filename)
        return None if artifact is None else artifact.get_local_copy()

    def remove(self, filename: str) -> None:
        """Removes a file, and releases its model for the next checkpoint."""
        super().remove(filename)
        if self._uploads:
            self._outbox.put(functools.partial(_free, self._files, filename))

    @contextmanager
    def dry_run_in(self, folder: Path) -> Iterator[Callable[[], None]]:
        """In a dry run: writes to ``folder``, and uploads nothing."""
        with super().dry_run_in(folder) as check, replaced(self, _is_dry_run=True):
            yield check

    @property
    def _uploads(self) -> bool:
        return not self._is_dry_run and not self._task.is_offline()

    def _write(self, state: Any, filename: str, order: Metadata, is_plain: bool = False) -> None:
        super()._write(state, filename, order, is_plain)
        if self._uploads:
            facts = {name: order[name] for name in sorted(order)}
            self._outbox.put(functools.partial(self._upload, filename, facts))

    def _upload(self, filename: str, facts: Mapping[str, Any]) -> None:
        path = self._path_of(filename)
        if isinstance(path, Path) and not path.exists():
            return  # a newer checkpoint has replaced it in the meantime
        basename = str(facts.get("basename", "checkpoint"))
        if basename not in self._files:
            self._find_models(basename)
        files = self._files[basename]
        number = files.index(None) if None in files else len(files)
        if filename in files:
            number = files.index(filename)
        name = f"{basename}_{number}"
        if (basename, number) not in self._models:
            self._models[basename, number] = self._clearml.OutputModel(
                task=self._task, name=name, framework="PyTorch"
            )
        files[number : number + 1] = [filename]
        model = self._models[basename, number]
        listed = ", ".join(f"{key}={value}" for key, value in facts.items())
        model.comment = f"{_FILENAME}{filename}\nCheckpoint Metadata: {listed}"
        is_local = isinstance(path, Path)
        model.update_weights(
            **{"weights_filename" if is_local else "register_uri": str(path)},
            upload_uri=self._output_uri if is_local else None,
            target_filename=f"{name}{os.path.splitext(filename)[1]}",
            auto_delete_file=False,
            update_comment=False,
            async_enable=False,
        )

    def _find_models(self, basename: str) -> None:
        """Finds the models that an earlier process uploaded."""
        files: list[str | None] = []
        for found in self._task.get_models().get("output", ()):
            start, _, number = str(found.name).rpartition("_")
            if start != basename or not number.isdigit():
                continue
            files += [None] * (int(number) + 1 - len(files))
            filename = str(found.comment or "").partition("\n")[0].removeprefix(_FILENAME)
            path = self._path_of(filename)
            if not isinstance(path, Path) or path.exists():
                files[int(number)] = filename
            self._models[basename, int(number)] = self._clearml.OutputModel(
                task=self._task, name=found.name, base_model_id=found.id
            )
        self._files[basename] = files


def _call_all(functions: list[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _free(files_by_name: Mapping[str, list[str | None]], filename: str) -> None:
    for files in files_by_name.values():
        if filename in files:
            files[files.index(filename)] = None


def _finish(outbox: Outbox) -> None:
    wait_for_uploads(outbox)
    outbox.close(timeout_s=0)


def _make_folder() -> str:
    """Returns a temporary folder, the same on all ranks."""
    folder = tempfile.mkdtemp(prefix="ignite_checkpoints_") if idist.get_rank() == 0 else ""
    if idist.get_world_size() > 1:
        folder = idist.broadcast(folder, src=0)
    warnings.warn(f"ClearMLSaver created a temporary checkpoints directory: {folder}", stacklevel=3)
    return folder


def _number_path(tag: str | None, kind: str, name: str) -> NamePath:
    return _path(tag, kind, name, "/")


def _distribution_path(tag: str | None, kind: str, name: str) -> NamePath:
    return _path(tag, kind, name, "_")


def _path(tag: str | None, kind: str, name: str, separator: str) -> NamePath:
    """Returns the title, such as ``tag/weights_norm/layer``, and the series, such as ``weight``."""
    layer, _, rest = name.partition(".")
    prefix = "" if tag is None else f"{tag}/"
    return f"{prefix}{kind}{separator}{layer}", rest


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, with the tag as title.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = ClearMLLogger


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer: title ``[tag/]lr``, series ``0``."""

    logger_class = ClearMLLogger
    _group = "{}"


class WeightsScalarHandler(trackers._LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for each parameter: title ``[tag/]weights_norm/layer``, series ``weight``."""

    logger_class = ClearMLLogger
    _what = "weights"
    _path = staticmethod(_number_path)


class WeightsHistHandler(trackers._LogsDistributions, BaseWeightsHandler):
    """Logs the distribution of each parameter: title ``[tag/]weights_layer``, series ``weight``.

    Synchronizes with the device.
    """

    logger_class = ClearMLLogger
    _what = "weights"
    _path = staticmethod(_distribution_path)


class GradsScalarHandler(trackers._LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for each gradient: title ``[tag/]grads_norm/layer``, series ``weight``.

    Parameters without a gradient are skipped.
    """

    logger_class = ClearMLLogger
    _what = "grads"
    _path = staticmethod(_number_path)


class GradsHistHandler(trackers._LogsDistributions, BaseWeightsHandler):
    """Logs the distribution of each gradient: title ``[tag/]grads_layer``, series ``weight``.

    Parameters without a gradient are skipped. Synchronizes with the device.
    """

    logger_class = ClearMLLogger
    _what = "grads"
    _path = staticmethod(_distribution_path)


ClearMLLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
