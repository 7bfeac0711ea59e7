"""Loggers for any tracker that implements three methods: ``scalars``, ``histogram`` and ``close``.

A complete custom tracker:

Example:
    >>> from ignite.engine import Engine, Events
    >>> class Printed:
    ...     def scalars(self, values, step):
    ...         print(step, dict(values))
    ...     def histogram(self, name, values, step):
    ...         print(step, name, tuple(values.shape))
    ...     def close(self):
    ...         print("closed")
    >>> engine = Engine(lambda engine, batch: batch / 2)
    >>> with TrackerLogger(Printed()) as logger:
    ...     event = Events.ITERATION_COMPLETED(every=2)
    ...     _ = logger.attach_output_handler(
    ...         engine, event, tag="train", output_transform=lambda x: {"loss": x}
    ...     )
    ...     _ = engine.run([1.0, 2.0, 3.0, 4.0])
    2 {'train/loss': 1.0}
    4 {'train/loss': 2.0}
    closed
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path as FilePath
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from ignite._core import clock
from ignite._core.trees import replaced
from ignite.engine import Engine
from ignite.handlers._schedules.param_groups import check_name
from ignite.handlers._trackers.scalars import HostQueue, Path, Scalar, stacked
from ignite.handlers.base_logger import (
    BaseLogger,
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsHandler,
    BaseWeightsScalarHandler,
)

__all__ = [
    "GradsHistHandler",
    "GradsScalarHandler",
    "OptimizerParamsHandler",
    "OutputHandler",
    "Tracker",
    "TrackerLogger",
    "WeightsHistHandler",
    "WeightsScalarHandler",
]


_WARN_EVERY_S = 60.0


@runtime_checkable
class Tracker(Protocol):
    """Destination of logged values: files or a server. Three methods are required.

    Optional methods: ``params(values)``, ``image(name, image, step)``, ``figure(name, figure,
    step)`` and ``artifact(path)``, see :class:`TrackerLogger`; ``state_dict`` and
    ``load_state_dict`` for the state that a resumed run needs; and ``elsewhere(folder)``, which
    returns a tracker for a dry run that writes only to the folder. Optional attributes:
    ``separator`` joins the parts of names ("/" by default); ``takes_text = True`` accepts strings
    as scalars; ``client`` is the object in which the logger looks up attributes that it lacks; and
    ``errors`` are exceptions that mean, like ``OSError``, that values cannot be written.
    """

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Logs numbers by name."""

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Logs the distribution of the elements of a tensor on any device."""

    def close(self) -> None:
        """Writes buffered values and closes. May be called twice."""


class TrackerLogger(BaseLogger):
    """Logger that writes to a :class:`Tracker`.

    Scalars on an accelerator are copied asynchronously and passed to the tracker in order, so that
    logging never waits for a step. Values that cannot be written, because the disk is full or a
    connection fails (``OSError``), are dropped: training continues, and a warning is logged once a
    minute and at the end.

    Attributes that the logger lacks are looked up in the client of the tracker, if it has one.
    Queued values are passed to the tracker first, so that values written with the client come
    after those that handlers logged earlier.

    Args:
        tracker: the destination.

    Attributes:
        tracker: the destination.

    Raises:
        TypeError: ``tracker`` lacks a required method.

    State:
        The state of the tracker, if it has one. A tracker uses it to drop values that were logged
        after the checkpoint.
    """

    _handler_classes: ClassVar[tuple[type[BaseOutputHandler], type[BaseOptimizerParamsHandler]]]
    """Classes of the handlers that ``attach_output_handler`` and ``attach_opt_params_handler`` attach.

    Each module sets them at its end, because the handlers refer to the class of the logger.
    """

    def __init__(self, tracker: Tracker) -> None:
        if not isinstance(tracker, Tracker):
            raise TypeError(
                "tracker should have the methods scalars, histogram and close, "
                f"but given {type(tracker).__name__}; see ignite.handlers.trackers.Tracker"
            )
        self.tracker = tracker
        self._queue = HostQueue()
        self._errors = _WriteErrors(f"{__name__}.{type(self).__name__}")
        self._own_tracker = tracker
        self._close_at_exit()

    def _close_at_exit(self) -> None:
        """Closes the tracker when the logger is deleted, or at interpreter exit."""
        self._close_tracker = weakref.finalize(self, _close, self._own_tracker, self._errors)

    def log(self, values: Mapping[str, Scalar] | Iterable[tuple[Path, Scalar]], step: int) -> None:
        """Logs values when they have been copied to the host.

        Args:
            values: numbers, strings or tensors of at most one dimension, by name; or pairs of a
                path and such a value.
            step: the step.
        """
        if isinstance(values, Mapping):
            values = [((name,), value) for name, value in values.items()]
        for ready in self._queue.add(values, step):
            self._send(*ready)

    def params(self, values: Mapping[str, Any]) -> None:
        """Logs hyperparameters, if the tracker supports it."""
        self._call("params", values)

    def image(self, name: str, image: Tensor, step: int) -> None:
        """Logs an image, if the tracker supports it.

        The image has shape (C, H, W), and floating-point values in [0, 1] or uint8 values.
        """
        self._call("image", name, image, step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        """Logs a matplotlib figure, if the tracker supports it."""
        self._call("figure", name, figure, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Logs the distribution of the elements of ``values``; synchronizes with their device."""
        self._call("histogram", name, values, step)

    def artifact(self, path: str | PathLike[str]) -> None:
        """Logs a file, if the tracker supports it."""
        self._call("artifact", path)

    def flush(self) -> None:
        """Waits for all queued values, passes them to the tracker, and flushes it."""
        self._hand_over()
        flush = getattr(self.tracker, "flush", None)
        if flush is not None:
            self._guarded(flush)

    def _hand_over(self) -> None:
        for ready in self._queue.take_all():
            self._send(*ready)

    def _client(self) -> Any:
        """Returns the client of the tracker, after passing to it all values logged so far."""
        self._hand_over()
        return self.tracker.client  # type: ignore[attr-defined]

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("_") or not hasattr(self.__dict__.get("tracker"), "client"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attr!r}")
        return getattr(self._client(), attr)

    def close(self) -> None:
        """Flushes and closes the tracker. The next use reopens it."""
        self._hand_over()
        self._close_tracker()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the tracker."""
        self._hand_over()
        save = getattr(self.tracker, "state_dict", None)
        return {"tracker": None if save is None else save()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the state of the tracker."""
        self._hand_over()
        self._reopen()
        load = getattr(self.tracker, "load_state_dict", None)
        if load is not None and state_dict["tracker"] is not None:
            load(state_dict["tracker"])

    @contextmanager
    def dry_run_in(self, folder: FilePath) -> Iterator[Callable[[], None]]:
        """In a dry run: logs to ``folder``, if the tracker supports it.

        Yields a function that raises write errors.
        """
        self._hand_over()
        make: Callable[[FilePath], Tracker] | None = getattr(self.tracker, "elsewhere", None)
        tracker = self.tracker if make is None else make(folder)
        errors = _WriteErrors(f"{__name__}.{type(self).__name__}")
        with replaced(self, tracker=tracker, _errors=errors):
            try:
                yield self._raise_errors
            finally:
                if make is not None:
                    tracker.close()

    def _raise_errors(self) -> None:
        self._hand_over()
        if self._errors.last is not None:
            raise self._errors.last

    def name(self, path: Path) -> str:
        """Joins the parts of a name with the separator of the tracker."""
        separator: str = getattr(self.tracker, "separator", "/")
        return separator.join(map(str, path))

    def _send(self, values: list[tuple[Path, Any]], step: int) -> None:
        if values:
            self._call("scalars", {self.name(path): value for path, value in values}, step)

    def _call(self, method: str, *args: Any) -> None:
        self._reopen()
        function = getattr(self.tracker, method, None)
        if function is None:
            warnings.warn(
                f"{type(self.tracker).__name__} does not support {method}: skipped", stacklevel=3
            )
            return
        self._guarded(function, *args)

    def _guarded(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls a method of the tracker; counts write errors instead of raising them."""
        try:
            function(*args)
        except _errors_of(self.tracker) as error:
            self._errors.add(error)

    def _reopen(self) -> None:
        """Reopens the tracker if it was closed; new values are appended."""
        if self.tracker is self._own_tracker and not self._close_tracker.alive:
            getattr(self.tracker, "reopen", lambda: None)()
            self._close_at_exit()

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._handler_classes[0](*args, **kwargs)

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._handler_classes[1](*args, **kwargs)


class _WriteErrors:
    """Counts the values that a tracker could not write; warns at most once a minute.

    Args:
        name: the name of the logger for warnings.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self.last: Exception | None = None
        """The last error."""
        self._count = 0
        self._throttle = clock.Throttle(_WARN_EVERY_S)

    def add(self, error: Exception) -> None:
        """Counts an error. Warns if the last warning was at least a minute ago."""
        self.last = error
        self._count += 1
        if self._throttle.is_due():
            self._logger.warning(
                "Cannot write logged values, training continues: %s: %s",
                type(error).__name__,
                error,
            )

    def report(self) -> None:
        """Logs how many entries are missing, if any."""
        if self._count:
            self._logger.warning("%d entries could not be logged", self._count)


def _errors_of(tracker: Tracker) -> tuple[type[Exception], ...]:
    return (OSError, *getattr(tracker, "errors", ()))


def _close(tracker: Tracker, errors: _WriteErrors) -> None:
    try:
        tracker.close()
    except _errors_of(tracker) as error:
        errors.add(error)
    errors.report()


def _parameter_path(tag: str | None, kind: str, name: str) -> Path:
    """Returns the path of a value of a parameter, such as ("weights_norm", "layer", "weight")."""
    return (*_prefix(tag, kind), *name.split("."))


class _OfLogger:
    """Mixin of handlers that accept only one class of logger."""

    logger_class: ClassVar[type[TrackerLogger]] = TrackerLogger
    mismatch: ClassVar[type[Exception]] = RuntimeError

    def _checked(self, logger: Any) -> TrackerLogger:
        if not isinstance(logger, self.logger_class):
            raise self.mismatch(
                f"Handler {type(self).__name__} works only with {self.logger_class.__name__}, "
                f"but given {type(logger).__name__}"
            )
        return logger


# The common part of the handlers of all trackers. The subclasses for one tracker set the class of its
# logger and, where Ignite uses other names, the format of the names.


class _LogsOutput(_OfLogger):
    """Mixin of output handlers."""

    def __call__(self: Any, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs the current values."""
        logger = self._checked(logger)
        step = self._global_step(engine, event_name)
        with_text = getattr(logger.tracker, "takes_text", False)
        logger.log(self._leaves(engine, with_text), step)


class _LogsHyperparameters(_OfLogger):
    """Mixin of handlers that log a hyperparameter of each parameter group."""

    _group: ClassVar[str] = "group_{}"

    def __call__(self: Any, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs the current values."""
        logger = self._checked(logger)
        name, groups = self.param_name, self.optimizer.param_groups
        prefix = _prefix(self.tag, name)
        if any(name not in one for one in groups):
            check_name(groups, name)
        values = [
            ((*prefix, self._group.format(index)), _number(one[name]))
            for index, one in enumerate(groups)
        ]
        logger.log(values, engine.state.get_event_attrib_value(event_name))


class _LogsNumbers(_OfLogger):
    """Mixin of handlers that log a number for each parameter, or for its gradient."""

    _what: ClassVar[str]
    _path: ClassVar[Any] = staticmethod(_parameter_path)

    def __call__(self: Any, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs the current numbers."""
        logger, reduction = self._checked(logger), self.reduction
        kind = f"{self._what}_{getattr(reduction, '__name__', type(reduction).__name__)}"
        values = [
            (self._path(self.tag, kind, name), reduction(tensor))
            for name, tensor in _tensors(self.weights, self._what)
        ]
        logger.log(stacked(values), engine.state.get_event_attrib_value(event_name))


class _LogsDistributions(_OfLogger):
    """Mixin of handlers that log the distribution of each parameter, or of its gradient."""

    _what: ClassVar[str]
    _path: ClassVar[Any] = staticmethod(_parameter_path)

    def __call__(self: Any, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs the current distributions."""
        logger, step = self._checked(logger), engine.state.get_event_attrib_value(event_name)
        for name, tensor in _tensors(self.weights, self._what):
            logger.histogram(logger.name(self._path(self.tag, self._what, name)), tensor, step)


def _tensors(parameters: Iterable[tuple[str, Tensor]], what: str) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters, or the gradients of those that have one."""
    for name, parameter in parameters:
        tensor = parameter.detach() if what == "weights" else parameter.grad
        if tensor is not None:
            yield name, tensor


class OutputHandler(_LogsOutput, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, see ``base_logger.BaseOutputHandler``."""


class OptimizerParamsHandler(_LogsHyperparameters, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``."""


class WeightsScalarHandler(_LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for each parameter, as ``[tag/]weights_norm/layer/weight``."""

    _what = "weights"


class GradsScalarHandler(_LogsNumbers, BaseWeightsScalarHandler):
    """Logs a number for the gradient of each parameter, as ``[tag/]grads_norm/layer/weight``.

    Parameters without a gradient are skipped.
    """

    _what = "grads"


class WeightsHistHandler(_LogsDistributions, BaseWeightsHandler):
    """Logs the distribution of each parameter, as ``[tag/]weights/layer/weight``.

    Synchronizes with the device.
    """

    _what = "weights"


class GradsHistHandler(_LogsDistributions, BaseWeightsHandler):
    """Logs the distribution of the gradient of each parameter, as ``[tag/]grads/layer/weight``.

    Parameters without a gradient are skipped. Synchronizes with the device.
    """

    _what = "grads"


TrackerLogger._handler_classes = (OutputHandler, OptimizerParamsHandler)


def _prefix(tag: str | None, *parts: str) -> Path:
    return parts if tag is None else (tag, *parts)


def _number(value: Any) -> Any:
    return value if isinstance(value, Tensor) else float(value)
