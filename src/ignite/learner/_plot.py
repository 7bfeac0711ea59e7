"""Plots of metrics over epochs, which a notebook draws once."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ignite._core.optional import import_optional

__all__ = ["make_figure", "plot"]


def plot(
    epochs: Sequence[int], values: Mapping[str, Sequence[float]], best: Mapping[str, Any]
) -> Any:
    """Plots metrics over epochs: losses in the first axes, all others in the second.

    Args:
        epochs: the epochs.
        values: the values of each metric, by name. The line of ``valid_NAME`` is dashed, and has
            the color of ``NAME``.
        best: the row of the best epoch, by the name of the metric. Only metrics of the validation
            are marked if there are any.

    Returns:
        The figure.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    groups = [[name for name in values if ("loss" in name) == is_loss] for is_loss in (True, False)]
    groups = [group for group in groups if group] or [[]]
    figure, axes = make_figure(len(groups))
    locator = import_optional("matplotlib.ticker", extra="plot").MaxNLocator
    has_validation = any(name.startswith("valid_") for name in values)
    for ax, group in zip(axes, groups, strict=True):
        bases = list(dict.fromkeys(name.removeprefix("valid_") for name in group))
        for name in group:
            is_valid = name.startswith("valid_")
            color = f"C{bases.index(name.removeprefix('valid_')) % 10}"
            style = "--" if is_valid else "-"
            ax.plot(epochs, values[name], style, marker=".", color=color, label=name)
            if name in best and is_valid == has_validation:
                row = best[name]
                label = f"best: {row[name]:.4g} (epoch {row['epoch']})"
                at = ([row["epoch"]], [row[name]])
                ax.scatter(*at, s=140, color=color, marker="*", zorder=3, label=label)
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss" if group and "loss" in group[0] else "metric")
        ax.xaxis.set_major_locator(locator(integer=True, min_n_ticks=1))
        if len(epochs) == 1:
            ax.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
        ax.grid(alpha=0.3)
        if group:
            ax.legend()
    return figure


def make_figure(num_axes: int) -> tuple[Any, list[Any]]:
    """Returns a figure of pyplot, with axes side by side, that a notebook draws once."""
    pyplot = import_optional("matplotlib.pyplot", extra="plot")
    figure, axes = pyplot.subplots(
        1, num_axes, squeeze=False, figsize=(6 * num_axes, 4), layout="constrained"
    )
    figure._ipython_display_ = _Shown(figure)
    return figure, list(axes[0])


class _Shown:
    """Shows a figure in a notebook, but only once in a cell.

    A figure that is the result of a cell would be drawn twice: as the result, and at the end of the
    cell, when the notebook draws all open figures and closes them.
    """

    def __init__(self, figure: Any) -> None:
        self._figure = figure
        self._is_drawn = False

    def __call__(self) -> None:
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        is_open = self._figure.number in pyplot.get_fignums()
        if is_open and self._is_drawn:
            return
        self._is_drawn = is_open
        display = import_optional("IPython.display", extra="plot")
        picture = io.BytesIO()
        self._figure.savefig(picture, format="png")
        display.display(display.Image(picture.getvalue()))
