"""Notes how long each part of a run took, one by one; for a look at a run, not to stay on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ignite.engine._watch import Meter, Step

if TYPE_CHECKING:
    from ignite.engine._dispatch import Registration
    from ignite.engine._state import State

__all__ = ["DATA", "STEP", "Tape", "name_in_results"]

DATA, STEP = "data", "step"
Note = Callable[[Any, str, int, float], None]


class Tape(Meter):
    """Tells what has ended well: a handler, a step, or the fetching of a batch.

    Args:
        state: of the engine, for the number of the epoch and iteration.
        note: called with the event (or DATA, STEP), the handler's name, the index of the event and the seconds.
        know: called with the event and the name of each handler that is found, before any is called.
    """

    def __init__(self, state: State, note: Note, know: Callable[[Any, str], None]) -> None:
        self._state = state
        self._note = note
        self._know = know
        self._known: list[tuple[Any, Registration]] = []

    def handler(self, event: Any, entry: Registration, handler: Callable[..., Any]) -> Callable[..., Any]:
        if getattr(getattr(entry.handler, "__self__", None), "_is_profiler", False):  # times itself
            return handler
        name = name_in_results(entry.handler)
        # Tables are compiled anew for each profiler that joins.
        if not any(of == event and known is entry for of, known in self._known):
            self._known.append((event, entry))
            self._know(event, name)
        return self._timed(event, name, handler)

    def step(self, step: Step) -> Step:
        return self._timed(STEP, "", step)

    def data(self, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        state, note, started = self._state, self._note, perf_counter()
        iterator = begin()
        before = perf_counter() - started  # counts with the first batch: loaders start their workers here

        def fetch(iterator: Iterator[Any]) -> Any:
            nonlocal before
            started = perf_counter() - before
            batch, before = next(iterator), 0.0
            note(DATA, "", index_of(DATA, state), perf_counter() - started)
            return batch

        return map(fetch, itertools.repeat(iterator))  # not a generator: that would be over after any exception

    def _timed(self, event: Any, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        state, note = self._state, self._note

        def called(*args: Any, **kwargs: Any) -> Any:
            index = index_of(event, state)  # a handler may move the counters on
            started = perf_counter()
            result = function(*args, **kwargs)
            note(event, name, index, perf_counter() - started)
            return result

        return called


def index_of(event: Any, state: State) -> int:
    """The epoch or iteration that ``event`` belongs to, from 0."""
    name = getattr(event, "name", event)
    if name.startswith("EPOCH_"):
        return state.epoch - 1
    if name == STEP or name.startswith("ITERATION_"):
        return state.iteration - 1
    if name == DATA or name.startswith("GET_BATCH_"):
        return state.iteration
    return 0


def name_in_results(handler: Callable[..., Any]) -> str:
    """As in Ignite's results: with the names around it for functions and methods, without for other callables."""
    name = getattr(handler, "__qualname__", None)
    return name if isinstance(name, str) else type(handler).__name__
