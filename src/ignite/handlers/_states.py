"""Nested dictionaries and lists of objects, and the states of all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from ignite import distributed as idist
from ignite import storage
from ignite._core.calls import nearest
from ignite.engine import Engine

LEDGER = "checkpointer"
"""Under which key a checkpoint holds the state of the handler that has written it."""


def leaves_of(objects: Any, method: str, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each object with the keys that lead to it.

    Raises:
        TypeError: one has no such method.

    Example:
        >>> from torch import nn
        >>> linear = nn.Linear(1, 1)
        >>> [path for path, _ in leaves_of({"models": [linear, linear]}, "state_dict")]
        ['models.0', 'models.1']
    """
    if hasattr(objects, method):
        yield path, objects
        return
    children = _children_of(objects)
    if children is None:
        raise TypeError(f"Object {type(objects)} should have `{method}` method, but {path or 'this one'} has not")
    for key, child in children:
        yield from leaves_of(child, method, f"{path}.{key}" if path else str(key))


def states_of(objects: Any, rank: int) -> Any:
    """The states of objects in the same containers. All processes have to call it if :func:`is_spread` says so.

    Args:
        objects: nested dictionaries and lists of them.
        rank: the process that will write them.
    """
    if hasattr(objects, "state_dict"):
        return _state_of(objects, rank)
    if isinstance(objects, Mapping):
        return {key: states_of(value, rank) for key, value in objects.items()}
    states = [states_of(value, rank) for value in objects]
    return tuple(states) if isinstance(objects, tuple) else states


def is_spread(objects: Any) -> bool:
    """Whether each process holds a part of a state only: a ``ZeroRedundancyOptimizer`` is among ``objects``.

    Example:
        >>> from torch import nn
        >>> is_spread({"model": nn.Linear(1, 1)})
        False
    """
    return any(_is_sharded_optimizer(one) for _, one in leaves_of(objects, "state_dict"))


def _state_of(one: Any, rank: int) -> Any:
    if _is_sharded_optimizer(one):
        one.consolidate_state_dict(to=rank)
        return one.state_dict() if idist.get_rank() == rank else {}
    state = storage.state_of(one)
    storage.check_whole("What is saved", one, state)
    return state


def _is_sharded_optimizer(one: Any) -> bool:
    # Who has made one has imported this; importing it takes a second.
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    return module is not None and isinstance(one, module.ZeroRedundancyOptimizer)


def _children_of(container: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(container, Mapping):
        return list(container.items())
    if isinstance(container, Sequence) and not isinstance(container, str | bytes):
        return list(enumerate(container))
    return None


def check_objects(to_save: Any, include_self: bool) -> None:
    """Whether these can be saved.

    Raises:
        TypeError: it is no dictionary of objects with a state.
        ValueError: the key under which the handler would put its own state is taken.
    """
    if not isinstance(to_save, Mapping):
        raise TypeError(f"Argument `to_save` should be a dictionary, but given {type(to_save)}")
    for _ in leaves_of(to_save, "state_dict"):
        continue
    if include_self and not isinstance(to_save, MutableMapping):
        raise TypeError(f"If `include_self` is True, then `to_save` must be mutable, but given {type(to_save)}")
    if include_self and LEDGER in to_save:
        raise ValueError(f"Cannot have key 'checkpointer' if `include_self` is True: {list(to_save)}")


def get_default_score_fn(metric_name: str, score_sign: float = 1.0) -> Callable[[Engine[Any, Any]], float]:
    """A function that returns a metric of an engine as its score.

    Args:
        metric_name: its name in ``engine.state.metrics``.
        score_sign: -1 if lower is better.

    Raises:
        ValueError: ``score_sign`` is neither 1 nor -1.
        KeyError: when the score is asked for, there is no such metric.

    Example:
        >>> engine = Engine(lambda engine, batch: None)
        >>> engine.state.metrics["loss"] = 0.25
        >>> get_default_score_fn("loss", -1)(engine)
        -0.25
    """
    if score_sign not in (1.0, -1.0):
        raise ValueError(f"Argument score_sign should be 1 or -1, but given {score_sign!r}")

    def score(engine: Engine[Any, Any]) -> float:
        metrics = engine.state.metrics
        if metric_name not in metrics:
            raise KeyError(
                f"The score should be one of the metrics {list(metrics)}, but given {metric_name!r}"
                f"{nearest(metric_name, metrics)}"
            )
        value: float = score_sign * metrics[metric_name]
        return value

    return score
