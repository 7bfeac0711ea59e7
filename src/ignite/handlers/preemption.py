"""Preemption: saves and stops a run on a signal, between two iterations."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ignite import distributed as idist
from ignite._core.rng import RandomState
from ignite._core.trees import replaced
from ignite.engine import Engine, Events
from ignite.engine.extension import Unfinished

__all__ = ["Preemption"]

AnyEngine = Engine[Any, Any]
_STOP_ON = tuple(
    getattr(signal, name)
    # Slurm sends SIGUSR1; Windows SIGBREAK, for Ctrl-Break and the end of a console.
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGBREAK")
    if hasattr(signal, name)
)


class Preemption:
    """Saves and stops a run on a signal: SIGTERM, SIGUSR1 (Slurm) or SIGINT (Ctrl-C).

    On Windows also on SIGBREAK (Ctrl-Break); a process that is ended from outside gets no signal
    there.

    The signal handler only sets a flag. At the end of the current iteration, the run is saved;
    TERMINATE is fired, COMPLETED is not; ``run`` then raises ``SystemExit(128 + signal)``, or
    KeyboardInterrupt after SIGINT. A second signal ends the process at once. Previous signal
    handlers are called, too, and restored after the run.

    A signal is handled once, even with several such handlers: by the outermost engine that handles
    the signal, which is saved by all functions given for that engine.

    An engine that runs within a handler of ITERATION_COMPLETED or EPOCH_COMPLETED of the trainer,
    such as an evaluation, is interrupted: an exception leaves the handler, and a resumed run calls
    it and the following handlers again. The handler should clean up in a ``finally`` block; random
    numbers that it draws before the evaluation start from the random state at the start of the
    evaluation, also those of the program's own generators. Any other handler, and the step, are
    never left in the middle: their state is saved as it is at their end.

    Works only if ``run`` is called in the main thread: elsewhere, no signal handlers are installed.
    Workers of a DataLoader never save.

    Args:
        stop_on: signals after which to save and stop.
        save_on: signals after which to save and continue.
        cut_evaluation: whether to interrupt engines within handlers, or to wait for their end.
        requeue: whether to requeue the Slurm job with ``scontrol requeue``.
        agree_every: with several processes, the number of iterations between exchanges of the flag.
        raise_exit: whether ``run`` raises; if not, it returns, and ``received`` is the signal.

    Raises:
        ValueError: a signal is in both lists, or ``agree_every`` is not positive.

    Attributes:
        received: the signal that stopped the last run, or None.

    Distributed:
        Attach it on all ranks; the run raises an error that names a missing rank. A signal to one
        rank stops all ranks at the same iteration, after a running evaluation.

    Example:
        >>> def step(engine, batch):
        ...     if batch == 3:
        ...         os.kill(os.getpid(), signal.SIGTERM)
        >>> trainer, saved = Engine(step), []
        >>> preemption = Preemption(raise_exit=False)
        >>> preemption.attach(trainer, lambda engine: saved.append(engine.state.iteration))
        >>> trainer.run([1, 2, 3, 4]).iteration, saved
        (3, [3])
    """

    needs_all_processes = "Preemption"

    def __init__(
        self,
        *,
        stop_on: Sequence[int] = _STOP_ON,
        save_on: Sequence[int] = (),
        cut_evaluation: bool = True,
        requeue: bool = False,
        agree_every: int = 1,
        raise_exit: bool = True,
    ) -> None:
        if set(stop_on) & set(save_on):
            raise ValueError(
                f"A signal should be in stop_on or in save_on, but given {stop_on} and {save_on}"
            )
        if agree_every < 1:
            raise ValueError(f"agree_every should be at least 1, but given {agree_every}")
        self.received: int | None = None
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self._stop_on, self._save_on = tuple(stop_on), tuple(save_on)
        self._cut_evaluation, self._requeue = cut_evaluation, requeue
        self._agree_every, self._raise_exit = agree_every, raise_exit

    def attach(self, trainer: AnyEngine, checkpoint: Callable[..., Any] | None = None) -> None:
        """Handles signals during each run of ``trainer``.

        Args:
            trainer: the engine to save and stop.
            checkpoint: called with the trainer to save it; by default, its attached
                ``Checkpoint.of``.
        """
        trainer.add_run_context(functools.partial(self._frame, checkpoint))

    @contextmanager
    def _frame(
        self, checkpoint: Callable[..., Any] | None, trainer: AnyEngine, is_new: bool
    ) -> Iterator[None]:
        """Catches signals during a run, and restores the previous signal handlers."""
        self.received = None
        request = _Request(self, trainer, checkpoint)
        is_alone = idist.get_world_size() == 1
        is_preemptible = trainer.is_preemptible or (self._cut_evaluation and is_alone)
        with ExitStack() as stack:
            stack.enter_context(replaced(trainer, is_preemptible=is_preemptible))
            if not is_alone:
                event = Events.ITERATION_COMPLETED(every=self._agree_every)
                agreement = trainer.add_event_handler(event, request.agree, priority=float("-inf"))
                stack.callback(agreement.remove)
            stack.enter_context(_catching_signals(request))
            yield
        if request.is_stop:
            self._end(request.flag)

    def _end(self, signum: int) -> None:
        if self._requeue and idist.get_rank() == 0:
            self._requeue_job(os.environ)
        if not self._raise_exit:
            return
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signum)

    def _requeue_job(self, environment: Mapping[str, str]) -> None:
        job = environment.get("SLURM_JOB_ID")
        if "SLURM_ARRAY_JOB_ID" in environment:
            job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
        if job is None:
            self.logger.warning("Cannot requeue the job: SLURM_JOB_ID is not set")
            return
        try:
            subprocess.run(
                ["scontrol", "requeue", job],
                check=True,
                timeout=60,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.logger.error("Cannot requeue the job: %s %s", error, getattr(error, "stderr", ""))


class _Request:
    """Request to save or stop a run.

    Attributes:
        flag: the signal that one of the ranks received, or 0.
        is_told: whether this rank received a signal to stop.
        pid: the process of the run; loader workers inherit this object.
        earlier: the replaced signal handlers, by signal.
    """

    def __init__(
        self, preemption: Preemption, trainer: AnyEngine, checkpoint: Callable[..., Any] | None
    ) -> None:
        self.trainer = trainer
        self.preemption = preemption
        self.checkpoint = checkpoint
        self.flag = 0
        self.is_told = False
        self.pid = os.getpid()
        self.earlier: dict[int, Any] = {}

    @property
    def signals(self) -> tuple[int, ...]:
        """The handled signals."""
        return (*self.preemption._stop_on, *self.preemption._save_on)

    @property
    def is_stop(self) -> bool:
        """Whether the run should stop."""
        return self.flag in self.preemption._stop_on

    @property
    def cuts(self) -> bool:
        """Whether engines within handlers are interrupted."""
        return self.preemption._cut_evaluation and self.is_stop

    def note(self, signum: int) -> None:
        """Records a signal. Only sets attributes, because a signal can interrupt anything."""
        if self.is_told:  # this rank, not another one, received the signal before
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        if not self.is_stop:
            self.flag = signum
        self.is_told = self.is_stop
        if os.getpid() != self.pid:
            return  # a loader worker: the last iteration needs its batch
        if self.is_stop:
            self._ignore_exit_of_workers()
        if idist.get_world_size() == 1:
            self.trainer.request_at_boundary(self)
        else:
            self.trainer.wake()

    def _ignore_exit_of_workers(self) -> None:
        """Ignores the exit of loader workers, about which PyTorch raises an error.

        A signal to the process group ends them, too.
        """
        sigchld = getattr(signal, "SIGCHLD", None)
        if (
            sigchld is not None
            and sigchld not in self.earlier
            and callable(signal.getsignal(sigchld))
        ):
            self.earlier[sigchld] = signal.signal(sigchld, signal.SIG_DFL)

    def agree(self) -> None:
        """Exchanges the flag between ranks. A collective, called between iterations."""
        self.flag = int(idist.all_reduce(self.flag, "MAX"))
        if self.flag:
            self.trainer.request_at_boundary(self)

    def obey(
        self, engine: AnyEngine, unfinished: Unfinished | None, random: RandomState | None
    ) -> bool:
        """Saves the run; returns whether it should stop."""
        signum, is_stop = self.flag, self.is_stop
        self.preemption.logger.warning(
            "%s: saving after iteration %s%s",
            signal.Signals(signum).name,
            engine.state.iteration,
            " and stopping" if is_stop else "",
        )
        others = [one for one in _requests_for(signum) if one.trainer is self.trainer]
        saves = {one.checkpoint: None for one in (self, *others)}  # each once, in order
        for save in saves:
            if save is not None:
                save(engine)
        if None in saves and engine.run_saver is not None:
            engine.run_saver.save(unfinished, random)
            engine.run_saver.wait()
        if is_stop:
            for one in (self, *others):
                one.preemption.received = signum
        else:
            self.flag = 0
        return is_stop


_active: list[_Request] = []
"""Requests of the active runs in the main thread, outermost first."""
_in_handler: set[int] = set()
"""Signals whose previous handler is running."""


def _requests_for(signum: int) -> list[_Request]:
    return [request for request in _active if signum in request.signals]


def _on_signal(signum: int, frame: Any) -> None:
    """The signal handler: passes a signal to the outermost run that handles it, once."""
    requests = _requests_for(signum)
    if not requests:
        return
    # True if called by a signal handler that the program installed during the run.
    is_again = signum in _in_handler
    if not is_again:
        requests[0].note(signum)
    if os.getpid() != requests[0].pid:
        return
    installed = [request.earlier[signum] for request in requests if signum in request.earlier]
    earlier = installed[0 if is_again else -1] if installed else None
    if callable(earlier) and earlier is not signal.default_int_handler:
        _in_handler.add(signum)
        try:
            earlier(signum, frame)
        finally:
            if not is_again:
                _in_handler.discard(signum)


@contextmanager
def _catching_signals(request: _Request) -> Iterator[None]:
    """Catches signals within the block, unless an outer run already does."""
    if threading.current_thread() is not threading.main_thread():
        request.preemption.logger.info("Signals are not handled: the run is not in the main thread")
        yield
        return
    _active.append(request)
    try:
        for signum in request.signals:
            # Ignored signals stay ignored, as with nohup; handlers installed outside of Python
            # cannot be restored.
            if signal.getsignal(signum) not in (signal.SIG_IGN, None, _on_signal):
                request.earlier[signum] = signal.signal(signum, _on_signal)
        yield
    finally:
        for signum, handler in request.earlier.items():
            signal.signal(signum, handler)
        _active.remove(request)
