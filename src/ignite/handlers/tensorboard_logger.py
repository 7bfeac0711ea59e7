"""Logging to TensorBoard's event files."""

from __future__ import annotations

import os
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core.optional import import_optional
from ignite._core.systems import on_disk
from ignite._core.torch_private import event_files
from ignite.handlers import trackers
from ignite.handlers.base_logger import (
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsHandler,
    BaseWeightsScalarHandler,
)
from ignite.handlers.utils import global_step_from_engine

__all__ = [
    "GradsHistHandler",
    "GradsScalarHandler",
    "OptimizerParamsHandler",
    "OutputHandler",
    "TensorboardLogger",
    "WeightsHistHandler",
    "WeightsScalarHandler",
    "global_step_from_engine",
]


class _EventFiles:
    """A :class:`~ignite.handlers.trackers.Tracker` on a ``SummaryWriter``."""

    def __init__(self, writer: Any, event_class: Any, session_class: Any) -> None:
        self.writer = writer
        self._event_class = event_class
        self._session_class = session_class
        self._last_step = -1

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        self._last_step = max(self._last_step, step)
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        self.writer.add_histogram(name, values.detach().cpu().float().numpy(), step)

    def params(self, values: Mapping[str, Any]) -> None:
        rows = "".join(f"| {name} | {value} |\n" for name, value in values.items())
        self.writer.add_text("params", f"| name | value |\n|---|---|\n{rows}")

    def image(self, name: str, image: Tensor, step: int) -> None:
        self.writer.add_image(name, image.detach().cpu(), step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self.writer.add_figure(name, figure, step, close=False)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()

    @property
    def client(self) -> Any:
        return self.writer

    def elsewhere(self, folder: Path) -> _EventFiles:
        return _EventFiles(type(self.writer)(str(folder)), self._event_class, self._session_class)

    def state_dict(self) -> dict[str, Any]:
        self.writer.flush()
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Makes TensorBoard discard the values of later steps, which the resumed run logs again."""
        self._last_step = state_dict["last_step"]
        start = self._session_class(status=self._session_class.START)
        event_files(self.writer).add_event(
            self._event_class(session_log=start), step=self._last_step + 1
        )
        self.writer.flush()


class TensorboardLogger(trackers.TrackerLogger):
    """Logs to a folder that ``tensorboard --logdir`` shows.

    Other attributes are looked up in the writer: ``logger.add_image(...)``. After
    ``trainer.run(..., resume="latest")``, TensorBoard discards values logged after the checkpoint.

    Args:
        *args: arguments of ``SummaryWriter``, starting with ``log_dir``. The class is that of
            tensorboardX if installed, otherwise PyTorch's.
        **kwargs: further arguments of ``SummaryWriter``.

    Attributes:
        writer: the ``SummaryWriter``.

    Raises:
        ModuleNotFoundError: neither tensorboardX nor tensorboard is installed.
        OSError: the folder cannot be created or written to.

    Example:
        >>> import tempfile
        >>> from ignite.engine import Engine, Events
        >>> trainer = Engine(lambda engine, batch: 1 / batch)
        >>> with TensorboardLogger(log_dir=tempfile.mkdtemp()) as logger:
        ...     event = Events.ITERATION_COMPLETED(every=100)
        ...     handle = logger.attach_output_handler(
        ...         trainer, event, tag="training", output_transform=lambda loss: {"loss": loss}
        ...     )
        ...     _ = trainer.run(range(1, 201), max_epochs=1)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        writer_class, event_class, session_class = _find_classes()
        try:
            writer = _make_writer(writer_class, args, kwargs)
        except OSError as error:
            error.add_note(
                "log_dir of TensorboardLogger should be a folder that can be created and written to"
            )
            raise
        super().__init__(_EventFiles(writer, event_class, session_class))

    @property
    def writer(self) -> Any:
        """The ``SummaryWriter``."""
        return self._client()

    @writer.setter
    def writer(self, writer: Any) -> None:
        self._hand_over()
        self.tracker.writer = writer  # type: ignore[attr-defined]


def _make_writer(writer_class: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Creates a writer; if the locale cannot encode the path of the folder, through a link to it.

    TensorBoard encodes paths in UTF-8, and refuses the bytes that Python has escaped in a path.
    """
    given = args[0] if args else kwargs.get("log_dir", kwargs.get("logdir"))
    folder = None if given is None else str(on_disk(given))
    if folder is not None:
        _wait_for_a_later_second(folder)
    if folder is None or folder.isascii() or _is_unicode(folder):
        return writer_class(*args, **kwargs)
    os.makedirs(folder, exist_ok=True)
    links = tempfile.TemporaryDirectory(prefix="ignite-")
    link = os.path.join(links.name, "log_dir")
    os.symlink(os.path.abspath(folder), link)
    kwargs = {name: value for name, value in kwargs.items() if name not in ("log_dir", "logdir")}
    writer = writer_class(link, *args[1:], **kwargs)
    weakref.finalize(writer, links.cleanup)
    return writer


def _wait_for_a_later_second(folder: str) -> None:
    """Waits, for at most a second, until the name of a new file sorts after those in the folder.

    TensorBoard reads the files of a folder in the order of their names, which consist of the second,
    the host, the process and a counter. Within one second, process 1000 sorts before 999, so
    the order to discard later steps would be read before the steps themselves.
    """
    second = int(time.time())
    if any(Path(folder).glob(f"events.out.tfevents.{second}.*")):
        while (left := second + 1 - time.time()) > 0:
            time.sleep(left)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _find_classes() -> tuple[Any, Any, Any]:
    """Returns the classes ``SummaryWriter``, ``Event`` and ``SessionLog``."""
    try:
        package = import_optional("tensorboardX", extra="tensorboard")
    except ModuleNotFoundError:
        import_optional("tensorboard", extra="tensorboard")
        events = import_optional("tensorboard.compat.proto.event_pb2", extra="tensorboard")
        package = import_optional("torch.utils.tensorboard", extra="tensorboard")
    else:
        events = import_optional("tensorboardX.proto.event_pb2", extra="tensorboard")
    return package.SummaryWriter, events.Event, events.SessionLog


class OutputHandler(trackers._LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, as ``tag/name``.

    See ``base_logger.BaseOutputHandler`` for the arguments.
    """

    logger_class = TensorboardLogger


class OptimizerParamsHandler(trackers._LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``."""

    logger_class = TensorboardLogger


class WeightsScalarHandler(trackers._LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for each parameter, as ``[tag/]weights_norm/layer/weight``."""

    logger_class = TensorboardLogger
    _what = "weights"


class WeightsHistHandler(trackers._LogsDistributions, BaseWeightsHandler):
    """Logs the distribution of each parameter, as ``[tag/]weights/layer/weight``.

    Synchronizes with the device.
    """

    logger_class = TensorboardLogger
    _what = "weights"


class GradsScalarHandler(trackers._LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for the gradient of each parameter, as ``[tag/]grads_norm/layer/weight``.

    Parameters without a gradient are skipped.
    """

    logger_class = TensorboardLogger
    _what = "grads"


class GradsHistHandler(trackers._LogsDistributions, BaseWeightsHandler):
    """Logs the distribution of the gradient of each parameter, as ``[tag/]grads/layer/weight``.

    Parameters without a gradient are skipped. Synchronizes with the device.
    """

    logger_class = TensorboardLogger
    _what = "grads"


TensorboardLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)
