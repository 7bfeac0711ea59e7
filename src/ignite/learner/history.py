"""The history of a training: metrics by epoch and losses by step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ignite._core.optional import import_optional

__all__ = ["History"]


class History:
    """Metrics of each epoch and the loss of each step. Prints as a table; saved in checkpoints.

    Attributes:
        epochs: a dictionary for each epoch: "epoch", "loss" (over the whole epoch), "seconds", and
            the results of the validation, such as "valid_loss" and "valid_accuracy".
        steps: the loss of each step, in order.
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
        self.directions: dict[str, bool | None] = {
            "loss": False,
            "valid_loss": False,
            "seconds": False,
        }

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
            ValueError: it is NaN in all epochs, or ``mode`` is invalid, or not given and not known.
        """
        if mode is None and self.directions.get(name) is not None:
            mode = "max" if self.directions[name] else "min"
        if mode not in ("min", "max"):
            raise ValueError(f"mode should be 'min' or 'max', but given {mode!r}")
        values = self[name]
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

        Returns the matplotlib figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        shown = [name for name in names or self.names if name not in ("epoch", "seconds")]
        groups = [
            [name for name in shown if ("loss" in name) == is_loss] for is_loss in (True, False)
        ]
        groups = [group for group in groups if group]
        figure, axes = pyplot.subplots(1, len(groups), squeeze=False, figsize=(6 * len(groups), 4))
        for ax, group in zip(axes[0], groups, strict=True):
            for name in group:
                ax.plot(self["epoch"], self[name], marker=".", label=name)
            ax.set_xlabel("epoch")
            ax.legend()
        return figure

    def state_dict(self) -> dict[str, Any]:
        """Returns all epochs and steps."""
        return {
            "epochs": [dict(row) for row in self.epochs],
            "steps": torch.tensor(self.steps, dtype=torch.float64),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores saved epochs and steps."""
        self.epochs = [dict(row) for row in state_dict["epochs"]]
        self.steps = state_dict["steps"].tolist()

    def __str__(self) -> str:
        names = self.names
        rows = [[_shown(row.get(name)) for name in names] for row in self.epochs]
        widths = [max(len(name), *(len(row[i]) for row in rows)) for i, name in enumerate(names)]
        lines = [names, *rows]
        return "\n".join(
            "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
            for line in lines
        )

    def __repr__(self) -> str:
        return f"<History of {len(self.epochs)} epochs, {len(self.steps)} steps>"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
