"""The library's own exceptions: those that somebody would want to catch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["CheckpointError", "DryRunError", "NotComputableError"]


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, unsafe, written by a newer version, or does not fit what it is loaded into.

    Example:
        >>> issubclass(CheckpointError, RuntimeError)
        True
    """


class DryRunError(ExceptionGroup[Exception]):
    """A dry run has found mistakes: all that were raised, each with a note that says where, in the order of things.

    Args:
        message: names them.
        exceptions: at least one.
        report: what was called, see :meth:`ignite.engine.Engine.dry_run`.

    Example:
        >>> error = DryRunError("1 of 3 handlers failed", [KeyError("loss")])
        >>> error.exceptions
        (KeyError('loss'),)
    """

    def __new__(  # noqa: D102 - see the class
        cls, message: str, exceptions: Sequence[Exception], report: Any = None
    ) -> DryRunError:
        error = super().__new__(cls, message, exceptions)
        error.report = report
        return error

    report: Any

    def derive(self, excs: Sequence[Exception]) -> DryRunError:  # type: ignore[override]
        """For ``split`` and ``except*``: some of the mistakes."""
        return DryRunError(self.message, excs, self.report)


class NotComputableError(RuntimeError):
    """A metric has no value, because it has not seen a single sample.

    Example:
        >>> issubclass(NotComputableError, RuntimeError)
        True
    """
