"""A run as a dictionary: everything that belongs to it, taken down at a boundary of its loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ignite import distributed as idist
from ignite import storage
from ignite._core.seeding import RandomState, capture_random_state
from ignite.engine._boundary import Unfinished
from ignite.engine._collect import Belongings

if TYPE_CHECKING:
    from ignite.engine.engine import Engine


def take_down(
    engine: Engine[Any, Any],
    belongings: Belongings,
    unfinished: Unfinished | None = None,
    random: RandomState | None = None,
    is_finished: bool = False,
) -> dict[str, Any]:
    """Everything that a resumed run needs. On several processes, all of them have to call it.

    Args:
        engine: the trainer.
        belongings: what was found to belong to its run.
        unfinished: the event in the midst of which the run stops.
        random: where the generators stood when the handler that is cut off began; by default, where they stand.
        is_finished: whether nothing is left to do, though a limit may not be reached.

    Returns:
        ``trainer``, the objects by name, ``data``, ``random``, ``results``, ``is_finished`` and, in the midst of one,
        ``event``. Tensors are those in use, not copies.

    Raises:
        ValueError: the data were exchanged in the run, so that a resumed one would have others; or an object is sharded
            over processes.
    """
    if engine._is_running and engine.state.dataloader is not engine._source.data:
        raise ValueError(
            "In a run that is saved, data should be given to run(), or be set by set_data() in a handler of STARTED, "
            "which a resumed run calls again, but they were exchanged later: it would go on with other batches. Give "
            "run() data that change by themselves, or leave out Checkpoint.of"
        )
    objects, engines = belongings.objects, belongings.engines
    states: dict[str, Any] = {"trainer": engine.state_dict(), "is_finished": is_finished}
    for name, one in objects.items():
        states[name] = storage.state_of(one)
        storage.check_whole(name, one, states[name])
    position = getattr(engine.state.dataloader, "state_dict", None)
    if callable(position):
        if engine._source.is_set:
            states["is_data_set"] = True
        states["data"] = idist.all_gather(position())  # streams and their buffers are each process's own
    mine = capture_random_state() if random is None else random
    states["random"] = idist.all_gather(mine)  # a list, one of each process
    states["results"] = {name: _storable(one.state.metrics) for name, one in engines.items()}
    if unfinished is not None:
        output = _storable({"output": engine.state.output})
        states["event"] = {"name": unfinished.event, "num_done": unfinished.num_done, **output}
    return states


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if _is_storable(value)}


def _is_storable(value: Any) -> bool:
    try:
        storage.check_storable(value)
    except TypeError:
        return False
    return True
