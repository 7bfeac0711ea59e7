"""Control of a run from outside: named actions, carried out between two iterations."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ignite._core import clock
from ignite._core.rng import capture_random_state, restore_random_state
from ignite.engine._rates import set_rates

if TYPE_CHECKING:
    from ignite._core.rng import RandomState
    from ignite.engine._emitter import Unfinished

__all__ = ["Command", "Commands", "Control", "Done"]


class Controls(Protocol):
    """What this module uses of an engine, which has a control."""

    state: Any
    logger: logging.Logger
    _requests: list[Any]

    @property
    def is_running(self) -> bool: ...
    @property
    def run_saver(self) -> Any: ...
    @property
    def step_function(self) -> Any: ...
    @property
    def control(self) -> Control: ...
    def clocks_stopped(self) -> AbstractContextManager[None]: ...
    def request_at_boundary(self, request: Any) -> None: ...


Action = Callable[..., Any]
"""``action(engine, **arguments)``; returns what was done as text, results by name, or None."""


class Done(NamedTuple):
    """What has become of a command, for the record of the run.

    Attributes:
        time: when, in seconds since the epoch, as ``time.time()``.
        epoch: the epoch of the engine.
        iteration: its iteration.
        command: the name of the action.
        arguments: its arguments by name.
        is_done: False if it was refused or has failed.
        text: what was done, or why not.
    """

    time: float
    epoch: int
    iteration: int
    command: str
    arguments: Mapping[str, Any]
    is_done: bool
    text: str


class Command:
    """A command that waits for the next boundary of a run.

    Attributes:
        name: the name of the action.
        arguments: its arguments by name.
        done: what has become of it; None until then.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        meeting: Callable[[], int | None] | None = None,
        when_done: Callable[[Done], object] | None = None,
        fault: str = "",
    ) -> None:
        self.name, self.arguments = name, dict(arguments or {})
        self.done: Done | None = None
        self.fault = fault
        """Why it is refused; "" if it is not."""
        self.meeting = meeting
        """Waits for the iteration in which all processes carry it out; None if the run ends before."""
        self._when_done = when_done
        self._is_settled = threading.Event()

    def wait(self, timeout_s: float | None = None) -> Done | None:
        """Waits until the command is carried out or refused; None if that takes longer.

        Call it in another thread than that of the run.
        """
        self._is_settled.wait(timeout_s)
        return self.done

    def settle(self, done: Done) -> None:
        """Sets what has become of the command."""
        self.done = done
        self._is_settled.set()
        if self._when_done is not None:
            self._when_done(done)


class Commands:
    """The commands to an engine and its actions. Knows no engine, so that there is no cycle."""

    def __init__(self) -> None:
        self.pending: deque[Command] = deque()
        self.actions: dict[str, Action] = {
            "pause": _pause, "go": _go, "save": _save, "stop": _stop, "set": _set,
        }  # fmt: skip
        self.settings: dict[str, Callable[[Any, Any], Any]] = {"lr": set_rates}
        self.record: list[Done] = []
        self.listeners: list[Callable[[Done], object]] = []
        self.is_paused = False
        self.num_pauses, self.paused_s = 0, 0.0
        self.on_wake: Callable[[], object] | None = None
        """Called in a pause when a signal needs the run to go on, on all processes."""
        self.must_go_on = False
        self.alarm: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Ends a wait in a pause; may be used in signal handlers, which other queues may not."""

    def __getstate__(self) -> dict[str, Any]:
        """State for copies of an engine, without what waits."""
        return {**vars(self), "pending": deque(), "alarm": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, alarm=queue.SimpleQueue())

    def close(self, engine: Controls) -> None:
        """Refuses what is left at the end of a run."""
        self.is_paused = self.must_go_on = False
        while self.pending:
            command = self.pending.popleft()
            self.settle(engine, command, False, "the run has ended before")

    def settle(self, engine: Controls, command: Command, is_done: bool, text: str) -> None:
        """Records what has become of a command."""
        state = engine.state
        done = Done(
            time.time(),
            state.epoch,
            state.iteration,
            command.name,
            command.arguments,
            is_done,
            text,
        )
        self.record.append(done)
        for listener in self.listeners:
            listener(done)
        command.settle(done)


class Control:
    """Controls a run of an engine from outside: from handlers, other threads, or ``ignite ctl``.

    Commands are carried out in their order at the next boundary between two iterations or epochs,
    in the thread of the run; engines within handlers, such as an evaluation, finish before. Random
    numbers that an action draws do not change the run. An action that raises does not end the run:
    the exception is logged, and the command counts as refused.

    ``pause`` waits within the run, without using the processor, until ``go`` or ``stop``; the other
    commands are carried out meanwhile. Ctrl-C and signals end the wait as they would end the run.
    ``save`` saves the run, and ``stop`` saves and ends it, so that it can be resumed: TERMINATE is
    fired, COMPLETED is not; both need an attached ``Checkpoint.of``. ``set(lr=0.01)`` sets the
    learning rate of the optimizers; see :meth:`set`.

    Attributes:
        record: what was done in the runs of this engine, a list of :class:`Done`.

    Distributed:
        Call it on all ranks in the same iteration, for instance in a handler. Commands of
        ``ignite ctl`` reach all ranks, see :class:`ignite.handlers.LiveControl`.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> trainer = Engine(lambda engine, batch: batch)
        >>> trainer.control.add("count", lambda engine: f"{engine.state.iteration} iterations")
        >>> @trainer.on(Events.ITERATION_COMPLETED(once=2))
        ... def ask(engine):
        ...     engine.control.do("count")
        ...     engine.control.stop()
        >>> trainer.run(range(5)).iteration
        2
        >>> [done.text for done in trainer.control.record]
        ['2 iterations', 'stopped; not saved, for the run has no Checkpoint.of']
    """

    cuts = False

    def __init__(self, engine: Controls, commands: Commands) -> None:
        self.trainer = engine
        self.is_postponed = False
        """Whether the request is to be obeyed at the next boundary instead."""
        self._commands = commands

    @property
    def record(self) -> list[Done]:
        """What was done in the runs of this engine."""
        return self._commands.record

    @property
    def is_paused(self) -> bool:
        """Whether the run waits for ``go``."""
        return self._commands.is_paused

    @property
    def num_pauses(self) -> int:
        """How often the engine has been paused so far, in all its runs."""
        return self._commands.num_pauses

    @property
    def paused_s(self) -> float:
        """Seconds for which the engine has been paused so far, in all its runs."""
        return self._commands.paused_s

    @property
    def actions(self) -> list[str]:
        """The names of the actions."""
        return sorted(self._commands.actions)

    def add(self, name: str, action: Action) -> None:
        """Adds an action, or replaces it.

        Args:
            name: its name.
            action: ``action(engine, **arguments)``; returns what was done as text, results by name,
                or None. A ValueError refuses the command.
        """
        self._commands.actions[name] = action

    def remove(self, name: str) -> None:
        """Removes an action, if there is one of this name."""
        self._commands.actions.pop(name, None)

    def add_setting(self, name: str, setter: Callable[[Any, Any], Any]) -> None:
        """Adds something that ``set`` changes: ``setter(engine, value)`` returns what was done."""
        self._commands.settings[name] = setter

    def add_listener(self, listener: Callable[[Done], object]) -> Callable[[], None]:
        """Calls ``listener(done)`` after each command; returns a function that removes it."""
        self._commands.listeners.append(listener)
        return lambda: self._commands.listeners.remove(listener)

    def do(self, name: str, /, **arguments: Any) -> Command:
        """Asks for an action; returns the command, whose ``wait()`` waits for it in another thread.

        Raises:
            RuntimeError: the engine is not running.
        """
        if not self.trainer.is_running:
            raise RuntimeError(f"control.do({name!r}) should be called during a run")
        return self.give(Command(name, arguments))

    def give(self, command: Command) -> Command:
        """Asks for a command, from any thread."""
        self._commands.pending.append(command)
        self.trainer.request_at_boundary(self)
        return command

    def pause(self) -> Command:
        """Pauses the run until :meth:`go` or :meth:`stop`, which another thread has to call."""
        return self.do("pause")

    def go(self) -> Command:
        """Ends a pause."""
        return self.do("go")

    def save(self) -> Command:
        """Saves the run with its ``Checkpoint.of``."""
        return self.do("save")

    def stop(self) -> Command:
        """Saves the run and ends it; it can be resumed."""
        return self.do("stop")

    def validate(self) -> Command:
        """Calls the action "validate": the validation of a ``Learner``, or what the program has added."""
        return self.do("validate")

    def set(self, **values: Any) -> Command:
        """Sets ``lr``, or what the program has added with :meth:`add_setting`.

        ``lr`` is the rate of the first group of parameters; those of other groups and the base
        rates of PyTorch's schedulers are multiplied by the same factor. It is part of the states of
        optimizers and schedulers, so a resumed run goes on with it.
        """
        return self.do("set", **values)

    def refuse(self, command: Command) -> None:
        """Records a command that is not carried out because of its ``fault``, from any thread."""
        self.trainer.logger.warning("Control refuses a command: %s", command.fault)
        self._commands.settle(self.trainer, command, False, command.fault)

    def refuse_late(self) -> None:
        """Refuses commands that were given while a run was ending."""
        if not self.trainer.is_running:
            self._commands.close(self.trainer)

    def when_woken(self, call: Callable[[], object] | None) -> None:
        """Calls a function in a pause that a signal should end on all processes, see :meth:`.Engine.wake`."""
        self._commands.on_wake = call

    def obey(
        self, engine: Controls, unfinished: Unfinished | None, random: RandomState | None
    ) -> bool:
        """Carries out the commands; returns whether the run should stop."""
        self.is_postponed = False
        while (command := self._next(engine)) is not None:
            if self._carry_out(engine, command):
                return True
        return False

    def _next(self, engine: Controls) -> Command | None:
        """Returns the next command that is due here, and waits for one in a pause."""
        commands = self._commands
        if commands.is_paused and not self._wait_for_command(engine):
            return None
        if not commands.pending:
            return None
        command = commands.pending[0]
        if not commands.is_paused and command.meeting is not None:
            iteration = command.meeting()
            if iteration is None:
                command.fault = "the run has ended before"
            elif engine.state.iteration < iteration:
                self.is_postponed = True
                return None
        is_open = bool(getattr(engine.step_function, "num_accumulated", 0))
        if command.meeting is not None and is_open:
            # Each process has gradients of its own, of which only one would be saved.
            self.is_postponed = not commands.is_paused
            if self.is_postponed:
                return None
        return commands.pending.popleft()

    def _wait_for_command(self, engine: Controls) -> bool:
        """Waits in a pause; returns False if another request has to be obeyed first."""
        commands, began = self._commands, clock.now()
        try:
            with engine.clocks_stopped():
                while not commands.pending:
                    if any(one.trainer is engine for one in engine._requests):
                        # After the other one, if the run does not stop.
                        engine._requests.append(self)
                        return False
                    if commands.must_go_on and commands.on_wake is not None:
                        commands.must_go_on = False
                        commands.on_wake()
                    commands.alarm.get()
        finally:
            commands.paused_s += clock.now() - began
        return True

    def _carry_out(self, engine: Controls, command: Command) -> bool:
        """Carries out a command, and records it; returns whether the run should stop."""
        commands = self._commands
        action = commands.actions.get(command.name)
        fault = command.fault
        if not fault and action is None:
            fault = (
                f"command should be one of {', '.join(self.actions)}, but given {command.name!r}"
            )
        if fault or action is None:
            command.fault = fault
            self.refuse(command)
            return False
        random = capture_random_state()
        try:
            found = action(engine, **command.arguments)
        except (ValueError, TypeError) as error:
            engine.logger.warning("Control refuses %s: %s", command.name, error)
            commands.settle(engine, command, False, str(error))
            return False
        except Exception as error:
            engine.logger.exception("Control: %s has failed", command.name)
            commands.settle(engine, command, False, f"{type(error).__name__}: {error}")
            return False
        finally:
            restore_random_state(random)
        text = _text_of(found)
        engine.logger.info("Control: %s: %s", command.name, text)
        commands.settle(engine, command, True, text)
        return action is _stop


def _text_of(found: Any) -> str:
    if found is None:
        return "done"
    if isinstance(found, Mapping):
        return ", ".join(
            f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in found.items()
        )
    return str(found)


def _pause(engine: Controls) -> str:
    commands = engine.control._commands
    commands.num_pauses += not commands.is_paused
    commands.is_paused = True
    return f"paused after iteration {engine.state.iteration}"


def _go(engine: Controls) -> str:
    commands = engine.control._commands
    was_paused, commands.is_paused = commands.is_paused, False
    return "goes on" if was_paused else "was not paused"


def _save(engine: Controls) -> str:
    saver = engine.run_saver
    if saver is None:
        raise ValueError("save needs a run with a Checkpoint.of, but this run has none")
    saver.save()
    saver.wait()
    return f"saved {getattr(saver, 'last_checkpoint', saver.place)}"


def _stop(engine: Controls) -> str:
    if engine.run_saver is None:
        return "stopped; not saved, for the run has no Checkpoint.of"
    return f"stopped; {_save(engine)}"


def _set(engine: Controls, **values: Any) -> str:
    settings = engine.control._commands.settings
    if unknown := [name for name in values if name not in settings] or not values:
        given = ", ".join(unknown) if isinstance(unknown, list) else "nothing"
        raise ValueError(f"set knows {', '.join(sorted(settings))}, but given {given}")
    return "; ".join(_text_of(settings[name](engine, value)) for name, value in values.items())
