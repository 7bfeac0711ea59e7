"""What a training has come to, epoch by epoch and step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ignite._core.optional import import_optional

__all__ = ["History"]


class History:
    """The figures of each epoch, and the loss of each step. Prints as a table; part of the checkpoints.

    Attributes:
        epochs: a dictionary for each epoch: "epoch", "loss" (over all that counts in it), "seconds", and what the
            validation found, as "valid_loss", "valid_accuracy", ...
        steps: the loss of each step, in order.
        directions: for each figure whether higher is better; None where its metric does not say so.

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
        self.directions: dict[str, bool | None] = {"loss": False, "valid_loss": False, "seconds": False}

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch."""
        self.epochs.append(dict(row))

    @property
    def names(self) -> list[str]:
        """What there is of the epochs, in the order in which it came."""
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
        """The epoch in which a figure was best; the first of equal ones.

        Args:
            name: of the figure.
            mode: whether the lowest ("min") or the highest ("max") is the best; by default what its metric says.

        Raises:
            KeyError: there is no such figure.
            ValueError: it was never a number, or ``mode`` is neither, or not given and not known.
        """
        if mode is None and self.directions.get(name) is not None:
            mode = "max" if self.directions[name] else "min"
        if mode not in ("min", "max"):
            raise ValueError(f"mode should be 'min' or 'max', but given {mode!r}")
        values = self[name]
        rows = [row for row, value in zip(self.epochs, values, strict=True) if not math.isnan(value)]
        if not rows:
            raise ValueError(f"{name} has not been a number in any epoch")
        sign = 1 if mode == "min" else -1
        return min(rows, key=lambda row: sign * row[name])

    def to_pandas(self) -> Any:
        """A data frame with a row for each epoch.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return import_optional("pandas", extra="pandas").DataFrame(self.epochs)

    def plot(self, names: list[str] | None = None) -> Any:
        """Draws figures over the epochs: losses on the left, all others on the right. Returns matplotlib's figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        shown = [name for name in names or self.names if name not in ("epoch", "seconds")]
        groups = [[name for name in shown if ("loss" in name) == is_loss] for is_loss in (True, False)]
        groups = [group for group in groups if group]
        figure, axes = pyplot.subplots(1, len(groups), squeeze=False, figsize=(6 * len(groups), 4))
        for ax, group in zip(axes[0], groups, strict=True):
            for name in group:
                ax.plot(self["epoch"], self[name], marker=".", label=name)
            ax.set_xlabel("epoch")
            ax.legend()
        return figure

    def state_dict(self) -> dict[str, Any]:
        """All figures."""
        return {"epochs": [dict(row) for row in self.epochs], "steps": torch.tensor(self.steps, dtype=torch.float64)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from figures that were saved."""
        self.epochs = [dict(row) for row in state_dict["epochs"]]
        self.steps = state_dict["steps"].tolist()

    def __str__(self) -> str:
        names = self.names
        rows = [[_shown(row.get(name)) for name in names] for row in self.epochs]
        widths = [max(len(name), *(len(row[i]) for row in rows)) for i, name in enumerate(names)]
        lines = [names, *rows]
        return "\n".join(
            "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
        )

    def __repr__(self) -> str:
        return f"<History of {len(self.epochs)} epochs, {len(self.steps)} steps>"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
