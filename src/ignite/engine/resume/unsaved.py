"""Warns about variables of a program that change during a run, but are not saved with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ignite._core.logs import join_names
from ignite._core.torch_private import non_persistent_buffers, version_of

__all__ = ["Unsaved", "unsaved_values_of"]


class Unsaved:
    """Compares numbers and tensors that the step and the handlers use between two saves of a run.

    Only objects with ``state_dict`` are saved. A counter in a variable, or averaged weights in a
    dictionary, have their initial values in a resumed run. A warning is logged once for each.

    Example:
        >>> unsaved = Unsaved(logging.getLogger("doctest"))
        >>> unsaved.compare({"step.count": 0, "step.limit": 9})
        []
        >>> unsaved.compare({"step.count": 1, "step.limit": 9})
        ['step.count']
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._before: dict[str, object] = {}
        self._named: set[str] = set()

    def compare(self, values: Mapping[str, Any]) -> list[str]:
        """Logs a warning about variables that have changed since the last call.

        Args:
            values: the values by path, see :class:`Belongings`.

        Returns:
            The paths of the variables that have changed for the first time.
        """
        now = {path: _fingerprint(value) for path, value in values.items()}
        before, self._before = self._before, now
        changed = [path for path, mark in now.items() if path in before and before[path] != mark]
        new = [path for path in changed if path not in self._named]
        self._named.update(new)
        if new:
            self._logger.warning(
                "These variables change during the run, but are not saved, so that a resumed run "
                "would have their initial values: %s. Keep them in an object with state_dict and "
                "load_state_dict, or keep numbers in trainer.state and add their names to "
                "trainer.state_dict_user_keys", join_names(new),
            )  # fmt: skip
        return new


def _fingerprint(value: Any) -> object:
    """Returns a key that differs for another value, and after a tensor was changed in place."""
    if not isinstance(value, Tensor):
        return repr(value)
    return id(value), version_of(value)


def unsaved_values_of(name: str, model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yields numbers and buffers of a module that its state does not hold, with their paths.

    Example:
        >>> model = nn.Dropout(0.5)
        >>> dict(unsaved_values_of("model", model))
        {'model.p': 0.5, 'model.inplace': False}
    """
    for place, module in model.named_modules(prefix=name):
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            continue
        for attribute, value in vars(module).items():
            if isinstance(value, int | float) and attribute != "training":
                yield f"{place}.{attribute}", value
        for attribute in non_persistent_buffers(module):
            yield f"{place}.{attribute}", getattr(module, attribute, None)
