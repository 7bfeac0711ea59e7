"""Protocols of objects that engines, handlers and metrics work with, regardless of their class.

User-defined objects are treated like those of the library. An engine looks up the methods on the
class, never on the instance, because an instance of a metric has any attribute of its result.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

__all__ = [
    "Attachable",
    "BoundaryRequest",
    "DecidesTogether",
    "Describable",
    "DryRunnable",
    "HoldsData",
    "NeedsAllProcesses",
    "ResetsItself",
    "RunContext",
    "RunSaver",
    "Stateful",
    "UsedByThread",
    "WithParts",
]


@runtime_checkable
class Attachable(Protocol):
    """Attaches itself to an engine and publishes its result under a name, as metrics do."""

    def attach(self, engine: Any, name: str, /) -> None:
        """Adds its handlers to ``engine``; the result goes to ``engine.state.metrics[name]``."""


@runtime_checkable
class Stateful(Protocol):
    """Has a state that can be saved and loaded, like models, optimizers and engines.

    Example:
        >>> import torch
        >>> isinstance(torch.nn.Linear(1, 1), Stateful)
        True
    """

    def state_dict(self) -> Mapping[str, Any]:
        """Returns the state, from which :meth:`load_state_dict` restores the object."""
        ...

    # Positional and untyped: the classes of torch have different signatures.
    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Loads a state that :meth:`state_dict` has returned."""
        ...


class WithParts(Protocol):
    """A step function that names the objects it trains, so that they are saved with the run."""

    def parts(self) -> Mapping[str, Any]:
        """Returns the objects by name, such as ``model`` and ``optimizer``; None for a missing one."""
        ...


class Describable(Protocol):
    """An object with handlers that adds to what ``engine.describe()`` says about them.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> class Writer:
        ...     def __call__(self, engine): ...
        ...     def describe_handler(self, engine, handler):
        ...         return "-> log.txt"
        >>> engine = Engine(lambda engine, batch: None)
        >>> _ = engine.add_event_handler(Events.COMPLETED, Writer())
        >>> "-> log.txt" in str(engine.describe())
        True
    """

    def describe_handler(self, engine: Any, handler: str, /) -> str:
        """Returns a note on the method named ``handler``, a handler of ``engine``; "" for none."""
        ...


class DryRunnable(Protocol):
    """An object that writes files, to a temporary folder during ``engine.dry_run()``."""

    def dry_run_in(self, folder: Path, /) -> AbstractContextManager[Callable[[], None]]:
        """Makes the object write to ``folder`` within a ``with`` block, which gives a function that reads it back.

        The function is called after the run. It raises if the files cannot be read.
        """
        ...


class HoldsData(Protocol):
    """An object that holds data, which ``engine.dry_run()`` does not copy.

    A dry run restores the random generators in it.
    """

    holds_data: ClassVar[bool]
    """True."""


class UsedByThread(Protocol):
    """An object that a background thread uses, too, so that ``engine.dry_run()`` leaves it unchanged."""

    is_used_by_thread: ClassVar[bool]
    """True."""


class DecidesTogether(Protocol):
    """A handler that decides for all processes, if all of them have it; see :mod:`ignite.engine.together`."""

    decides_together: ClassVar[bool]
    """True. The handler may call :func:`ignite.engine.together.any_process`."""


class NeedsAllProcesses(Protocol):
    """A handler that all processes need to have; otherwise, runs raise an error when they begin."""

    needs_all_processes: ClassVar[str]
    """Name of the handler in that error."""


class ResetsItself(Protocol):
    """An object with handlers that is reset at the start of each run, so that its state need not be saved."""

    def begins_anew_with(self, engine: Any, /) -> bool:
        """Whether each run of ``engine`` resets this object."""
        ...


class RunContext(Protocol):
    """Creates a context manager for each run; see :meth:`ignite.engine.Engine.add_run_context`."""

    def __call__(self, engine: Any, is_new: bool, /) -> AbstractContextManager[Any]:
        """Returns the context of a run of ``engine``; ``is_new`` is False if the run continues an earlier one."""
        ...


class BoundaryRequest(Protocol):
    """A request to a run from outside, such as a signal handler, obeyed between two iterations or epochs.

    See :meth:`ignite.engine.Engine.request_at_boundary`. An attribute ``is_postponed`` that is True
    after ``obey`` asks to be obeyed at the next boundary again.
    """

    trainer: Any
    """The engine of the run; other engines may run within its handlers."""

    @property
    def cuts(self) -> bool:
        """Whether engines that run within a handler stop at their next iteration, instead of finishing."""
        ...

    def obey(self, engine: Any, unfinished: Any, random: Any, /) -> bool:
        """Obeys the request, and returns whether to stop the run.

        Args:
            engine: the trainer.
            unfinished: the interrupted event, an :class:`ignite.engine.extension.Unfinished`, or
                None.
            random: the random states at the start of the interrupted handler, or None.
        """
        ...


class RunSaver(Protocol):
    """Saves the runs of an engine, so that they can be resumed; see ``Checkpoint.of``."""

    saves_runs: ClassVar[bool]
    """True. The saver itself is not saved."""

    def save(self, unfinished: Any = None, random: Any = None, /) -> None:
        """Saves the run; arguments as for :meth:`BoundaryRequest.obey`."""
        ...

    def wait(self) -> None:
        """Waits until all files are written."""
        ...

    def held(self, is_new: bool, /) -> AbstractContextManager[None]:
        """Returns the context of each run.

        Raises if another program saves to the same folder, or it contains another run.
        """
        ...

    @property
    def given(self) -> Mapping[str, Any]:
        """Objects that the user has named."""
        ...

    @property
    def place(self) -> Any:
        """The folder of the checkpoints, a :class:`ignite.storage.Place`."""
        ...
