"""How checkpoints are called. Plain strings and numbers."""

from __future__ import annotations

import numbers
from collections.abc import Collection
from typing import Any, NamedTuple

from ignite._core.calls import nearest
from ignite.storage import check_name

EXTENSION = "pt"


def setup_filename_pattern(
    with_prefix: bool = True, with_score: bool = True, with_score_name: bool = True, with_global_step: bool = True
) -> str:
    """The usual pattern of file names, with those parts that are asked for.

    Raises:
        ValueError: neither score nor step is in it, or the name of a score that is not.

    Example:
        >>> setup_filename_pattern(with_prefix=False, with_score_name=False)
        '{name}_{global_step}_{score}.{ext}'
    """
    if not (with_score or with_global_step):
        raise ValueError("At least one of with_score and with_global_step should be True.")
    if with_score_name and not with_score:
        raise ValueError("If with_score_name is True, with_score should be also True")
    parts = ["{filename_prefix}"] if with_prefix else []
    parts.append("{name}")
    if with_global_step:
        parts.append("{global_step}")
    if with_score:
        parts.append("{score_name}={score}" if with_score_name else "{score}")
    return "_".join(parts) + ".{ext}"


def score_text(score: Any) -> str:
    """Whole numbers as they are, others with four digits; what is no number comes as it is.

    Example:
        >>> score_text(0.123456), score_text(3), score_text(3.0)
        ('0.1235', '3', '3.0000')
    """
    if isinstance(score, numbers.Number) and not isinstance(score, numbers.Integral):
        return f"{score:.4f}"
    return f"{score}"


class FileNames(NamedTuple):
    """What the names of a handler's files are made of.

    Example:
        >>> FileNames(["model"], "best", True, "acc", None).fill(step=7, score=0.5)
        'best_model_7_acc=0.5000.pt'
    """

    keys: Collection[Any]
    """Of the objects that are saved."""
    prefix: str
    has_score: bool
    score_name: str | None
    pattern: str | None
    ext: str = EXTENSION

    @property
    def name(self) -> str:
        """What the objects are called together."""
        return str(next(iter(self.keys))) if len(self.keys) == 1 else "checkpoint"

    @property
    def basename(self) -> str:
        """The prefix, and what is saved."""
        return f"{self.prefix}_{self.name}" if self.prefix else self.name

    @property
    def family(self) -> str:
        """Which files are of this series, also in another run."""
        kind = "score" if self.has_score else "step"
        parts = (self.prefix, self.name, kind, self.score_name, self.pattern)
        return "|".join("" if part is None else str(part) for part in parts)[:1000]

    def fill(self, step: Any, score: Any, name: str | None = None) -> str:
        """The name of a file.

        Raises:
            KeyError: the pattern asks for what there is not.
        """
        pattern = self.pattern
        if pattern is None:
            pattern = setup_filename_pattern(
                bool(self.prefix), self.has_score, self.score_name is not None, step is not None
            )
        fields = {
            "filename_prefix": self.prefix, "name": self.name if name is None else name, "score_name": self.score_name,
            "score": None if score is None else score_text(score), "global_step": step, "ext": self.ext,
        }  # fmt: skip
        try:
            return pattern.format(**fields)
        except KeyError as error:
            unknown = str(error.args[0])
            raise KeyError(
                f"filename_pattern should have the fields {', '.join(fields)}, but given {unknown!r}"
                f"{nearest(unknown, fields)}"
            ) from None

    def check(self) -> None:
        """Refuses names that would lead out of a folder, as far as that can be seen before there are scores and steps.

        Raises:
            KeyError: the pattern asks for what there is not.
            ValueError: names would not be plain ones.
        """
        try:
            name = self.fill(0, 0.0 if self.has_score else None)
        except (TypeError, ValueError):  # a format for values of another kind
            return
        check_name(name)
