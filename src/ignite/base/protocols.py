"""What objects may offer to engines, handlers and metrics, whatever their class.

Objects of users take part in the same way as those of the library. An engine looks the methods up
on the class, never on the instance: metrics have any attribute, because attributes of theirs are
those of their result.
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
    """Hands out its state as a mapping and takes it back, as models, optimizers and engines do.

    Example:
        >>> import torch
        >>> isinstance(torch.nn.Linear(1, 1), Stateful)
        True
    """

    def state_dict(self) -> Mapping[str, Any]:
        """Everything that :meth:`load_state_dict` needs to bring this object back to where it is now."""
        ...

    # The classes of torch disagree about type and result of this method; every one of them fits
    # here.
    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Takes over a state that :meth:`state_dict` has handed out."""
        ...


class WithParts(Protocol):
    """A step function that names the objects it trains, so that they are saved with the run."""

    def parts(self) -> Mapping[str, Any]:
        """The objects by name, such as ``model`` and ``optimizer``; None for one that there is not."""
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
        """What to say of the method named ``handler``, which is a handler of ``engine``; "" for nothing."""
        ...


class DryRunnable(Protocol):
    """An object that writes files, and writes them elsewhere in ``engine.dry_run()``."""

    def dry_run_in(self, folder: Path, /) -> AbstractContextManager[Callable[[], None]]:
        """Writes into ``folder`` until the end of the block; gives a function that reads back what was written.

        The function is called after the run and raises if what was written cannot be used.
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
    """A handler that decides for all processes, where all of them have it; see :mod:`ignite.engine.together`."""

    decides_together: ClassVar[bool]
    """True. It then may ask :func:`ignite.engine.together.any_process`."""


class NeedsAllProcesses(Protocol):
    """A handler that cannot work unless all processes have it; a run begins only if they do."""

    needs_all_processes: ClassVar[str]
    """Its name in the error that says which process does not have it."""


class ResetsItself(Protocol):
    """An object with handlers that begins anew with each run of an engine, so that its state need not be saved."""

    def begins_anew_with(self, engine: Any, /) -> bool:
        """Whether each run of ``engine`` begins anew with this object."""
        ...


class RunContext(Protocol):
    """What :meth:`ignite.engine.Engine.add_run_context` enters around each run: a function that makes it."""

    def __call__(self, engine: Any, is_new: bool, /) -> AbstractContextManager[Any]:
        """Makes the context manager for a run of ``engine``; ``is_new`` says whether it begins at the beginning."""
        ...


class BoundaryRequest(Protocol):
    """What somebody outside of a run, such as a signal's handler, wants done between two iterations or epochs.

    See :meth:`ignite.engine.Engine.request_at_boundary`.
    """

    trainer: Any
    """The engine whose run it is about; other engines run within its handlers."""

    @property
    def cuts(self) -> bool:
        """Whether engines within a handler are left at their next iteration, instead of waited for."""
        ...

    def obey(self, engine: Any, unfinished: Any, random: Any, /) -> bool:
        """Does what is wanted, and returns whether the run is to stop.

        Args:
            engine: the trainer.
            unfinished: the :class:`ignite.engine.extension.Unfinished` event in the midst of which
                the run is, or None.
            random: where the random generators stood when the handler that is cut off began, or
                None.
        """
        ...


class RunSaver(Protocol):
    """What saves the runs of an engine, so that they can be resumed: ``Checkpoint.of``."""

    saves_runs: ClassVar[bool]
    """True: it is not one of the objects that are saved."""

    def save(self, unfinished: Any = None, random: Any = None, /) -> None:
        """Saves the run now; the arguments are those of :meth:`BoundaryRequest.obey`."""
        ...

    def wait(self) -> None:
        """Waits until everything is written."""
        ...

    def held(self, is_new: bool, /) -> AbstractContextManager[None]:
        """Is entered around each run.

        Raises if another program saves to the same place, or another run is there.
        """
        ...

    @property
    def given(self) -> Mapping[str, Any]:
        """Objects that the user has named."""
        ...

    @property
    def place(self) -> Any:
        """Where checkpoints go: a :class:`ignite.storage.Place`."""
        ...
