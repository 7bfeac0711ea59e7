"""Live progress display of a run in a terminal or a notebook."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import Any

from ignite import distributed as idist
from ignite._core import clock
from ignite._core.printable import in_notebook
from ignite.engine import Engine, Events
from ignite.handlers._notebook_display import NotebookScreen
from ignite.handlers._progress_display import (
    Best,
    Curve,
    DisplayState,
    Pace,
    Row,
    Screen,
    lower_is_better,
    sparkline,
)
from ignite.handlers._trackers.scalars import named_leaves, on_host

__all__ = ["LiveProgress"]

_EVERY_S = 0.1
_PLAIN_EVERY_S = 10.0
_MAX_VALUES = 10
"""Arrays and containers of more values, such as matrices, are not shown."""


class LiveProgress:
    """Shows the progress of a run: epochs, iterations, rate, remaining time, metrics and loss.

    The display includes the best value of each metric, the loss and its curve, and the fraction of
    time spent waiting for data. In a notebook it is HTML, which stays in the saved notebook. It is
    redrawn at most ten times a second; otherwise, an iteration costs three clock readings. Outputs
    and metrics are read, and devices synchronized, only to redraw. Printed and logged lines appear
    above the display. Without a terminal or notebook, a plain line is printed every ten seconds and
    at the end of each epoch.

    Args:
        lower_is_better: by metric name, such as ``{"score": True}``. Losses and errors are detected
            by name.
        console: a rich console; by default, standard error.

    Raises:
        ModuleNotFoundError: rich is not installed, which is not needed in a notebook.

    State:
        The best values of the metrics.

    Distributed:
        The first process shows its own progress; the others show nothing.

    Example::

        LiveProgress().attach(trainer, {"validation": evaluator})
        trainer.run(loader, max_epochs=10)
    """

    def __init__(
        self, lower_is_better: Mapping[str, bool] | None = None, *, console: Any = None
    ) -> None:
        is_in_notebook = console is None and in_notebook()
        self._screen = NotebookScreen() if is_in_notebook else Screen(console)
        self._lower = dict(lower_is_better or {})
        self._every_s = _EVERY_S if self._screen.is_live else _PLAIN_EVERY_S
        self._best: dict[tuple[str, str], Best] = {}
        self._rows: dict[tuple[str, str], Row] = {}
        self._curve = Curve()
        self._begin(0.0, 0)

    def attach(
        self,
        trainer: Engine[Any, Any],
        evaluators: Mapping[str, Engine[Any, Any]] | None = None,
        *,
        output_transform: Callable[[Any], Any] = lambda output: output,
    ) -> None:
        """Shows the runs of ``trainer``.

        Args:
            trainer: the engine whose progress is shown.
            evaluators: engines that run in its handlers, by display name; all their metrics are
                shown.
            output_transform: selects the loss from ``trainer.state.output``; shown if it is a
                single number.
        """
        if idist.get_rank() != 0:
            return
        self._output_transform = output_transform
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._begin_waiting)
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, self._end_waiting)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._draw_if_due)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch, priority=float("-inf"))
        trainer.add_run_context(self._around)
        for name, evaluator in (evaluators or {}).items():
            evaluator.add_event_handler(
                Events.ITERATION_COMPLETED, self._draw_evaluator_if_due, name, weakref.ref(trainer)
            )
            evaluator.add_event_handler(
                Events.COMPLETED, self._end_evaluation, name, weakref.ref(trainer)
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns the best values of the metrics."""
        return {
            "best": [[*key, best.lower, best.value, best.epoch] for key, best in self._best.items()]
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the best values."""
        self._best = {}
        for source, name, lower, value, epoch in state_dict["best"]:
            best = self._best[source, name] = Best(lower)
            best.value, best.epoch = value, epoch

    def _begin(self, now: float, iteration: int) -> None:
        self._pace = Pace(now, iteration)
        self._due = 0.0
        self._waited = self._waiting_since = 0.0

    @contextlib.contextmanager
    def _around(self, engine: Engine[Any, Any], is_new: bool) -> Iterator[None]:
        self._begin(clock.now(), 0 if is_new else engine.state.iteration)
        try:
            yield
        finally:
            self._screen.close()

    def _begin_waiting(self) -> None:
        self._waiting_since = perf_counter()

    def _end_waiting(self) -> None:
        self._waited += perf_counter() - self._waiting_since

    def _draw_if_due(self, engine: Engine[Any, Any]) -> None:
        now = clock.now()
        if now >= self._due:
            self._due = now + self._every_s
            self._read_loss(engine)
            self._draw(engine, now)

    def _draw_evaluator_if_due(self, engine: Engine[Any, Any], name: str, trainer: Any) -> None:
        now, outer = clock.now(), trainer()
        if now >= self._due and outer is not None:
            self._due = now + self._every_s
            length = engine.state.epoch_length
            self._draw(
                outer, now, f"{name} {engine.state.iteration}/{'?' if length is None else length}"
            )

    def _end_evaluation(self, engine: Engine[Any, Any], name: str, trainer: Any) -> None:
        outer = trainer()
        if outer is not None:
            self._update_rows(name, engine, outer.state.epoch)

    def _end_epoch(self, engine: Engine[Any, Any]) -> None:
        self._update_rows("training", engine, engine.state.epoch)
        if engine.state.output is not None:  # None if the last iteration was skipped
            self._read_loss(engine)
        self._draw(engine, clock.now())

    def _update_rows(self, source: str, engine: Engine[Any, Any], epoch: int) -> None:
        few = {name: value for name, value in engine.state.metrics.items() if _is_short(value)}
        for path, value in on_host(named_leaves(few, (), with_text=True)).items():
            key = (source, "/".join(map(str, path)))
            if not isinstance(value, int | float):
                self._rows[key] = Row(*key, str(value))
                continue
            lower = self._lower.get(key[1], lower_is_better(key[1]))
            best = self._best.setdefault(key, Best(lower))
            is_best = best.update(float(value), epoch)
            self._rows[key] = Row(*key, float(value), best.value, best.epoch, is_best)

    def _read_loss(self, engine: Engine[Any, Any]) -> None:
        output = self._output_transform(engine.state.output)
        if isinstance(output, int | float) or (hasattr(output, "numel") and output.numel() == 1):
            self._curve.add(float(output))

    def _draw(self, trainer: Engine[Any, Any], now: float, running: str | None = None) -> None:
        state = trainer.state
        self._pace.update(now, state.iteration)
        length, elapsed = state.epoch_length, self._pace.elapsed
        last = state.max_iters
        if last is None and length is not None and state.max_epochs is not None:
            last = length * state.max_epochs
        done = state.iteration if length is None else (state.iteration - 1) % length + 1
        shown = DisplayState(
            epoch=state.epoch,
            max_epochs=state.max_epochs,
            iteration=done,
            length=length,
            rate=self._pace.per_second,
            elapsed=elapsed,
            left=self._pace.left(state.iteration, last),
            waiting=min(self._waited / elapsed, 1.0) if elapsed > 0 else None,
            curve=sparkline(self._curve.points(), 40),
            now_running=running,
            rows=list(self._rows.values()),
            loss=self._curve.last,
        )
        self._screen.show(shown)


def _is_short(value: Any) -> bool:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return len(shape) < 2 and math.prod(shape) <= _MAX_VALUES
    return not isinstance(value, list | tuple | dict) or len(value) <= _MAX_VALUES
