"""Names of losses, optimizers and precisions."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn

__all__ = ["LOSSES", "OPTIMIZERS", "PRECISIONS", "find"]

T = TypeVar("T")

LOSSES: Mapping[str, Callable[..., nn.Module]] = {
    "bce": nn.BCELoss,
    "bce_with_logits": nn.BCEWithLogitsLoss,
    "binary_cross_entropy": nn.BCELoss,
    "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "huber": nn.HuberLoss,
    "l1": nn.L1Loss,
    "mae": nn.L1Loss,
    "mse": nn.MSELoss,
    "nll": nn.NLLLoss,
    "smooth_l1": nn.SmoothL1Loss,
}
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adafactor": torch.optim.Adafactor,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "asgd": torch.optim.ASGD,
    "muon": torch.optim.Muon,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
}
PRECISIONS: Mapping[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def find(what: str, name: str, known: Mapping[str, T]) -> T:
    """Looks up a name, ignoring case and treating hyphens and spaces as underscores.

    Raises:
        ValueError: the name is unknown. The message suggests similar ones.

    Example:
        >>> find("optimizer", "adamm", OPTIMIZERS)
        Traceback (most recent call last):
        ValueError: optimizer 'adamm' is not known: did you mean 'adam' or ...
    """
    key = name.lower().replace("-", "_").replace(" ", "_")
    if key in known:
        return known[key]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(map(repr, near))}?" if near else "."
    raise ValueError(
        f"{what} {name!r} is not known{hint} Known are {', '.join(sorted(known))}; objects are "
        "taken, too"
    )
