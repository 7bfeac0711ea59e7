"""Callables: signatures, names, source locations, deprecation."""

import difflib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar

from ignite._core.optional import LazyModule

__all__ = [
    "accepts",
    "deprecated",
    "describe_signature",
    "name_of",
    "nearest",
    "signature_of",
    "source_location",
]

annotationlib = LazyModule("annotationlib")

P = ParamSpec("P")
R = TypeVar("R")


def signature_of(func: Callable[..., Any]) -> inspect.Signature:
    """Returns ``inspect.signature(func)``, whether or not its annotations can be evaluated.

    Python 3.14 evaluates annotations lazily, and they may use names that are imported only for type
    checkers.

    Raises:
        ValueError: the signature is unknown, as for some built-in functions.
        TypeError: ``func`` is not callable.

    Example:
        >>> str(signature_of(lambda engine, every=1: None))
        '(engine, every=1)'
    """
    try:
        if sys.version_info >= (3, 14):
            as_names = annotationlib.Format.FORWARDREF
            return inspect.signature(func, annotation_format=as_names)
        return inspect.signature(func)
    except (TypeError, ValueError):
        raise
    except Exception:  # of an annotation, which can be any expression
        return inspect.signature(_without_annotations(func))


def _without_annotations(func: Any) -> Any:
    """Returns a callable with the same parameters and without annotations."""
    if isinstance(func, functools.partial):
        return functools.partial(_without_annotations(func.func), *func.args, **func.keywords)
    if isinstance(func, MethodType):
        return MethodType(_without_annotations(func.__func__), func.__self__)
    if isinstance(func, type):
        is_made_by_new = func.__init__ is object.__init__  # type: ignore[misc]
        maker = func.__new__ if is_made_by_new else func.__init__  # type: ignore[misc]
        return MethodType(_without_annotations(maker), func)
    func = inspect.unwrap(func)
    if isinstance(func, FunctionType):
        plain = FunctionType(func.__code__, {}, func.__name__, func.__defaults__, func.__closure__)
        plain.__kwdefaults__ = func.__kwdefaults__
        return plain
    return MethodType(_without_annotations(type(func).__call__), func)


def accepts(func: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether ``func`` can be called with these arguments; True if its signature is unknown."""
    try:
        signature = signature_of(func)
    except ValueError:  # some built-in functions have no signature
        return True
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def describe_signature(func: Callable[..., Any]) -> str:
    """Returns the signature of ``func`` without annotations, such as ``(engine, every=1)``."""
    parameters = [
        p.replace(annotation=inspect.Parameter.empty)
        for p in signature_of(func).parameters.values()
    ]
    return str(inspect.Signature(parameters))


def name_of(func: Callable[..., Any]) -> str:
    """Returns the qualified name of a function or method, or the class of another callable."""
    partial_of = getattr(func, "func", None)
    if partial_of is not None and not hasattr(func, "__qualname__"):
        return f"partial({name_of(partial_of)})"
    owner = getattr(func, "__self__", None)
    if owner is not None and hasattr(func, "__func__") and not isinstance(owner, type):
        # The class of the object, not the base class that may define the method.
        return f"{type(owner).__qualname__}.{func.__name__}"
    name = getattr(func, "__qualname__", None)
    return name if isinstance(name, str) else type(func).__qualname__


def source_location(func: Callable[..., Any]) -> str:
    """Returns ``file:line`` of the definition of ``func``; empty if it is unknown."""
    target = inspect.unwrap(getattr(func, "func", func))
    code = getattr(target, "__code__", None)
    if code is None and callable(target):
        code = getattr(type(target).__call__, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns a hint for an error message: the closest match of ``name`` among ``names``.

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
    """Marks a function as deprecated, in its docstring and by a warning at each call.

    Args:
        deprecated_in: the version that deprecates the function.
        removed_in: the version that removes the function; empty if it is not decided.
        reasons: sentences that say why, or what to use instead.
        raise_exception: whether to raise the warning instead of issuing it.

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
