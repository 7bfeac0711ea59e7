"""Runs jobs, such as writing a checkpoint, in a background thread, and raises their errors."""

import atexit
import concurrent.futures.thread  # noqa: F401 - registers its exit handler before us, see below
import logging
import os
import threading
from collections.abc import Callable

from ignite._core.clock import now
from ignite._core.torch_private import at_exit

__all__ = ["Writer"]

logger = logging.getLogger(f"{__name__}.Writer")


class _Job:
    """A job, its thread and its error."""

    def __init__(self, work: Callable[[], object], limit_s: float) -> None:
        self.limit_s = limit_s
        self.error: BaseException | None = None
        self._work: Callable[[], object] | None = work
        # A daemon thread, because the wait at exit has a limit.
        self.thread = threading.Thread(target=self.run, name="ignite-writer", daemon=True)

    def start(self) -> None:
        """Starts the thread. Python 3.12.0 and 3.12.1 start none at exit, so the job runs here."""
        try:
            self.thread.start()
        except RuntimeError as error:
            if "interpreter shutdown" not in str(error):
                raise
            self.run()

    def join(self, timeout: float | None) -> None:
        """Waits for the thread if it was started."""
        if self.thread.ident is not None:
            self.thread.join(timeout)

    def run(self) -> None:
        """Runs the job; keeps its error."""
        # Dropping the reference to the work frees the state that it has written.
        work, self._work = self._work, None
        try:
            if work is not None:
                work()
        except BaseException as error:  # raised by the next submit or wait
            self.error = error


_pending: set[_Job] = set()
"""Jobs that have been started and not yet waited for."""


class Writer:
    """Runs jobs in a background thread, one at a time.

    There is no queue: :meth:`submit` waits until the previous job has ended, so at most one state
    waits to be written, however slow the disk is. All methods must be called from the same thread.

    The error of a job is raised once, by the next :meth:`submit` or :meth:`wait`. At exit, the
    interpreter waits for running jobs, and errors that have not been raised are logged. A forked
    process does not inherit running jobs.

    Args:
        limit_s: longest wait for a job when the interpreter exits, in seconds.

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
        job = self._current_job()
        return job is not None and job.thread.is_alive()

    def submit(self, job: Callable[[], object]) -> None:
        """Starts ``job`` after the previous job has ended.

        Raises:
            Exception: the error of the previous job. ``job`` is not started then.
        """
        self.wait()
        started = _Job(job, self._limit_s)
        _pending.add(started)
        try:
            started.start()
        except BaseException:
            _pending.discard(started)
            raise
        self._job = started

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the running job, if any, has ended.

        Args:
            timeout: longest wait in seconds; None waits without a limit.

        Raises:
            Exception: the error of the job, if it has not been raised yet.
            TimeoutError: the job is still running.
        """
        job = self._current_job()
        if job is None:
            return
        job.join(timeout)
        if job.thread.is_alive():
            raise TimeoutError(f"the job should have ended after {timeout} s, but is still running")
        self._job = None
        _pending.discard(job)
        if job.error is not None:
            try:
                raise job.error
            finally:
                # The error's traceback refers to this frame; the cycle would keep the state alive.
                job.error = None

    def _current_job(self) -> _Job | None:
        """Returns the job, unless the parent of this forked process has started it."""
        if self._job is not None and self._job not in _pending:
            self._job = None
        return self._job


def _wait_for_all() -> None:
    """Waits at exit until all jobs have ended or reached their limit."""
    started = now()
    for job in list(_pending):
        if job.thread is not threading.current_thread():
            job.join(max(0.0, job.limit_s - (now() - started)))
        if job.thread.is_alive():
            logger.error(
                "A job is abandoned because it has not finished within %g s after the end of the program",
                job.limit_s,
            )
        elif job.error is not None:
            logger.error("A job failed after the end of the program", exc_info=job.error)
        _pending.discard(job)


# Registered twice. The first call precedes the shutdown of thread pools, which jobs may use, for
# example in clients of object stores: handlers run in reverse order of registration, and the
# import above has registered the one of the pools. The second call waits for jobs that other exit
# handlers submit.
at_exit(_wait_for_all)
atexit.register(_wait_for_all)
if hasattr(os, "register_at_fork"):
    # A forked process does not have the threads.
    os.register_at_fork(after_in_child=_pending.clear)
