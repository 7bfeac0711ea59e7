"""Functions on their way out."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["deprecated"]

P = ParamSpec("P")
R = TypeVar("R")


def deprecated(
    deprecated_in: str, removed_in: str = "", reasons: tuple[str, ...] = (), raise_exception: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Marks a function as deprecated: each call warns, and its documentation says so.

    Args:
        deprecated_in: the version since which it is.
        removed_in: the version that will not have it any more; empty if that is open.
        reasons: why, or what to use instead; a sentence each.
        raise_exception: raise the warning instead of issuing it.

    Raises:
        DeprecationWarning: on each call, if ``raise_exception``.

    Example:
        >>> @deprecated("0.2", removed_in="0.3", reasons=("Use new.",), raise_exception=True)
        ... def old(): ...
        >>> old()
        Traceback (most recent call last):
        DeprecationWarning: old has been deprecated since version 0.2 and will be removed in version 0.3. Use new.
    """

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        removal = f" and will be removed in version {removed_in}" if removed_in else ""
        message = " ".join(
            [f"{func.__qualname__} has been deprecated since version {deprecated_in}{removal}.", *reasons]
        )

        @functools.wraps(func)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if raise_exception:
                raise DeprecationWarning(message)
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return func(*args, **kwargs)

        directive = "\n    ".join([f".. deprecated:: {deprecated_in}", *reasons])
        parts = ["**Deprecated function**.", inspect.cleandoc(func.__doc__ or ""), directive]
        wrapper.__doc__ = "\n\n".join(part for part in parts if part)
        return wrapper

    return decorate
