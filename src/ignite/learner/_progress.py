"""What ``fit`` shows while it runs: a live display, a bar, or a line for each epoch."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ignite import distributed as idist
from ignite._core.printable import in_notebook, is_terminal, printable
from ignite.engine import Engine, Events
from ignite.handlers import LiveProgress, ProgressBar
from ignite.learner._runs import Recorder, loss_of

__all__ = ["EpochLines", "shown"]

_KINDS = (True, False, "auto", "live", "bar", "lines")


class EpochLines:
    """Writes a line with the metrics of each epoch that ends.

    Args:
        recorder: has the metrics of the epoch.
        write: writes a line; by default to standard error.

    Example:
        >>> recorder, lines = Recorder(), []
        >>> recorder.history.add({"epoch": 1, "loss": 0.25, "valid_loss": 2e-7, "seconds": 3.04})
        >>> EpochLines(recorder, lines.append)(Engine(lambda engine, batch: None))
        >>> lines
        ['epoch 1  loss 0.2500  valid_loss 2.000e-07  3.0 s']
    """

    def __init__(self, recorder: Recorder, write: Callable[[str], Any] | None = None) -> None:
        self._recorder = recorder
        self._write = write or _to_stderr

    def __call__(self, engine: Engine[Any, Any]) -> None:
        """Writes the line of the last epoch of the history."""
        self._write(line_of(self._recorder.history.epochs[-1], engine.state.max_epochs))


def line_of(row: Mapping[str, Any], max_epochs: int | None = None) -> str:
    """Formats the row of an epoch; lists and dictionaries are left out."""
    last = "" if max_epochs is None else f"/{max_epochs}"
    epoch = f"{row['epoch']:>{max(len(last) - 1, 0)}}"
    values = [
        f"{name} {_number(value)}"
        for name, value in row.items()
        if name not in ("epoch", "seconds") and isinstance(value, int | float)
    ]
    seconds = [f"{row['seconds']:.1f} s"] if "seconds" in row else []
    return "  ".join([f"epoch {epoch}{last}", *values, *seconds])


def _number(value: float) -> str:
    is_fixed = value == 0 or 1e-3 <= abs(value) < 1e5 or value != value
    return f"{value:.4f}" if is_fixed else f"{value:.3e}"


def _to_stderr(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(printable(f"{line}\n", sys.stderr))
        sys.stderr.flush()


def shown(
    trainer: Engine[Any, Any],
    evaluator: Engine[Any, Any] | None,
    recorder: Recorder,
    progress: bool | str,
) -> None:
    """Attaches what shows the progress: "live", "bar", "lines", the best of these, or nothing.

    Raises:
        ValueError: ``progress`` is none of these.
        ModuleNotFoundError: a package that the display needs is not installed.
    """
    if progress not in _KINDS:
        raise ValueError(
            "progress should be True, False, 'auto', 'live', 'bar' or 'lines', but given "
            f"{progress!r}"
        )
    if progress in (True, "auto"):
        progress = _best_kind()
    if progress is False or idist.get_rank() != 0:
        return
    if progress == "live":
        directions = recorder.history.directions.items()
        lower = {name.removeprefix("valid_"): not up for name, up in directions if up is not None}
        evaluators = None if evaluator is None else {"validation": evaluator}
        LiveProgress(lower).attach(trainer, evaluators, output_transform=loss_of)
        return
    if progress == "bar":  # which is closed before the line is written
        ProgressBar().attach(trainer, output_transform=lambda output: {"loss": loss_of(output)})
    trainer.add_event_handler(Events.EPOCH_COMPLETED, EpochLines(recorder), priority=float("-inf"))


def _best_kind() -> str:
    """A display that is redrawn in a terminal or notebook, and lines elsewhere."""
    if in_notebook():
        return "live"
    if not is_terminal(sys.stderr):
        return "lines"
    for package, kind in (("rich", "live"), ("tqdm", "bar")):
        if importlib.util.find_spec(package):
            return kind
    return "lines"
