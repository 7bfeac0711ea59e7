"""Arguments as earlier versions of Ignite took them: accepted with one warning that says what to write."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from ignite._core.calls import signature_of
from ignite._core.optional import LazyModule

__all__ = ["Old", "OldOrder", "dropped", "renamed", "takes_old", "warn_program"]

torch_private = LazyModule("ignite._core.torch_private")  # ignite is imported without torch

P = ParamSpec("P")
R = TypeVar("R")


class OldOrder(NamedTuple):
    """Parameters by position, without ``self``, as an earlier version had them."""

    names: str
    """The names, separated by spaces."""
    is_meant: Callable[[Sequence[Any]], bool]
    """Whether the arguments by position are in this order; False if both are possible."""


class Old(NamedTuple):
    """An argument that there is no longer, by its name."""

    advice: str
    """The line to write instead."""
    convert: Callable[[dict[str, Any]], None]
    """Replaces the argument in a dictionary of arguments."""
    new_name: str | None = None
    """The name of the same argument today."""


def renamed(old: str, new: str) -> Old:
    """Returns what becomes of an argument that has another name today."""

    def convert(arguments: dict[str, Any]) -> None:
        if new in arguments:
            raise TypeError(f"{old} and {new} are the same argument, but given both: pass {new}")
        arguments[new] = arguments.pop(old)

    return Old(f"write {new}= instead of {old}=", convert, new)


def dropped(name: str, advice: str) -> Old:
    """Returns what becomes of an argument that has no effect any more."""

    def convert(arguments: dict[str, Any]) -> None:
        del arguments[name]

    return Old(advice, convert)


def takes_old(
    *orders: OldOrder, arguments: Mapping[str, Old] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Lets a function or method accept arguments of earlier versions.

    Calls that can only have today's arguments cost one more call. The wrapper's
    ``convert_old(args, kwargs)`` returns today's arguments, and what to write instead of old ones.

    Args:
        orders: earlier orders of the parameters; the first one that is meant counts.
        arguments: arguments by names that there are no longer.

    Example:
        >>> @takes_old(arguments={"input_": renamed("input_", "x")})
        ... def double(x):
        ...     return 2 * x
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     double(input_=3)
        6
        >>> print(caught[0].message)
        double has arguments of an earlier version of Ignite: write x= instead of input_=
    """
    old = dict(arguments or {})

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        name = func.__qualname__.removesuffix(".__init__")
        parameters = list(signature_of(func).parameters)
        is_method = parameters[:1] == ["self"]
        if is_method:
            del parameters[0]
        # Up to here, arguments by position are the same in all orders.
        num_alike = is_method + min(
            (_num_alike(parameters, each) for each in orders), default=sys.maxsize
        )

        def convert_old(
            args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any], list[str]]:
            own, values = (args[:1], args[1:]) if is_method else ((), args)
            order = next((each for each in orders if each.is_meant(values)), None)
            if order is None and old.keys().isdisjoint(kwargs):
                return args, kwargs, []
            names = parameters if order is None else order.names.split()
            given = dict(zip(names, values, strict=False))
            if len(values) > len(names) or (given.keys() & kwargs.keys()):
                raise TypeError(f"{name} takes each of ({', '.join(names)}) once, but given {args}")
            kwargs = {**given, **kwargs}
            found = [old[key] for key in kwargs if key in old]
            advice = [each.advice for each in found if each.new_name is None or order is None]
            if order is not None and not advice:
                today = (old[key].new_name if key in old else key for key in given)
                advice = [f"pass arguments by name: {', '.join(f'{key}=' for key in today)}"]
            for each in found:
                each.convert(kwargs)
            return own, kwargs, advice

        @functools.wraps(func)
        def with_old(*args: Any, **kwargs: Any) -> R:
            if len(args) <= num_alike and old.keys().isdisjoint(kwargs):
                return func(*args, **kwargs)
            args, kwargs, advice = convert_old(args, kwargs)
            if advice:
                warn_program(
                    f"{name} has arguments of an earlier version of Ignite: {'; '.join(advice)}"
                )
            return func(*args, **kwargs)

        with_old.convert_old = convert_old  # type: ignore[attr-defined]
        return with_old

    return decorate


def _num_alike(parameters: Sequence[str], order: OldOrder) -> int:
    """Returns how many parameters at the start are the same in an earlier order."""
    pairs = zip(parameters, order.names.split(), strict=False)
    return next((i for i, (today, before) in enumerate(pairs) if today != before), len(parameters))


def warn_program(message: str, category: type[Warning] = DeprecationWarning) -> bool:
    """Issues a warning for the line of the program, outside of this library.

    Returns:
        Whether it was issued. ``from package import name`` looks up the name twice, and the first
        lookup is not reported.
    """
    frame: FrameType | None = inspect.currentframe()
    level = 1
    while frame is not None and _is_ours(frame):
        frame, level = frame.f_back, level + 1
    if frame is not None and frame.f_code.co_name == torch_private.FRAME_OF_FROM_IMPORT:
        return False
    # warnings.warn does not count the frames of the import system.
    warnings.warn(message, category, stacklevel=level)
    return True


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "ignite"
