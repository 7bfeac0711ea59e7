"""Progress bar based on tqdm."""

from __future__ import annotations

import contextlib
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ignite._core import clock
from ignite._core.optional import import_optional
from ignite._core.printable import is_terminal, printable
from ignite.engine import CallableEventWithFilter, Engine, Events, RemovableEventHandle
from ignite.handlers._progress_display import PlainBar
from ignite.handlers._trackers.scalars import on_host
from ignite.handlers.base_logger import BaseLogger, BaseOutputHandler

__all__ = ["ProgressBar"]

_BAR_FORMAT = (
    "{desc}[{n_fmt}/{total_fmt}] {percentage:3.0f}%|{bar}{postfix} [{elapsed}<{remaining}]"
)
_EVENT_ORDER: list[Any] = [
    Events.STARTED,
    Events.EPOCH_STARTED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
    Events.EPOCH_COMPLETED,
    Events.COMPLETED,
]
_EPOCH_EVENTS = (Events.EPOCH_STARTED, Events.EPOCH_COMPLETED)
_RUN_EVENTS = (Events.STARTED, Events.COMPLETED)


class ProgressBar(BaseLogger):
    """Shows the progress of a run, its metrics and outputs.

    The bar is redrawn at most every ``mininterval`` seconds (0.1), and at its end. Otherwise, an
    iteration costs one clock reading; outputs and metrics are read, and devices synchronized, only
    to redraw. In a notebook, the bar is a widget. If standard error is not a terminal, and no tqdm
    argument but ``desc`` is given, a plain line is printed every ten seconds and at the end of each
    bar.

    The bar starts counting at the current position, so that rate and remaining time are correct
    after resuming, too. It is closed when ``run`` returns or raises.

    Args:
        persist: whether closed bars stay visible.
        bar_format: the format of the bar, see tqdm.
        **tqdm_kwargs: arguments of tqdm. ``desc`` replaces "Epoch" or "Iteration".

    Attributes:
        pbar: the current tqdm bar, or None.

    Raises:
        ModuleNotFoundError: tqdm is not installed.

    Example::

        trainer = create_supervised_trainer(model, optimizer, loss_fn)
        ProgressBar().attach(trainer, output_transform=lambda loss: {"loss": loss})
    """

    def __init__(
        self, persist: bool = False, bar_format: str | None = _BAR_FORMAT, **tqdm_kwargs: Any
    ) -> None:
        std = import_optional("tqdm", extra="progress")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", std.TqdmExperimentalWarning)
            self._tqdm = import_optional("tqdm.autonotebook", extra="progress").tqdm
        self._is_notebook = self._tqdm.__module__ == "tqdm.notebook"
        self.persist = persist
        self.bar_format = bar_format
        self.tqdm_kwargs = tqdm_kwargs
        self.pbar: Any = None
        self._displays: weakref.WeakSet[_Display] = weakref.WeakSet()

    @property
    def pbar_cls(self) -> Any:
        """The class of the bars; settable."""
        return self._tqdm

    @pbar_cls.setter
    def pbar_cls(self, value: Any) -> None:
        self._tqdm = value

    @property
    def _options(self) -> dict[str, Any]:
        return {"leave": self.persist, "bar_format": self.bar_format, **self.tqdm_kwargs}

    def close(self) -> None:
        """Closes all open bars; later updates open new ones."""
        for display in self._displays:
            display.end()

    def attach(  # type: ignore[override]
        self,
        engine: Engine[Any, Any],
        metric_names: str | list[str] | None = None,
        output_transform: Callable[..., Any] | None = None,
        event_name: Any = Events.ITERATION_COMPLETED,
        closing_event_name: Any = Events.EPOCH_COMPLETED,
        state_attributes: list[str] | None = None,
    ) -> None:
        """Shows a bar for ``engine``, from one closing event to the next.

        Args:
            engine: any engine.
            metric_names: which of its metrics to show; a list, or "all".
            output_transform: selects what else to show from ``engine.state.output``.
            event_name: the event that advances the bar, with or without a filter.
            closing_event_name: the event that closes the bar.
            state_attributes: attributes of the state to show.

        Raises:
            ValueError: the engine has no such event, ``event_name`` does not come before
                ``closing_event_name``, or ``closing_event_name`` has a filter.
            TypeError: ``metric_names`` is neither a list nor "all".
        """
        _check_events(engine, event_name, closing_event_name)
        if metric_names is None and output_transform is None:
            metric_names = []
        display = _Display("", metric_names, output_transform, state_attributes=state_attributes)
        display.configure(self, event_name, closing_event_name)
        self._displays.add(display)
        engine.add_event_handler(event_name, display, self, event_name)
        engine.add_event_handler(closing_event_name, display.close)
        engine.add_run_context(display.around)

    def attach_opt_params_handler(
        self, engine: Engine[Any, Any], event_name: Any, *args: Any, **kwargs: Any
    ) -> RemovableEventHandle:
        """Does nothing: a progress bar shows no hyperparameters."""
        return RemovableEventHandle(event_name, self.log_message, engine)

    def log_message(self, message: str) -> None:
        """Prints a line above the bar."""
        stream = self._options.get("file")  # tqdm writes to standard output without one
        self._tqdm.write(printable(message, stream or sys.stdout), file=stream)

    @property
    def _stream(self) -> Any:
        return self._options.get("file") or sys.stderr

    def _make_bar(self, total: int | None, initial: int, desc: str) -> Any:
        has_options = bool(self.tqdm_kwargs.keys() - {"desc"}) or (
            self.bar_format not in (_BAR_FORMAT, "", None)  # tqdm ignores an empty format
        )
        if has_options or self._is_notebook or is_terminal(sys.stderr):
            return self._tqdm(
                total=total,
                initial=initial,
                **{**self._options, "desc": f"{printable(desc, self._stream)}: "},
            )
        return PlainBar(self._tqdm.format_meter, total, initial)

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        raise NotImplementedError("ProgressBar has no output handlers: use attach instead")

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        raise NotImplementedError("ProgressBar shows no hyperparameters")


class _Display(BaseOutputHandler):
    """The bar of one engine; created at the first update."""

    def configure(self, owner: ProgressBar, moving: Any, closing: Any) -> None:
        """Sets the logger, and the events that move and close the bar."""
        self._owner = owner
        self._moving = moving
        self._closing = closing
        self._bar: Any = None
        self._shown: dict[str, Any] = {}
        self._length: int | None = None
        self._due = 0.0
        self._is_closing = False

    def __call__(self, engine: Engine[Any, Any], logger: Any, event_name: Any) -> None:
        """Draws the bar if it is due."""
        now = clock.now()
        if self._bar is None or now >= self._due or self._position(engine) == self._length:
            self._draw(engine)
            self._due = now + self._bar.mininterval

    def close(self, engine: Engine[Any, Any]) -> None:
        """Draws the final state of the bar, and closes it."""
        if self._bar is not None:
            self._is_closing = True
            self._draw(engine)
            self.end()

    @contextlib.contextmanager
    def around(self, engine: Engine[Any, Any], is_new: bool) -> Iterator[None]:
        """Closes the bar at the end of a run, also if it raises."""
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Closes the bar, if it is open."""
        if self._bar is None:
            return
        self._bar.close()
        self._bar = self._owner.pbar = None
        self._shown, self._is_closing = {}, False

    def _position(self, engine: Engine[Any, Any]) -> int:
        count = engine.state.get_event_attrib_value(self._moving)
        return (count - 1) % self._length + 1 if self._length else max(count, 1)

    def _draw(self, engine: Engine[Any, Any]) -> None:
        if self._bar is None or self._length is None:
            self._length = self._total(engine)
        position = self._position(engine)
        if self._bar is None:
            self._bar = self._owner.pbar = self._owner._make_bar(
                self._length, position, self._description(engine)
            )
        bar = self._bar
        bar.total, bar.n = self._length, position
        stream = self._owner._stream
        bar.set_description(printable(self._description(engine), stream), refresh=False)
        for path, value in on_host(self._leaves(engine, with_text=True)).items():
            # The first part of a name is the tag, which is empty here.
            name = printable("_".join(map(str, path[1:])), stream)
            self._shown[name] = printable(value, stream) if isinstance(value, str) else value
        if self._shown:
            bar.set_postfix(self._shown, refresh=False)
        bar.refresh()

    def _chosen_outputs(self, engine: Engine[Any, Any]) -> Mapping[Any, Any]:
        if self._is_closing and engine.state.output is None:
            return {}  # the last iteration was skipped, so the previous values remain
        return super()._chosen_outputs(engine)

    def _total(self, engine: Engine[Any, Any]) -> int | None:
        if self._moving in _EPOCH_EVENTS:
            return engine.state.max_epochs
        return 1 if self._moving in _RUN_EVENTS else engine.state.epoch_length

    def _description(self, engine: Engine[Any, Any]) -> str:
        state = engine.state
        default = "Iteration" if state.max_epochs == 1 else "Epoch"
        description = str(self._owner._options.get("desc", default))
        if self._closing not in _EPOCH_EVENTS or state.max_epochs == 1:
            return description
        limit = "" if state.max_epochs is None else f"/{state.max_epochs}"
        return f"{description} [{state.epoch}{limit}]"


def _check_events(engine: Engine[Any, Any], moving: Any, closing: Any) -> None:
    for event in (moving, closing):
        if not engine.has_registered_events(event):
            raise ValueError(
                f"Logging event {event} is not in allowed events for this engine: register it first"
            )
    if isinstance(closing, CallableEventWithFilter) and closing.filter is not None:
        raise ValueError(f"Closing Event should not be a filtered event, but given {closing!r}")
    if (
        moving in _EVENT_ORDER
        and closing in _EVENT_ORDER
        and _EVENT_ORDER.index(moving) >= _EVENT_ORDER.index(closing)
    ):
        raise ValueError(f"Logging event {moving} should be called before closing event {closing}")
