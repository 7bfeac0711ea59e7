"""The counters of a run as a dictionary to be saved, and back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ignite.base import Serializable
from ignite.engine._cursor import Counters

if TYPE_CHECKING:
    from ignite.engine.engine import Engine

CURSOR_KEY = "cursor"
"""The position, where the iteration alone does not tell it: after epochs that ended early."""
COUNTS_KEY = "event_counts"
"""How often events were fired whose filters count that."""
_TOO_MANY = 2**62
"""No run has as many iterations; a file that says so is damaged or malicious."""
_KEYS_OF_OTHER_ENGINES = ("seed", "rng_states", "pass_start")


class _Layout(Serializable):
    _state_dict_all_req_keys = ("epoch_length",)
    _state_dict_one_of_opt_keys = (("iteration", "epoch"), ("max_epochs", "max_iters"))


def describe(counters: Counters) -> str:
    """The counters in words, for the log."""
    limit = f"iteration {counters.max_iters}" if counters.max_iters is not None else f"epoch {counters.max_epochs}"
    length = "unknown" if counters.epoch_length is None else counters.epoch_length
    return f"epoch {counters.epoch}, iteration {counters.iteration}, up to {limit}, epoch_length {length}"


def save(engine: Engine[Any, Any]) -> OrderedDict[str, Any]:
    """See :meth:`Engine.state_dict`."""
    state = engine.state
    limit = "max_iters" if state.max_iters is not None else "max_epochs"
    saved: OrderedDict[str, Any] = OrderedDict()
    for key in ("epoch_length", "iteration", limit, *engine.state_dict_user_keys):
        saved[key] = getattr(state, key)

    epoch, carried = engine._cursor.position(state)
    if (epoch, carried) != _derive(state.iteration, state.epoch_length):
        saved[CURSOR_KEY] = {"epoch": epoch, "iteration_in_epoch": carried}
    counts = {name: count for name, count in state._event_counts.items() if engine._counts_matter(name)}
    if counts:
        saved[COUNTS_KEY] = counts
    return saved


def load(engine: Engine[Any, Any], saved: Mapping[str, Any]) -> None:
    """See :meth:`Engine.load_state_dict`. Checks all before it changes anything."""
    if isinstance(saved, Mapping) and "iteration" in saved and "epoch" in saved:
        raise ValueError(
            "State dictionary should contain only one of 'iteration' or 'epoch' keys, but given "
            f"iteration={saved['iteration']!r} and epoch={saved['epoch']!r}"
        )
    _Layout().load_state_dict(saved)
    user_keys = engine.state_dict_user_keys
    _check_user_keys(saved, user_keys)
    iteration, epoch, carried = _position(saved)
    max_epochs, max_iters = saved.get("max_epochs"), saved.get("max_iters")
    for name, limit, unit, current in (
        ("max_epochs", max_epochs, "epoch", epoch),
        ("max_iters", max_iters, "iteration", iteration),
    ):
        if limit is not None and limit < current:
            raise ValueError(
                f"{name} in state_dict should be greater than or equal to the start {unit}, "
                f"but given {name}={limit} and {unit}={current}"
            )

    state = engine.state
    load_user_values(engine, saved)
    state.iteration, state.epoch, state.epoch_length = iteration, epoch, saved["epoch_length"]
    state.max_epochs, state.max_iters = max_epochs, max_iters
    engine._take_loaded(carried)


def load_user_values(engine: Engine[Any, Any], saved: Mapping[str, Any]) -> None:
    """Restores what users have put on the state, and the counts of their events; counters and limits stay."""
    for key in engine.state_dict_user_keys:
        setattr(engine.state, key, saved[key])
    engine.state._event_counts = dict(saved.get(COUNTS_KEY, {}))


def _check_user_keys(saved: Mapping[str, Any], user_keys: list[str]) -> None:
    missing = [key for key in user_keys if key not in saved]
    if missing:
        raise ValueError(f"Required user state attribute '{missing[0]}' is absent in state_dict with {list(saved)}")
    known = {"epoch_length", "iteration", "epoch", "max_epochs", "max_iters", CURSOR_KEY, COUNTS_KEY}
    unknown = [key for key in saved if key not in known.union(user_keys, _KEYS_OF_OTHER_ENGINES)]
    if unknown:
        raise ValueError(
            f"state_dict should hold only what this engine can restore, but given {unknown}, too. Append these names "
            "to engine.state_dict_user_keys before loading, or take them out"
        )


def _position(saved: Mapping[str, Any]) -> tuple[int, int, int]:
    """Iteration, epochs that are over, and iterations done in the one after them."""
    length = saved["epoch_length"]
    given = "iteration" if "iteration" in saved else "epoch"
    for name in (given, "epoch_length"):
        value = saved[name]
        is_unknown = value is None and name == "epoch_length"
        if not is_unknown and not (isinstance(value, int) and 0 <= value < _TOO_MANY):
            raise ValueError(f"{name} in state_dict should be an integer that is not negative, but given {value!r:.40}")
    if CURSOR_KEY in saved:
        cursor = saved[CURSOR_KEY]
        return saved["iteration"], cursor["epoch"], cursor["iteration_in_epoch"]
    if saved[given] == 0:
        return 0, 0, 0
    iteration = saved[given] if given == "iteration" else saved[given] * (length or 0)
    derived = _derive(iteration, length)
    if derived is None or not length:
        raise ValueError(
            "epoch_length must be a positive integer to calculate missing 'iteration' or 'epoch' key, "
            f"but given {length!r} with {given}={saved[given]}"
        )
    return (iteration, *derived)


def _derive(iteration: int, epoch_length: int | None) -> tuple[int, int] | None:
    """Epochs that are over, and iterations after them; None if that cannot be told from the number of iterations."""
    if iteration == 0:
        return 0, 0
    return divmod(iteration, epoch_length) if epoch_length else None
