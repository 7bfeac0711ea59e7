"""Runs jobs, such as writing a checkpoint, in a background thread, and raises their errors."""

import atexit
import concurrent.futures.thread  # noqa: F401 - has to be told of the exit after us: see the end of this file
import logging
import os
import threading
from collections.abc import Callable

from ignite._core.clock import now

__all__ = ["Writer"]

logger = logging.getLogger(f"{__name__}.Writer")


class _Job:
    """A piece of work and what became of it."""

    def __init__(self, work: Callable[[], object], limit_s: float) -> None:
        self.limit_s = limit_s
        self.error: BaseException | None = None
        self._work: Callable[[], object] | None = work
        # A daemon, because the wait at exit has a limit.
        self.thread = threading.Thread(target=self._run, name="ignite-writer", daemon=True)

    def _run(self) -> None:
        # Nothing may hold the work when it is done: with it goes the state that it has written.
        work, self._work = self._work, None
        try:
            if work is not None:
                work()
        except BaseException as error:  # whatever it is, the one who submits next has to know
            self.error = error


_unseen: set[_Job] = set()
"""Jobs whose end nobody has seen."""


class Writer:
    """Runs jobs in a thread of its own, one at a time, for one thread that submits them.

    There is no queue: who submits a job while another one is running waits for its end. So at most
    one state is waiting to be written, however slow the disk is.

    The error of a job is raised by the next :meth:`submit` or :meth:`wait`, once. When the
    interpreter exits, jobs are awaited, and an error that nobody has seen is logged. A process that
    was forked while a job was running knows nothing of it.

    Args:
        limit_s: how long a job is awaited when the interpreter exits.

    Example:
        >>> writer, done = Writer(), []
        >>> writer.submit(lambda: done.append(1))
        >>> writer.wait()
        >>> done, writer.is_busy
        ([1], False)
    """

    def __init__(self, limit_s: float = 300.0) -> None:
        if not limit_s >= 0:
            raise ValueError(f"limit_s should be at least 0, but given {limit_s!r}")
        self._limit_s = limit_s
        self._job: _Job | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        job = self._own_job()
        return job is not None and job.thread.is_alive()

    def submit(self, job: Callable[[], object]) -> None:
        """Starts ``job``, after the one before has ended.

        Raises:
            Exception: that of the job before. ``job`` is not started then.
        """
        self.wait()
        started = _Job(job, self._limit_s)
        _unseen.add(started)
        try:
            started.thread.start()
        except BaseException:
            _unseen.discard(started)
            raise
        self._job = started

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the running job has ended, if there is one.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            Exception: that of the job, if nobody has seen it yet.
            TimeoutError: the job is still running.
        """
        job = self._own_job()
        if job is None:
            return
        job.thread.join(timeout)
        if job.thread.is_alive():
            raise TimeoutError(f"the job should have ended after {timeout} s, but is still running")
        self._job = None
        _unseen.discard(job)
        if job.error is not None:
            try:
                raise job.error
            finally:
                job.error = (
                    None  # its traceback holds this frame: let no circle keep the state alive
                )

    def _own_job(self) -> _Job | None:
        """The job, unless it was started by the process that this one was forked from."""
        if self._job is not None and self._job not in _unseen:
            self._job = None
        return self._job


def _await_all() -> None:
    """Called at exit, while other threads still run."""
    started = now()
    for job in list(_unseen):
        if job.thread is not threading.current_thread():
            job.thread.join(max(0.0, job.limit_s - (now() - started)))
        if job.thread.is_alive():
            logger.error(
                "A job was not finished %g s after the end of the program, and is given up",
                job.limit_s,
            )
        elif job.error is not None:
            logger.error(
                "A job has failed, and nobody was left to raise its error", exc_info=job.error
            )
        _unseen.discard(job)


# Twice. First when threads are shut down: a job may still use thread pools then, as clients of
# object stores do. For what was registered last runs first, and the import above has registered the
# end of the pools. And once more for jobs that other exit handlers have submitted.
getattr(threading, "_register_atexit", atexit.register)(_await_all)
atexit.register(_await_all)
if hasattr(os, "register_at_fork"):
    # The threads stay with the parent, and so do their jobs and errors.
    os.register_at_fork(after_in_child=_unseen.clear)
