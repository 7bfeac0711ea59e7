"""The library's own exceptions: those that somebody would want to catch."""

__all__ = ["NotComputableError"]


class NotComputableError(RuntimeError):
    """A metric has no value, because it has not seen a single sample.

    Example:
        >>> issubclass(NotComputableError, RuntimeError)
        True
    """
