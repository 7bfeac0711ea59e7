"""The history of a training: metrics by epoch and losses by step."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from ignite import storage
from ignite._core.markup import table, tag
from ignite._core.optional import import_optional
from ignite._core.systems import on_disk
from ignite.learner._plot import plot

__all__ = ["History", "checkpoints_in", "plain_value"]

_MAX_ITEMS = 2**16
_MAX_SHOWN = 6
_MAX_ROWS = 40
_NOT_RATED = ("epoch", "seconds")


class History:
    """Metrics of each epoch and the loss of each step. Prints as a table; saved in checkpoints.

    Attributes:
        epochs: a dictionary for each epoch: "epoch", "loss" (over the whole epoch), "seconds",
            metrics of the training, such as "accuracy", and of the validation, such as "valid_loss"
            and "valid_accuracy". Values for each class and matrices are lists; reports are
            dictionaries.
        steps: the loss of each step, in order.
        validations: with ``validate_every``, the results of each validation, with its "step" and
            "epoch".
        directions: for each metric, whether higher is better; None if the metric does not declare
            it.

    Example:
        >>> history = History()
        >>> history.add({"epoch": 1, "loss": 0.5, "valid_accuracy": 0.75})
        >>> history.add({"epoch": 2, "loss": 0.25, "valid_accuracy": 0.875})
        >>> print(history)
        epoch    loss  valid_accuracy
            1  0.5000          0.7500
            2  0.2500          0.8750
        >>> history["loss"], history.best("valid_accuracy", "max")["epoch"]
        ([0.5, 0.25], 2)
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.steps: list[float] = []
        self.validations: list[dict[str, Any]] = []
        self.directions: dict[str, bool | None] = {
            "loss": False,
            "valid_loss": False,
            "seconds": False,
        }

    @classmethod
    def from_run(cls, folder: str | Path) -> Self:
        """Reads the history of a run with ``run_dir``, up to its last checkpoint.

        Raises:
            FileNotFoundError: the folder has no checkpoint that can be loaded.

        Example::

            History.from_run("runs/first")["valid_accuracy"]
        """
        place = storage.open_place(checkpoints_in(on_disk(folder)))
        loaded = storage.load_latest(place)
        saved = None if loaded is None else loaded.state.get("recorder")
        if saved is None:
            raise FileNotFoundError(
                f"{folder} should be the folder of a run of Learner.fit, with checkpoints, but it "
                "has none"
            )
        return cls.of(saved["history"])

    @classmethod
    def of(cls, state_dict: Mapping[str, Any]) -> Self:
        """Returns the history with a state of :meth:`state_dict`."""
        history = cls()
        history.load_state_dict(state_dict)
        return history

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds the row of an epoch."""
        self.epochs.append(dict(row))

    @property
    def names(self) -> list[str]:
        """Names of all entries, in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self.epochs for name in row))

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.names:
            raise KeyError(f"the history has no {name!r}, only {', '.join(self.names)}")
        return [row.get(name, math.nan) for row in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.epochs)

    def best(self, name: str, mode: str | None = None) -> dict[str, Any]:
        """Returns the epoch in which a metric was best; the first one if several are equal.

        Args:
            name: name of the metric.
            mode: whether the lowest ("min") or highest ("max") value is best; by default the
                direction that the metric declares.

        Raises:
            KeyError: the history has no such metric.
            ValueError: it is NaN in all epochs, or no number; or ``mode`` is invalid, or not given
                and not known.
        """
        if mode is None and self.directions.get(name) is not None:
            mode = "max" if self.directions[name] else "min"
        if mode not in ("min", "max"):
            raise ValueError(f"mode should be 'min' or 'max', but given {mode!r}")
        values = self[name]
        if strange := [value for value in values if not isinstance(value, numbers.Real)]:
            raise ValueError(
                f"{name} should be a number to have a best epoch, but is a "
                f"{type(strange[0]).__name__}"
            )
        rows = [
            row for row, value in zip(self.epochs, values, strict=True) if not math.isnan(value)
        ]
        if not rows:
            raise ValueError(f"{name} has not been a number in any epoch")
        sign = 1 if mode == "min" else -1
        return min(rows, key=lambda row: sign * row[name])

    def to_pandas(self) -> Any:
        """Returns a data frame with one row per epoch.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return import_optional("pandas", extra="pandas").DataFrame(self.epochs)

    def plot(self, names: list[str] | None = None) -> Any:
        """Plots metrics over epochs: losses on the left, all others on the right.

        A star marks the best epoch of each metric that declares whether higher is better, of the
        validation if there is one.

        Args:
            names: names of the metrics; by default all that are single numbers.

        Returns:
            The matplotlib figure. A notebook draws it once, whether or not it is the result of a
            cell.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
            KeyError: the history has no such metric.
        """
        shown = [name for name in names or self._plotted if name not in ("epoch", "seconds")]
        values = {name: self[name] for name in shown}
        return plot(self["epoch"] if self.epochs else [], values, self._best_of(shown))

    def _best_of(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns the best epoch of each metric that has a direction and a number."""
        found = {}
        for name in names:
            with contextlib.suppress(ValueError):
                found[name] = self.best(name)
        return found

    @property
    def _plotted(self) -> list[str]:
        """Names of the metrics that are single numbers."""
        return [
            name
            for name in self.names
            if all(isinstance(row.get(name, 0.0), numbers.Real) for row in self.epochs)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Returns all epochs and steps."""
        return {
            "epochs": [dict(row) for row in self.epochs],
            "steps": torch.tensor(self.steps, dtype=torch.float64),
            "directions": dict(self.directions),
            "validations": [dict(row) for row in self.validations],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores saved epochs and steps."""
        self.epochs = [dict(row) for row in state_dict["epochs"]]
        self.validations = [dict(row) for row in state_dict.get("validations", ())]
        steps = state_dict.get("steps")  # files of weights in safetensors have none
        self.steps = [] if steps is None else steps.tolist()
        # Those of this program take precedence; files of earlier versions have none.
        self.directions = {**state_dict.get("directions", {}), **self.directions}

    def __str__(self) -> str:
        names = self.names
        rows = [[_shown(row.get(name)) for name in names] for row in self.epochs]
        widths = [max(len(name), *(len(row[i]) for row in rows)) for i, name in enumerate(names)]
        lines = [names, *rows]
        return "\n".join(
            "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
            for line in lines
        )

    def _repr_html_(self) -> str:
        """A table for notebooks, with the best value of each metric marked."""
        names = self.names
        best = {
            name: row["epoch"]
            for name, row in self._best_of([n for n in names if n not in _NOT_RATED]).items()
            if "epoch" in row
        }
        rows = [
            [
                tag("b", "★ ", _shown(row.get(name)))
                if row.get("epoch") is not None and best.get(name) == row.get("epoch")
                else _shown(row.get(name))
                for name in names
            ]
            for row in self.epochs
        ]
        if len(rows) > _MAX_ROWS:  # notebooks are saved
            rest = ["..."] * len(names)
            rows = [*rows[: _MAX_ROWS // 2], rest, *rows[-_MAX_ROWS // 2 :]]
        return table(names, rows, num_texts=0)

    def __repr__(self) -> str:
        return f"<History of {len(self.epochs)} epochs, {len(self.steps)} steps>"


def checkpoints_in(folder: Path) -> Path:
    """Returns the folder of the checkpoints of a run."""
    inner = folder / "checkpoints"
    return inner if inner.is_dir() else folder


def plain_value(value: Any) -> Any:
    """Converts the value of a metric to a float, or to lists and dictionaries of them.

    Returns None for other values, and for more than 65,536 numbers.

    Example:
        >>> plain_value(torch.tensor([0.5, 1.0])), plain_value({"a": torch.tensor(2)})
        ([0.5, 1.0], {'a': 2.0})
    """
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        items = {str(key): plain_value(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not None}
    if isinstance(getattr(value, "shape", None), Sequence) and hasattr(value, "tolist"):
        size = math.prod(value.shape)
        if size > _MAX_ITEMS or str(getattr(value, "dtype", "")) == "object":
            return None
        return float(value) if size == 1 else _floats(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items_of = [plain_value(item) for item in value[:_MAX_ITEMS]]
        return None if None in items_of or len(value) > _MAX_ITEMS else items_of
    return None


def _floats(value: Any) -> Any:
    return [_floats(item) for item in value] if isinstance(value, list) else float(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        is_short = len(value) <= _MAX_SHOWN and not any(isinstance(one, list) for one in value)
        return f"[{' '.join(map(_shown, value))}]" if is_short else f"[{len(value)} values]"
    if isinstance(value, dict):
        return f"{{{len(value)} values}}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
