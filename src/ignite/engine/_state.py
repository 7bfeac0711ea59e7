"""The state of an engine: counters, the current batch and output, metrics; its counters as a dictionary."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ignite._core.optional import LazyModule
from ignite.base import Serializable
from ignite.engine._handlers import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ignite.engine._cursor import Cursor

markup = LazyModule("ignite._core.markup")  # for notebooks only

__all__ = [
    "State",
    "load_progress",
    "load_user_values",
    "save_progress",
]

CURSOR_KEY = "cursor"
"""The position, if the iteration alone does not determine it: after epochs that ended early."""
COUNTS_KEY = "event_counts"
"""Number of firings, for events with filters that count them."""
_TOO_MANY = 2**62
"""No run has so many iterations: such a file is damaged or malicious."""
_KEYS_OF_OTHER_ENGINES = ("seed", "rng_states", "pass_start", "pass_number")


class State:
    """The counters, data and results of an engine, open to what users put on it.

    Attributes:
        iteration: iterations begun in this run, over all epochs; 0 before the first.
        epoch: epochs begun in this run; 0 before the first.
        epoch_length: iterations in an epoch; None while that is unknown.
        max_epochs: the epoch after which the run ends, or None.
        max_iters: the iteration after which the run ends, or None.
        output: what the process function returned last.
        batch: what the process function was given last.
        metrics: the values that metrics have computed, by name.
        dataloader: the data given to ``run``.
        seed: for engines that are seeded.
        times: seconds that the last epoch ("EPOCH_COMPLETED") and run ("COMPLETED") took; None
            before.

    Args:
        **kwargs: values for these attributes, or further ones.

    Example:
        >>> state = State(alpha=0.5)
        >>> state.iteration, state.alpha
        (0, 0.5)
    """

    event_to_attr: ClassVar[dict[Any, str]] = {
        **dict.fromkeys(("GET_BATCH_STARTED", "GET_BATCH_COMPLETED"), "iteration"),
        **dict.fromkeys(("ITERATION_STARTED", "ITERATION_COMPLETED"), "iteration"),
        **dict.fromkeys(("EPOCH_STARTED", "EPOCH_COMPLETED", "STARTED", "COMPLETED"), "epoch"),
    }
    """The attribute that counts an event, by the event or its name."""

    def __init__(self, **kwargs: Any) -> None:
        self.iteration = 0
        self.epoch = 0
        self.epoch_length: int | None = None
        self.max_epochs: int | None = None
        self.max_iters: int | None = None
        self.output: Any = None
        self.batch: Any = None
        self.metrics: dict[str, Any] = {}
        self.dataloader: Iterable[Any] | None = None
        self.seed: int | None = None
        self.times: dict[str, float | None] = {"EPOCH_COMPLETED": None, "COMPLETED": None}
        # For the events of this engine alone: entries of the class are shared by all engines.
        self._own_event_to_attr: dict[str, str] = {}
        self._event_counts: dict[str, int] = {}
        for name, value in kwargs.items():
            setattr(self, name, value)
        for attribute in self.event_to_attr.values():
            if not hasattr(self, attribute):
                setattr(self, attribute, 0)

    if TYPE_CHECKING:
        # Attributes that users add. A subclass that declares them gives them their types.
        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def get_event_attrib_value(self, event_name: Any) -> int:
        """The count that belongs to an event: an epoch, an iteration, or how often it has been fired in this run.

        Raises:
            RuntimeError: no engine with this state has fired the event, and no attribute counts it.
        """
        name = key_of(event_name)
        attribute = self._attribute_of(name)
        if attribute is not None:
            return int(getattr(self, attribute))
        if name in self._event_counts:
            return self._event_counts[name]
        raise RuntimeError(
            f"Unknown event name '{event_name}': it has not been fired and no attribute counts it"
        )

    def get_event_attrib_name(self, event_name: Any) -> str | None:
        """The attribute that counts an event; None if there is none.

        Example:
            >>> from ignite.engine import Events
            >>> State().get_event_attrib_name(Events.EPOCH_COMPLETED)
            'epoch'
        """
        return self._attribute_of(key_of(event_name))

    def _attribute_of(self, name: str) -> str | None:
        return self._own_event_to_attr.get(name) or self.event_to_attr.get(name)

    def __repr__(self) -> str:
        lines = ["State:"]
        for name, value in vars(self).items():
            if not name.startswith("_"):
                lines.append(
                    f"\t{name}: {value if isinstance(value, int | float | str) else type(value)}"
                )
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        """A table of all attributes for notebooks; tensors by their dtype and shape."""
        rows = [
            (name, markup.in_brief(value))
            for name, value in vars(self).items()
            if not name.startswith("_")
        ]
        return str(markup.table(["State", ""], rows, num_texts=2))


class _Layout(Serializable):
    _state_dict_all_req_keys = ("epoch_length",)
    _state_dict_one_of_opt_keys = (("iteration", "epoch"), ("max_epochs", "max_iters"))


class _WithProgress(Protocol):
    """What these functions need of an engine."""

    state: State
    _cursor: Cursor

    @property
    def state_dict_user_keys(self) -> list[str]: ...

    def _counts_matter(self, name: str) -> bool: ...

    def _take_loaded(self, carried: int) -> None: ...


def save_progress(engine: _WithProgress) -> OrderedDict[str, Any]:
    """See :meth:`Engine.state_dict`."""
    state = engine.state
    limit = "max_iters" if state.max_iters is not None else "max_epochs"
    saved: OrderedDict[str, Any] = OrderedDict()
    for key in ("epoch_length", "iteration", limit, *engine.state_dict_user_keys):
        saved[key] = getattr(state, key)

    epoch, carried = engine._cursor.position(state)
    if (epoch, carried) != _derive(state.iteration, state.epoch_length):
        saved[CURSOR_KEY] = {"epoch": epoch, "iteration_in_epoch": carried}
    counts = {
        name: count for name, count in state._event_counts.items() if engine._counts_matter(name)
    }
    if counts:
        saved[COUNTS_KEY] = counts
    return saved


def load_progress(engine: _WithProgress, saved: Mapping[str, Any]) -> None:
    """See :meth:`Engine.load_state_dict`. Changes nothing if a value is wrong."""
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


def load_user_values(engine: _WithProgress, saved: Mapping[str, Any]) -> None:
    """Restores the user's attributes of the state and the counts of their events, but no counters or limits."""
    for key in engine.state_dict_user_keys:
        setattr(engine.state, key, saved[key])
    engine.state._event_counts = dict(saved.get(COUNTS_KEY, {}))


def _check_user_keys(saved: Mapping[str, Any], user_keys: list[str]) -> None:
    missing = [key for key in user_keys if key not in saved]
    if missing:
        raise ValueError(
            f"Required user state attribute '{missing[0]}' is absent in state_dict with {list(saved)}"
        )
    known = {
        "epoch_length",
        "iteration",
        "epoch",
        "max_epochs",
        "max_iters",
        CURSOR_KEY,
        COUNTS_KEY,
    }
    unknown = [key for key in saved if key not in known.union(user_keys, _KEYS_OF_OTHER_ENGINES)]
    if unknown:
        raise ValueError(
            f"state_dict should hold only what this engine can restore, but given {unknown}, too. Append these names "
            "to engine.state_dict_user_keys before loading, or take them out"
        )


def _position(saved: Mapping[str, Any]) -> tuple[int, int, int]:
    """Returns the iteration, the number of completed epochs, and of iterations in the next one."""
    length = saved["epoch_length"]
    given = "iteration" if "iteration" in saved else "epoch"
    for name in (given, "epoch_length"):
        value = saved[name]
        is_unknown = value is None and name == "epoch_length"
        if not is_unknown and not (isinstance(value, int) and 0 <= value < _TOO_MANY):
            raise ValueError(
                f"{name} in state_dict should be an integer that is not negative, but given {value!r:.40}"
            )
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
    """Returns completed epochs, and iterations after them; None if the length of an epoch is unknown."""
    if iteration == 0:
        return 0, 0
    return divmod(iteration, epoch_length) if epoch_length else None
