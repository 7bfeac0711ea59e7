"""Save and stop when the machine asks for it: signals, obeyed between two iterations."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ignite import distributed as idist
from ignite._core.seeding import RandomState
from ignite.engine import Engine, Events
from ignite.engine import _boundary as boundary

__all__ = ["Preemption"]

AnyEngine = Engine[Any, Any]
_STOP_ON = (signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))


class Preemption:
    """Saves a run and stops it when a signal comes: SIGTERM of a scheduler, SIGUSR1 of Slurm, SIGINT of Ctrl-C.

    The signal's handler sets a flag and nothing else. At the end of the iteration at hand the run is saved; TERMINATE
    is fired, COMPLETED is not; ``run`` then raises ``SystemExit(128 + signal)``, or KeyboardInterrupt after SIGINT. A
    second signal ends the process at once. Earlier handlers of the signals are called, too, and put back after the run.

    An engine that runs within a handler of the trainer's ITERATION_COMPLETED or EPOCH_COMPLETED, such as an evaluation,
    is cut off: the handler is left by an exception, and a resumed run calls it again, and those after it. What such a
    handler puts in place for an evaluation, it should put back in a ``finally``; random numbers that it draws before
    the evaluation are drawn from where the evaluation began.

    Only the main thread of the process in which ``run`` is called is concerned: elsewhere nothing is installed, and
    workers of a DataLoader never save.

    Args:
        stop_on: signals after which to save and stop.
        save_on: signals after which to save and go on.
        cut_evaluation: whether to cut off engines within handlers, or to wait for their end.
        requeue: ask Slurm to queue the job again, with ``scontrol requeue``.
        agree_every: on several processes, which decide together: after how many iterations they ask each other.
        raise_exit: whether ``run`` raises; if not, it returns, and ``received`` tells the signal.

    Raises:
        ValueError: a signal is in both lists, or ``agree_every`` is not positive.

    Attributes:
        received: the signal that the last run was stopped by, or None.

    Distributed:
        A signal that reaches one process stops all of them at the same iteration. Evaluations are waited for.

    Example:
        >>> trainer = Engine(lambda engine, batch: os.kill(os.getpid(), signal.SIGTERM) if batch == 3 else None)
        >>> saved = []
        >>> preemption = Preemption(raise_exit=False)
        >>> preemption.attach(trainer, checkpoint=lambda engine: saved.append(engine.state.iteration))
        >>> trainer.run([1, 2, 3, 4]).iteration, saved
        (3, [3])
    """

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
            raise ValueError(f"A signal should be in stop_on or in save_on, but given {stop_on} and {save_on}")
        if agree_every < 1:
            raise ValueError(f"agree_every should be at least 1, but given {agree_every}")
        self.received: int | None = None
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self._stop_on, self._save_on = tuple(stop_on), tuple(save_on)
        self._cut_evaluation, self._requeue = cut_evaluation, requeue
        self._agree_every, self._raise_exit = agree_every, raise_exit
        self._pid = os.getpid()
        self._flag = 0
        self._earlier: dict[int, Any] = {}

    def attach(self, trainer: AnyEngine, checkpoint: Callable[..., Any] | None = None) -> None:
        """Concerns each run of ``trainer`` from now on.

        Args:
            trainer: the engine to save and stop.
            checkpoint: called with the trainer to save it; by default the ``Checkpoint.of`` that is attached to it.
        """
        trainer._frames.append(functools.partial(self._frame, checkpoint))

    @contextmanager
    def _frame(self, checkpoint: Callable[..., Any] | None, trainer: AnyEngine, is_new: bool) -> Iterator[None]:
        """Around each run: signals are caught, and afterwards handled as before."""
        self.received, self._flag, self._pid = None, 0, os.getpid()
        request = _Request(self, trainer, checkpoint)
        is_alone = idist.get_world_size() == 1
        trainer._is_preemptible = self._cut_evaluation and is_alone
        if not is_alone:
            event = Events.ITERATION_COMPLETED(every=self._agree_every)
            agreement = trainer.add_event_handler(event, lambda: self._agree(request), priority=float("-inf"))
        self._install(lambda: boundary.ask(request) if is_alone else None)
        try:
            yield
        finally:
            self._uninstall()
            trainer._is_preemptible = False
            if not is_alone:
                agreement.remove()
        if self._flag in self._stop_on:
            self.received = self._flag
            self._end(self._flag)

    def _install(self, ask: Callable[[], None]) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.logger.info("Signals are not caught: they can be in the main thread only")
            return

        def note_signal(signum: int, frame: Any) -> None:
            earlier = self._earlier.get(signum)
            is_second = self._flag in self._stop_on
            self._flag = signum
            if is_second:
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            if os.getpid() != self._pid:
                return  # a worker of a loader: the batch that it makes is needed for the last iteration
            if signum in self._stop_on:
                self._let_workers_end()
            ask()
            if callable(earlier) and earlier is not signal.default_int_handler:
                earlier(signum, frame)

        for signum in (*self._stop_on, *self._save_on):
            # What is ignored, as by nohup, stays so; what was installed outside of Python cannot be put back.
            if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                self._earlier[signum] = signal.signal(signum, note_signal)

    def _let_workers_end(self) -> None:
        """A signal to all processes ends the workers of loaders, too, of which torch tells by an error in any line."""
        sigchld = getattr(signal, "SIGCHLD", None)
        if sigchld is not None and sigchld not in self._earlier and callable(signal.getsignal(sigchld)):
            self._earlier[sigchld] = signal.signal(sigchld, signal.SIG_DFL)

    def _uninstall(self) -> None:
        for signum, handler in self._earlier.items():
            signal.signal(signum, handler)
        self._earlier.clear()

    def _agree(self, request: _Request) -> None:
        self._flag = int(idist.all_reduce(self._flag, "MAX"))
        if self._flag:
            boundary.ask(request)

    def _end(self, signum: int) -> None:
        if self._requeue and idist.get_rank() == 0:
            self._ask_slurm(os.environ)
        if not self._raise_exit:
            return
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signum)

    def _ask_slurm(self, environment: Mapping[str, str]) -> None:
        job = environment.get("SLURM_JOB_ID")
        if "SLURM_ARRAY_JOB_ID" in environment:
            job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
        if job is None:
            self.logger.warning("The job should be queued again, but this is none: SLURM_JOB_ID is not set")
            return
        try:
            subprocess.run(["scontrol", "requeue", job], check=True, timeout=60, capture_output=True, text=True)
        except (OSError, subprocess.SubprocessError) as error:
            self.logger.error("The job could not be queued again: %s %s", error, getattr(error, "stderr", ""))


class _Request:
    """What a signal asks for."""

    def __init__(self, preemption: Preemption, trainer: AnyEngine, checkpoint: Callable[..., Any] | None) -> None:
        self.trainer = trainer
        self._preemption = preemption
        self._checkpoint = checkpoint

    @property
    def cuts(self) -> bool:
        preemption = self._preemption
        return preemption._cut_evaluation and preemption._flag in preemption._stop_on

    def obey(self, engine: AnyEngine, unfinished: boundary.Unfinished | None, random: RandomState | None) -> bool:
        preemption, signum = self._preemption, self._preemption._flag
        is_stop = signum in preemption._stop_on
        preemption.logger.warning(
            "%s: saving after iteration %s%s", signal.Signals(signum).name, engine.state.iteration,
            " and stopping" if is_stop else "",
        )  # fmt: skip
        if self._checkpoint is not None:
            self._checkpoint(engine)
        elif engine._keeper is not None:
            engine._keeper.save(unfinished, random)
            engine._keeper.wait()
        if not is_stop:
            preemption._flag = 0
        return is_stop
