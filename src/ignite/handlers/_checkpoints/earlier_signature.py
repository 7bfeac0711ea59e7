"""Converts arguments of the checkpoint handlers of Ignite 0.1 to 0.4."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from ignite._core.calls import nearest, signature_of
from ignite.handlers._checkpoints.save_handlers import OF_TORCH_SAVE

T = TypeVar("T", bound=Callable[..., None])

# The parameters after ``dirname`` and ``filename_prefix``.
_OLD_ORDER = (
    "save_interval",
    "score_function",
    "score_name",
    "n_saved",
    "atomic",
    "require_empty",
    "create_dir",
    "save_as_state_dict",
    "global_step_transform",
    "archived",
    "filename_pattern",
    "include_self",
    "greater_or_equal",
    "save_on_rank",
)
_ADVICE = {
    "save_interval": "use an event filter, such as Events.EPOCH_COMPLETED(every={value})",
    "save_as_state_dict": "remove it: state dictionaries are always saved",
    "archived": "remove it: torch.save always writes an archive",
}


def takes_old_arguments(init: T) -> T:
    """Lets the constructor of ``ModelCheckpoint`` accept old arguments, by name and by position."""
    names = [
        name
        for name, one in signature_of(init).parameters.items()
        if one.kind is not one.VAR_KEYWORD
    ]
    names += ["background", "weights_only", *_ADVICE, *OF_TORCH_SAVE]

    @functools.wraps(init)
    def with_old(self: Any, *args: Any, **kwargs: Any) -> None:
        old: dict[str, Any] = {}
        if not _is_in_new_order(args[2:]):
            old["the order of arguments"] = "pass all arguments after filename_prefix by name"
            given = dict(zip(_OLD_ORDER, args[2:], strict=False))
            if twice := given.keys() & kwargs.keys():
                raise TypeError(f"ModelCheckpoint got multiple values for argument {min(twice)!r}")
            args, kwargs = args[:2], {**given, **kwargs}
        unknown = next((name for name in kwargs if name not in names), None)
        if unknown is not None:
            raise TypeError(f"ModelCheckpoint has no argument {unknown!r}{nearest(unknown, names)}")
        init(self, *args, **_without_old(kwargs, old))

    return with_old  # type: ignore[return-value]


def takes_archived(init: T) -> T:
    """Lets the constructor of ``Checkpoint`` accept ``archived``, by name and by position."""

    @functools.wraps(init)
    def with_old(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) > 7 and isinstance(args[7], bool):
            kwargs["archived"], args = args[7], args[:7]
        init(self, *args, **(_without_old(kwargs, {}) if "archived" in kwargs else kwargs))

    return with_old  # type: ignore[return-value]


def _without_old(kwargs: dict[str, Any], old: dict[str, str]) -> dict[str, Any]:
    """Returns the arguments of the current constructor; warns about old ones.

    Raises:
        ValueError: an old argument requests something that is no longer supported.
    """
    old |= {
        name: _ADVICE[name].format(value=kwargs[name])
        for name in _ADVICE
        if kwargs.get(name) is not None
    }
    if kwargs.pop("save_as_state_dict", True) is False:
        raise ValueError(
            "save_as_state_dict should be True, but given False: loading pickled objects runs "
            "code. Load the file with model.load_state_dict(torch.load(path))"
        )
    kwargs.pop("archived", None)
    interval = kwargs.get("save_interval")
    if interval is None:
        kwargs.pop("save_interval", None)
    elif not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
        raise ValueError(f"save_interval should be a positive integer, but given {interval!r}")
    if old:
        listed = "; ".join(f"{name} ({advice})" for name, advice in old.items())
        warnings.warn(
            f"Arguments of Ignite 0.1 to 0.4 are deprecated: {listed}",
            DeprecationWarning,
            stacklevel=3,
        )
    return kwargs


def _is_in_new_order(values: tuple[Any, ...]) -> bool:
    """Whether the arguments after ``filename_prefix`` have the types of the current order."""
    kinds: tuple[Callable[[Any], bool], ...] = (
        lambda score_function: score_function is None or callable(score_function),
        lambda score_name: score_name is None or isinstance(score_name, str),
        lambda n_saved: n_saved is None or not isinstance(n_saved, bool | str),
        lambda atomic: isinstance(atomic, bool),
        lambda require_empty: isinstance(require_empty, bool | str),
        lambda create_dir: isinstance(create_dir, bool),
        lambda global_step_transform: (
            global_step_transform is None or callable(global_step_transform)
        ),
        lambda filename_pattern: filename_pattern is None or isinstance(filename_pattern, str),
    )
    return all(fits(value) for fits, value in zip(kinds, values, strict=False))
