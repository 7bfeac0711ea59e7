"""What differs between runs: configuration, code, environment and data, and where the losses part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ignite import storage
from ignite.exceptions import CheckpointError
from ignite.report.folder import CHECKPOINTS, Run

__all__ = [
    "Comparison",
    "Difference",
    "Parting",
    "code_of",
    "compare",
    "data_of",
    "environment_of",
    "flat",
    "shown",
]

_CODE = ("git_commit", "git_is_dirty", "git_changes", "command")
_NOT_ENVIRONMENT = (*_CODE, "started", "data")
_LOSS = "training/loss"


class Difference(NamedTuple):
    """An entry that differs between two runs; None where a run does not have it."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Parting:
    """Where the losses of two runs part.

    Attributes:
        num_common: number of steps whose loss is known of both runs.
        last_equal: the last step up to which all losses are equal, bit for bit; None if there is
            none.
        step: the first step whose losses differ; None if all are equal.
        first: the loss of the first run in this step.
        second: the loss of the second run in this step.
    """

    num_common: int
    last_equal: int | None = None
    step: int | None = None
    first: float = math.nan
    second: float = math.nan

    def __str__(self) -> str:
        if not self.num_common:
            return "cannot be compared: no step has a recorded loss in both runs"
        if self.step is None:
            return f"equal in all {self.num_common} common steps, up to step {self.last_equal}"
        start = f"equal up to step {self.last_equal}, " if self.last_equal is not None else ""
        gap = abs(self.first - self.second)
        return f"{start}differ first in step {self.step}: {self.first!r} and {self.second!r} ({gap:.2g} apart)"


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs. Prints as a text.

    Attributes:
        names: the names of the runs.
        config: entries of the configuration that differ.
        code: commit, uncommitted changes and command, as far as they differ.
        environment: versions and machine, as far as they differ.
        data: fingerprints of the data that differ.
        losses: where the losses part.
    """

    names: tuple[str, str]
    config: Sequence[Difference]
    code: Sequence[Difference]
    environment: Sequence[Difference]
    data: Sequence[Difference]
    losses: Parting

    @property
    def is_same(self) -> bool:
        """Whether nothing differs, as far as it is recorded."""
        found = (self.config, self.code, self.environment, self.data)
        return not any(found) and self.losses.step is None

    def __str__(self) -> str:
        parts = {
            "configuration": self.config,
            "code": self.code,
            "environment": self.environment,
            "data": self.data,
        }
        lines = [f"A  {self.names[0]}", f"B  {self.names[1]}", ""]
        for title, differences in parts.items():
            if not differences:
                lines.append(f"{title}: the same")
                continue
            lines.append(f"{title}:")
            for name, first, second in differences:
                lines += [f"  {name}", f"    A  {shown(first)}", f"    B  {shown(second)}"]
        return "\n".join([*lines, f"losses: {self.losses}"])


def compare(first: Run, second: Run) -> Comparison:
    """Compares two runs.

    The losses are those of each step, where the newest checkpoint has them, else the logged ones.

    Example:
        >>> from pathlib import Path
        >>> a = Run("a", Path("a"), config={"lr": 0.1, "seed": 0})
        >>> b = Run("b", Path("b"), config={"lr": 0.2, "seed": 0})
        >>> compare(a, b).config
        [Difference(name='lr', first=0.1, second=0.2)]
    """
    return Comparison(
        names=(str(first.path), str(second.path)),
        config=list(_differences(flat(first.config), flat(second.config))),
        code=list(_differences(code_of(first), code_of(second))),
        environment=list(_differences(environment_of(first), environment_of(second))),
        data=list(_differences(data_of(first), data_of(second))),
        losses=part(losses_of(first), losses_of(second)),
    )


def part(first: Mapping[int, float], second: Mapping[int, float]) -> Parting:
    """Returns where two losses by step part; NaN equals NaN.

    Example:
        >>> part({1: 0.5, 2: 0.25, 3: 0.125}, {1: 0.5, 2: 0.375})
        Parting(num_common=2, last_equal=1, step=2, first=0.25, second=0.375)
    """
    common = sorted(first.keys() & second.keys())
    last = None
    for step in common:
        one, other = first[step], second[step]
        if one != other and not (math.isnan(one) and math.isnan(other)):
            return Parting(len(common), last, step, one, other)
        last = step
    return Parting(len(common), last)


def losses_of(run: Run) -> dict[int, float]:
    """Returns the loss by step: of each step from the newest checkpoint, else the logged ones."""
    curve = run.curves.get(_LOSS)
    losses = dict(zip(curve.steps, curve.values, strict=True)) if curve is not None else {}
    for found in run.checkpoints:
        if found.state != "verified":
            continue
        folder = run.path / CHECKPOINTS
        folder = folder if (folder / found.file).is_file() else run.path
        try:
            state = storage.load(folder / found.file).state
            steps = state["recorder"]["history"]["steps"].tolist()
        except (CheckpointError, OSError, KeyError, TypeError, AttributeError):
            return losses  # a checkpoint of another kind of run
        if len(steps) == found.step:  # each step had a loss
            losses |= {i + 1: loss for i, loss in enumerate(steps)}
        return losses
    return losses


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the entries of nested dictionaries by their dotted names.

    Example:
        >>> flat({"lr": 0.1, "options": {"eps": 1e-8}})
        {'lr': 0.1, 'options.eps': 1e-08}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def code_of(run: Run) -> dict[str, Any]:
    """Returns what is known of the code of the latest session."""
    return {name: run.environment[name] for name in _CODE if name in run.environment}


def environment_of(run: Run) -> dict[str, Any]:
    """Returns versions and machine of the latest session."""
    kept = {n: value for n, value in run.environment.items() if n not in _NOT_ENVIRONMENT}
    return flat(kept)


def data_of(run: Run) -> dict[str, Any]:
    """Returns the fingerprints of the data of the latest session."""
    return flat(run.environment.get("data") or {})


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys([*first, *second]):
        if name not in first or name not in second or first[name] != second[name]:
            yield Difference(name, first.get(name), second.get(name))


def shown(value: Any) -> str:
    """Returns a value as a short text; a dash for None.

    Example:
        >>> shown(0.1), shown(None), shown(["a", "b"])
        ('0.1', '-', 'a b')
    """
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
