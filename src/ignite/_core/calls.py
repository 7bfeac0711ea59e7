"""Callables: their signatures, names and places of definition; deprecation."""

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "accepts",
    "deprecated",
    "describe_signature",
    "has_parameter",
    "name_of",
    "nearest",
    "place_of",
]

P = ParamSpec("P")
R = TypeVar("R")


def accepts(func: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether ``func(*args, **kwargs)`` fits the signature of ``func``; True if Python cannot tell."""
    try:
        signature = inspect.signature(func)
    except ValueError:  # some built-ins have none
        return True
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def has_parameter(func: Callable[..., Any], name: str) -> bool:
    """Whether ``func`` has an explicit parameter ``name`` that can be passed by keyword."""
    try:
        parameter = inspect.signature(func).parameters.get(name)
    except ValueError:
        return False
    return parameter is not None and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


def describe_signature(func: Callable[..., Any]) -> str:
    """The signature of ``func`` without annotations: ``(engine, every=1)``."""
    parameters = [
        p.replace(annotation=inspect.Parameter.empty)
        for p in inspect.signature(func, follow_wrapped=True).parameters.values()
    ]
    return str(inspect.Signature(parameters))


def name_of(func: Callable[..., Any]) -> str:
    """The qualified name of functions and methods; for other callables that of their class."""
    partial_of = getattr(func, "func", None)
    if partial_of is not None and not hasattr(func, "__qualname__"):
        return f"partial({name_of(partial_of)})"
    owner = getattr(func, "__self__", None)
    if owner is not None and hasattr(func, "__func__") and not isinstance(owner, type):
        return f"{type(owner).__qualname__}.{func.__name__}"  # the class of the object, which may inherit the method
    name = getattr(func, "__qualname__", None)
    return name if isinstance(name, str) else type(func).__qualname__


def place_of(func: Callable[..., Any]) -> str:
    """``file:line`` of the definition; empty if Python does not know it."""
    target = inspect.unwrap(getattr(func, "func", func))
    code = getattr(target, "__code__", None)
    if code is None and callable(target):
        code = getattr(type(target).__call__, "__code__", None)  # an object that can be called
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns the end of an error message: the closest match of ``name`` among ``names``.

    Example:
        >>> nearest("n_save", ["n_saved", "atomic"]), nearest("color", ["atomic"])
        (". Did you mean 'n_saved'?", '')
    """
    found = difflib.get_close_matches(name, list(names), n=1)
    return f". Did you mean {found[0]!r}?" if found else ""


def deprecated(
    deprecated_in: str,
    removed_in: str = "",
    reasons: tuple[str, ...] = (),
    raise_exception: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Marks a function as deprecated: each call warns, and its docstring says so.

    Args:
        deprecated_in: the version that deprecated it.
        removed_in: the version that removes it; empty if that is open.
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
            [
                f"{func.__qualname__} has been deprecated since version {deprecated_in}{removal}.",
                *reasons,
            ]
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
