"""Training and evaluation mode, put on a model only where it is not on already."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Mode"]

# What these do is known: they write ``training`` into the module and all within it.
_KNOWN = (nn.Module.train, DistributedDataParallel.train)


class Mode:
    """What ``model.train()`` or ``model.eval()`` brings about, without writing what is written there already.

    Torch's way takes longer than a small layer takes to compute, in each module of the model. Looking is some ten times
    faster. Models with a ``train``, ``eval`` or ``training`` of their own somewhere are asked each time, and so are
    scripted and compiled ones, and what is no module.

    Args:
        model: whose mode it is.
        is_training: training, or evaluation.

    Example:
        >>> model = nn.Sequential(nn.Dropout())
        >>> Mode(model, is_training=False).enter()
        >>> model[0].training
        False
    """

    __slots__ = ("_is_plain", "_is_training", "_model", "_seen")

    def __init__(self, model: Any, is_training: bool) -> None:
        self._model = model
        self._is_training = is_training
        self._is_plain = isinstance(model, nn.Module)
        """Whether it may be looked at. What is not plain stays so: asking each time is never wrong."""
        # Of each module: its attributes, and what it consisted of when it was put into the mode.
        self._seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Mode, (self._model, self._is_training)  # copies of attributes would not be those of a copied module

    def enter(self) -> None:
        """From here on, the model is in the mode."""
        is_training = self._is_training
        for attributes, parts in self._seen:
            if attributes.get("training") is not is_training or attributes["_modules"] != parts:
                break
        else:
            if self._seen:
                return
        if is_training:
            self._model.train()
        else:
            self._model.eval()
        if self._is_plain:
            self._look()

    def _look(self) -> None:
        modules = list(self._model.modules())
        self._is_plain = all(map(_is_plain, modules))
        self._seen = [(vars(module), dict(module._modules)) for module in modules] if self._is_plain else []


def _is_plain(module: nn.Module) -> bool:
    attributes = vars(module)
    has_own = "train" in attributes or "eval" in attributes or "training" not in attributes
    return not has_own and type(module).train in _KNOWN and type(module).eval is nn.Module.eval
