"""Exceptions of the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["CheckpointError", "DryRunError", "NotComputableError"]


class CheckpointError(RuntimeError):
    """Raised for a checkpoint that cannot be loaded.

    It is damaged, unsafe, written by a newer version, or does not match the objects to load.

    Example:
        >>> issubclass(CheckpointError, RuntimeError)
        True
    """


class DryRunError(ExceptionGroup[Exception]):
    """Raised by a dry run that has found errors; a group of all errors, in the order of the run.

    Each has a note that names the handler and the event.

    Args:
        message: summary of the errors.
        exceptions: the errors, at least one.
        report: the report of the dry run, see :meth:`ignite.engine.Engine.dry_run`.

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
        """Returns a group of some of the errors, for ``split`` and ``except*``."""
        return DryRunError(self.message, excs, self.report)


class NotComputableError(RuntimeError):
    """Raised by a metric that has no value because it has not seen a sample.

    Example:
        >>> issubclass(NotComputableError, RuntimeError)
        True
    """
