"""Helpers of trackers: for resumed runs, for dry runs, and to convert histograms and images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["Discarding", "LoggedSteps", "bin_counts", "last_steps", "pixels"]


class LoggedSteps:
    """Last step of each name that an earlier process logged after the checkpoint.

    A resumed run repeats the steps between its checkpoint and the moment at which it was killed.
    Trackers that cannot delete values skip these.

    Example:
        >>> logged = LoggedSteps()
        >>> logged.note("loss", 3)
        >>> logged.new({"loss": 0.5, "lr": 0.1}, step=3)
        {'lr': 0.1}
        >>> logged.new({"loss": 0.5, "lr": 0.1}, step=4)
        {'loss': 0.5, 'lr': 0.1}
    """

    def __init__(self) -> None:
        self._by_name: dict[str, int] = {}
        self._of_all = -1

    def note(self, name: str, step: int) -> None:
        """Records that ``name`` was logged up to ``step``."""
        self._by_name[name] = max(step, self._by_name.get(name, -1))

    def note_all(self, step: int) -> None:
        """Records that all names were logged up to ``step``."""
        self._of_all = max(step, self._of_all)

    def has(self, name: str, step: int) -> bool:
        """Whether an earlier process logged ``name`` at ``step``."""
        return step <= max(self._of_all, self._by_name.get(name, -1))

    def new(self, values: Mapping[str, Any], step: int) -> dict[str, Any]:
        """Returns the values that have not been logged yet."""
        return {name: value for name, value in values.items() if not self.has(name, step)}


class Discarding:
    """A :class:`~ignite.handlers.trackers.Tracker` for dry runs that discards all values.

    Args:
        client: the client of the real tracker.
    """

    takes_text = True

    def __init__(self, client: Any) -> None:
        self.client = client

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Discards scalars."""

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Discards a histogram."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Discards hyperparameters."""

    def image(self, name: str, image: Tensor, step: int) -> None:
        """Discards an image."""

    def figure(self, name: str, figure: Any, step: int) -> None:
        """Discards a figure."""

    def artifact(self, path: Any) -> None:
        """Discards a file."""

    def close(self) -> None:
        """Does nothing."""


def bin_counts(values: Tensor, num_bins: int = 64) -> tuple[list[int], list[float]]:
    """Returns the counts of a histogram of the finite elements, and the edges of its bins.

    Example:
        >>> import torch
        >>> bin_counts(torch.tensor([0.0, 1.0, 1.0, float("nan")]), num_bins=2)
        ([1, 2], [0.0, 0.5, 1.0])
    """
    found = values.detach().cpu().double().flatten()
    found = found[found.isfinite()]
    low, high = (found.min().item(), found.max().item()) if len(found) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = found.histc(num_bins, low, high).long().tolist()
    return counts, [low + (high - low) * i / num_bins for i in range(num_bins + 1)]


def last_steps(series: Iterable[tuple[str, int]]) -> LoggedSteps:
    """Returns the last step of each name, from all logged pairs of name and step."""
    logged = LoggedSteps()
    for name, step in series:
        logged.note(name, step)
    return logged


def pixels(image: Tensor) -> Any:
    """Converts an image of shape (C, H, W) to a uint8 NumPy array of shape (H, W, C).

    Floating point values are expected in [0, 1].

    Example:
        >>> import torch
        >>> pixels(torch.tensor([[[0.0, 1.0]]])).tolist()
        [[[0], [255]]]
    """
    image = image.detach().cpu()
    if image.is_floating_point():
        image = (image * 255).round().clamp(0, 255)
    return image.to(torch.uint8).permute(1, 2, 0).numpy()
