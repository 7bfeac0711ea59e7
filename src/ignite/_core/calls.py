"""Questions about a callable: can it be called like this, what is it called, where does it stand?"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["accepts", "describe_signature", "has_parameter", "name_of", "nearest", "place_of"]


def accepts(func: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether ``func(*args, **kwargs)`` fits the signature of ``func``; True where Python cannot tell."""
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
    """Whether ``func`` spells out a parameter called ``name`` that may be given by keyword."""
    try:
        parameter = inspect.signature(func).parameters.get(name)
    except ValueError:
        return False
    return parameter is not None and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)


def describe_signature(func: Callable[..., Any]) -> str:
    """The parameters of ``func`` as it was written, without annotations: ``(engine, every=1)``."""
    parameters = [
        p.replace(annotation=inspect.Parameter.empty)
        for p in inspect.signature(func, follow_wrapped=True).parameters.values()
    ]
    return str(inspect.Signature(parameters))


def name_of(func: Callable[..., Any]) -> str:
    """The name a reader would look for: qualified for functions and methods, of the class for other callables."""
    partial_of = getattr(func, "func", None)
    if partial_of is not None and not hasattr(func, "__qualname__"):
        return f"partial({name_of(partial_of)})"
    owner = getattr(func, "__self__", None)
    if owner is not None and hasattr(func, "__func__") and not isinstance(owner, type):
        return f"{type(owner).__qualname__}.{func.__name__}"  # of the object, not of the class that has the method
    name = getattr(func, "__qualname__", None)
    return name if isinstance(name, str) else type(func).__qualname__


def place_of(func: Callable[..., Any]) -> str:
    """``file:line`` of the definition, or an empty string where Python does not know it."""
    target = inspect.unwrap(getattr(func, "func", func))
    code = getattr(target, "__code__", None)
    if code is None and callable(target):
        code = getattr(type(target).__call__, "__code__", None)  # an object that can be called
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of an error message: which of ``names`` may have been meant by ``name``.

    Example:
        >>> nearest("n_save", ["n_saved", "atomic"]), nearest("color", ["atomic"])
        (". Did you mean 'n_saved'?", '')
    """
    found = difflib.get_close_matches(name, list(names), n=1)
    return f". Did you mean {found[0]!r}?" if found else ""
