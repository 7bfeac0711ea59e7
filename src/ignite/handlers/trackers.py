"""Loggers of all kinds from three verbs: a tracker keeps scalars and histograms, and is closed; the rest is here.

A tracker of one's own needs no more than this:

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
    ...     _ = logger.attach_output_handler(
    ...         engine, Events.ITERATION_COMPLETED(every=2), tag="train", output_transform=lambda x: {"loss": x}
    ...     )
    ...     _ = engine.run([1.0, 2.0, 3.0, 4.0])
    2 {'train/loss': 1.0}
    4 {'train/loss': 2.0}
    closed
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path as FilePath
from typing import Any, ClassVar

from torch import Tensor

from ignite.engine import Engine
from ignite.handlers._schedules.param_groups import check_name
from ignite.handlers._trackers.host_copy import InOrder, stacked
from ignite.handlers._trackers.losses import Losses
from ignite.handlers._trackers.tracker import Tracker
from ignite.handlers._trackers.values import Path, Scalar
from ignite.handlers.base_logger import (
    BaseHandler,
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


class TrackerLogger(BaseLogger):
    """A logger on a :class:`Tracker`.

    Scalars on an accelerator are copied aside and handed to the tracker when they have come, in order, so that logging
    never waits for a step. What cannot be written, because a disk is full or a connection fails (``OSError``), is
    left out: training goes on, and the log says so once a minute, and again at the end.

    Args:
        tracker: where values are kept.

    Attributes:
        tracker: the same.

    Raises:
        TypeError: ``tracker`` has not the verbs of one.

    State:
        That of the tracker, if it has one: what it needs to cut off what was logged after a checkpoint.
    """

    def __init__(self, tracker: Tracker) -> None:
        if not isinstance(tracker, Tracker):
            raise TypeError(
                f"tracker should have scalars, histogram and close, but given {type(tracker).__name__}, see Tracker"
            )
        self.tracker = tracker
        self._in_order = InOrder()
        self._losses = Losses(f"{__name__}.{type(self).__name__}")
        self._own_tracker = tracker
        self._will_close()

    def _will_close(self) -> None:
        """Also at the end of the program."""
        self._close_tracker = weakref.finalize(self, _close, self._own_tracker, self._losses)

    def log(self, values: Iterable[tuple[Path, Scalar]], step: int) -> None:
        """Hands values to the tracker, as soon as they are on the host.

        Args:
            values: pairs of the parts of a name, and a number, string or tensor of at most one dimension.
            step: the number of the step.
        """
        for ready in self._in_order.add(values, step):
            self._hand_over(*ready)

    def params(self, values: Mapping[str, Any]) -> None:
        """Keeps hyper-parameters, if the tracker can."""
        self._ask("params", values)

    def image(self, name: str, image: Tensor, step: int) -> None:
        """Keeps a picture of shape (C, H, W), floating point in [0, 1] or uint8, if the tracker can."""
        self._ask("image", name, image, step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        """Keeps a figure of matplotlib, if the tracker can."""
        self._ask("figure", name, figure, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Keeps the distribution of the elements of ``values``; waits for their device."""
        self._ask("histogram", name, values, step)

    def artifact(self, path: str | PathLike[str]) -> None:
        """Keeps a file, if the tracker can."""
        self._ask("artifact", path)

    def flush(self) -> None:
        """Hands over what still waits for a device."""
        for ready in self._in_order.take_all():
            self._hand_over(*ready)

    def close(self) -> None:
        """Hands over what waits, and closes the tracker, which is opened anew if it is used after that."""
        self.flush()
        self._close_tracker()

    def state_dict(self) -> dict[str, Any]:
        """See the class."""
        self.flush()
        save = getattr(self.tracker, "state_dict", None)
        return {"tracker": None if save is None else save()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Lets the tracker go on where the state was taken."""
        self.flush()
        self._open_again()
        load = getattr(self.tracker, "load_state_dict", None)
        if load is not None and state_dict["tracker"] is not None:
            load(state_dict["tracker"])

    @contextmanager
    def _elsewhere(self, folder: FilePath) -> Iterator[Callable[[], None]]:
        """Until the end of the block, it logs to ``folder``, if the tracker can; yields what looks for losses."""
        self.flush()
        tracker, losses = self.tracker, self._losses
        self._losses = Losses(f"{__name__}.{type(self).__name__}")
        make: Callable[[FilePath], Tracker] | None = getattr(tracker, "elsewhere", None)
        if make is not None:
            self.tracker = make(folder)
        try:
            yield self._raise_losses
        finally:
            try:
                if make is not None:
                    self.tracker.close()
            finally:
                self.tracker, self._losses = tracker, losses

    def _raise_losses(self) -> None:
        self.flush()
        if self._losses.last is not None:
            raise self._losses.last

    def name(self, path: Path) -> str:
        """The parts of a name, joined as the tracker has it."""
        separator: str = getattr(self.tracker, "separator", "/")
        return separator.join(map(str, path))

    def _hand_over(self, values: list[tuple[Path, Any]], step: int) -> None:
        if values:
            self._ask("scalars", {self.name(path): value for path, value in values}, step)

    def _ask(self, verb: str, *args: Any) -> None:
        self._open_again()
        function = getattr(self.tracker, verb, None)
        if function is None:
            warnings.warn(f"{type(self.tracker).__name__} keeps no {verb}: left out", stacklevel=3)
            return
        try:
            function(*args)
        except OSError as error:
            self._losses.note(error)

    def _open_again(self) -> None:
        """Goes on behind what is there, if the tracker was closed."""
        if self.tracker is self._own_tracker and not self._close_tracker.alive:
            getattr(self.tracker, "reopen", lambda: None)()
            self._will_close()

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return OutputHandler(*args, **kwargs)

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return OptimizerParamsHandler(*args, **kwargs)


def _close(tracker: Tracker, losses: Losses) -> None:
    try:
        tracker.close()
    except OSError as error:
        losses.note(error)
    losses.tell()


class _OfLogger(BaseHandler):
    """Refuses other loggers than its own."""

    logger_class: ClassVar[type[TrackerLogger]] = TrackerLogger
    mismatch: ClassVar[type[Exception]] = RuntimeError

    def _check(self, logger: Any) -> None:
        if not isinstance(logger, self.logger_class):
            raise self.mismatch(
                f"Handler {type(self).__name__} works only with {self.logger_class.__name__}, but given "
                f"{type(logger).__name__}"
            )


class OutputHandler(_OfLogger, BaseOutputHandler):
    """Logs metrics, outputs and attributes of the state, see ``base_logger.BaseOutputHandler``."""

    def __call__(self, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs what there is now."""
        self._check(logger)
        step = self._global_step(engine, event_name)
        logger.log(self._leaves(engine, with_text=getattr(logger.tracker, "takes_text", False)), step)


class OptimizerParamsHandler(_OfLogger, BaseOptimizerParamsHandler):
    """Logs ``param_name`` of each group of an optimizer, as ``[tag/]lr/group_0``."""

    def __call__(self, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs the values of now."""
        self._check(logger)
        prefix = _prefix(self.tag, self.param_name)
        groups = self.optimizer.param_groups
        if any(self.param_name not in group for group in groups):
            check_name(groups, self.param_name)
        values = [((*prefix, f"group_{index}"), _number(group[self.param_name])) for index, group in enumerate(groups)]
        logger.log(values, engine.state.get_event_attrib_value(event_name))


class WeightsScalarHandler(_OfLogger, BaseWeightsScalarHandler):
    """Logs a number for each parameter, as ``[tag/]weights_norm/layer/weight``."""

    what: ClassVar[str] = "weights"

    def __call__(self, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs the numbers of now."""
        self._check(logger)
        kind = f"{self.what}_{getattr(self.reduction, '__name__', type(self.reduction).__name__)}"
        prefix = _prefix(self.tag, kind)
        values = [((*prefix, *name.split(".")), self.reduction(tensor)) for name, tensor in self._tensors()]
        logger.log(stacked(values), engine.state.get_event_attrib_value(event_name))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, parameter.detach()) for name, parameter in self.weights)


class GradsScalarHandler(WeightsScalarHandler):
    """Logs a number for the gradient of each parameter that has one, as ``[tag/]grads_norm/layer/weight``."""

    what = "grads"

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, parameter.grad) for name, parameter in self.weights if parameter.grad is not None)


class WeightsHistHandler(_OfLogger, BaseWeightsHandler):
    """Logs the distribution of each parameter, as ``[tag/]weights/layer/weight``. Waits for the device."""

    what: ClassVar[str] = "weights"

    def __call__(self, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Logs the distributions of now."""
        self._check(logger)
        step, prefix = engine.state.get_event_attrib_value(event_name), _prefix(self.tag, self.what)
        for name, tensor in self._tensors():
            logger.histogram(logger.name((*prefix, *name.split("."))), tensor, step)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, parameter.detach()) for name, parameter in self.weights)


class GradsHistHandler(WeightsHistHandler):
    """Logs the distribution of the gradient of each parameter that has one, as ``[tag/]grads/layer/weight``."""

    what = "grads"

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, parameter.grad) for name, parameter in self.weights if parameter.grad is not None)


def _prefix(tag: str | None, *parts: str) -> Path:
    return parts if tag is None else (tag, *parts)


def _number(value: Any) -> Any:
    return value if isinstance(value, Tensor) else float(value)
