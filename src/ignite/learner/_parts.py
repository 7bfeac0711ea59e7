"""Where a model is trained, and which of its parameters."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ignite.learner._optimizers import names_of

__all__ = ["check_model", "choose_device", "freeze", "freezing"]


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device that is asked for; by default the accelerator there is, else the processor."""
    if device is not None:
        return torch.device(device)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def check_model(model: Any) -> None:
    """Raises a TypeError unless it is a module."""
    if isinstance(model, type):
        raise TypeError(
            f"model should be a torch.nn.Module, but given the class {model.__name__}: write {model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        given = repr(model) if model is None or isinstance(model, str) else f"a {type(model).__name__}"
        raise TypeError(f"model should be a torch.nn.Module, but given {given}")


@contextlib.contextmanager
def freezing(model: nn.Module, patterns: Sequence[str]) -> Iterator[None]:
    """As :func:`freeze`; if the block raises, the model is as it was."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        freeze(model, patterns)
        yield
    except BaseException:
        for parameter, needs_grad in flags:
            parameter.requires_grad_(needs_grad)
        raise


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Takes parameters whose names match out of training.

    Raises:
        ValueError: a pattern matches none, or nothing is left to train.
    """
    for pattern in patterns:
        chosen = [parameter for name, parameter in model.named_parameters() if fnmatch.fnmatch(name, pattern)]
        if not chosen:
            raise ValueError(f"freeze: no parameter matches {pattern!r}. {names_of(model)}")
        for parameter in chosen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"freeze={list(patterns)} leaves nothing to train")
