"""The library's own exceptions: those that somebody would want to catch."""

__all__ = ["CheckpointError", "NotComputableError"]


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, unsafe, written by a newer version, or does not fit what it is loaded into.

    Example:
        >>> issubclass(CheckpointError, RuntimeError)
        True
    """


class NotComputableError(RuntimeError):
    """A metric has no value, because it has not seen a single sample.

    Example:
        >>> issubclass(NotComputableError, RuntimeError)
        True
    """
