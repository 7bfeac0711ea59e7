"""Background jobs: one at a time, no error is lost, and nothing is referenced longer than needed."""

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest
import torch

from ignite.storage import writer
from ignite.storage.snapshot import Snapshot
from ignite.storage.writer import Writer

LIMIT_S = 60  # limit of waits that end at once unless there is a bug


class Gate:
    """A job that runs until it is released."""

    def __init__(self, error=None):
        self.has_begun, self.may_end, self.error = threading.Event(), threading.Event(), error

    def __call__(self):
        self.has_begun.set()
        assert self.may_end.wait(LIMIT_S)
        if self.error is not None:
            raise self.error


def failing(error):
    def job():
        raise error

    return job


def test_a_job_runs_in_a_daemon_thread():
    found = []
    writer = Writer()
    writer.submit(lambda: found.append(threading.current_thread()))
    writer.wait()
    assert found[0] is not threading.current_thread()
    assert found[0].daemon


def test_submit_does_not_wait_for_its_own_job():
    gate, writer = Gate(), Writer()
    assert not writer.is_busy
    writer.submit(gate)
    assert gate.has_begun.wait(LIMIT_S)
    assert writer.is_busy
    gate.may_end.set()
    writer.wait()
    assert not writer.is_busy


def test_at_most_one_job_runs_and_none_is_queued():
    """Row 18: however slow the disk is, one job is pending."""
    writer, num_running, most, done = Writer(), [], [], []

    def job(i):
        num_running.append(i)
        most.append(len(num_running))
        for _ in range(100):
            os.sched_yield()
        num_running.remove(i)
        done.append(i)

    for i in range(50):
        writer.submit(lambda i=i: job(i))
        assert len(done) >= i  # all previous jobs have ended
    writer.wait()
    assert done == list(range(50))
    assert set(most) == {1}


def test_submit_waits_for_the_previous_job():
    gate, writer, order = Gate(), Writer(), []
    writer.submit(gate)

    def submit():
        writer.submit(lambda: order.append("second"))

    other = threading.Thread(target=submit)
    other.start()
    assert gate.has_begun.wait(LIMIT_S)
    other.join(0.05)
    assert other.is_alive()
    assert order == []
    gate.may_end.set()
    other.join(LIMIT_S)
    writer.wait()
    assert order == ["second"]


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize(
    "ask", [lambda writer: writer.wait(), lambda writer: writer.submit(lambda: None)]
)
def test_the_error_of_a_job_is_raised_once_by_the_next_call(error, ask):
    """Row 17: every error is reported."""
    writer = Writer()
    writer.submit(failing(error))
    with pytest.raises(type(error)) as raised:
        ask(writer)
    assert raised.value is error
    writer.wait()
    ran = []
    writer.submit(lambda: ran.append(1))
    writer.wait()
    assert ran == [1]


def test_a_job_submitted_after_a_failed_one_is_not_started():
    writer, ran = Writer(), []
    writer.submit(failing(ValueError("disk")))
    with pytest.raises(ValueError, match="disk"):
        writer.submit(lambda: ran.append(1))
    writer.wait()
    assert ran == []


def test_a_wait_with_a_timeout_raises_while_the_job_continues():
    gate, writer = Gate(error=ValueError("late")), Writer()
    writer.submit(gate)
    with pytest.raises(TimeoutError, match=r"should have ended after 0.01 s, but is still running"):
        writer.wait(0.01)
    assert writer.is_busy
    gate.may_end.set()
    with pytest.raises(ValueError, match="late"):
        writer.wait()


def test_an_invalid_limit_is_refused():
    with pytest.raises(ValueError, match="limit_s should be at least 0, but given -1"):
        Writer(limit_s=-1)


@pytest.mark.parametrize("error", [None, ValueError()])
def test_a_finished_job_is_not_referenced(error):
    class State:
        pass

    state, writer = State(), Writer()
    alive = weakref.ref(state)

    def job(state=state):
        if error is not None:
            raise error.with_traceback(None)

    writer.submit(job)
    del job, state
    if error is None:
        writer.wait()
    else:
        with pytest.raises(ValueError):
            writer.wait()
        error.__traceback__ = None
    gc.collect()
    assert alive() is None


def test_a_snapshot_reuses_the_memory_after_each_job():
    writer, snapshot, places = Writer(), Snapshot(), set()
    for i in range(5):
        taken = snapshot.take(
            torch.full((20_000,), float(i))
        )  # tensors of up to 64 KiB get new memory
        places.add(taken.data_ptr())
        writer.submit(lambda taken=taken: taken.sum())
        del taken
        writer.wait()
    assert len(places) == 1


@pytest.mark.parametrize("waits_first", [True, False])
def test_two_hundred_files_of_two_hundred_saves_hold_the_numbers_of_one_step_each(
    tmp_path, waits_first
):
    """Row 16: the tensors change right after each save, while it is being written."""
    writer, snapshot = Writer(), Snapshot()
    state = {"a": torch.empty(20_000), "b": torch.empty(20_000)}
    num_overtaken = 0
    for step in range(200):
        for tensor in state.values():
            tensor.fill_(step)
        if waits_first:
            writer.wait()
        taken = snapshot.take(state)
        writer.submit(lambda taken=taken, step=step: torch.save(taken, tmp_path / f"{step}.pt"))
        del taken
        for tensor in state.values():
            tensor.fill_(-1)
        num_overtaken += writer.is_busy
    writer.wait()
    assert num_overtaken > 0, "no save was still running when its tensors changed"
    for step in range(200):
        loaded = torch.load(tmp_path / f"{step}.pt", weights_only=True)
        assert {tensor.unique().item() for tensor in loaded.values()} == {step}


def test_a_forked_process_does_not_inherit_the_job_or_its_error():
    gate, writer, failed = Gate(), Writer(), Writer()
    failed.submit(failing(ValueError("of the parent")))
    while failed.is_busy:
        os.sched_yield()
    writer.submit(gate)
    assert gate.has_begun.wait(LIMIT_S)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            writer.wait()  # would hang
            failed.wait()
            ran = []
            writer.submit(lambda: ran.append(1))  # its own jobs run
            writer.wait()
            code = 0 if ran == [1] and not writer.is_busy else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    gate.may_end.set()
    writer.wait()
    with pytest.raises(ValueError, match="of the parent"):
        failed.wait()


def run(program, *args):
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        f"import os, sys, time\n{program}",
        *map(str, args),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)


# Only this module of the package: all of it would take seconds, because it needs torch.
IMPORTS = f"""
import importlib.util, logging
logging.basicConfig()
spec = importlib.util.spec_from_file_location({writer.__name__!r}, {writer.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
Writer = module.Writer
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError('in training')"])
def test_the_exit_waits_for_the_pending_job(tmp_path, end):
    """Row 17: the end of the program leaves no incomplete file."""
    program = f"""
def job():
    with open(sys.argv[1], "w") as file:
        print("has begun", file=file, flush=True)
        time.sleep(0.3)
        print("has ended", file=file)

{IMPORTS}
Writer().submit(job)
{end}
"""
    run(program, tmp_path / "file")
    assert (tmp_path / "file").read_text().splitlines() == ["has begun", "has ended"]


@pytest.mark.skipif(
    (3, 12, 0) <= sys.version_info < (3, 12, 2), reason="this Python starts no threads at its exit"
)
def test_at_exit_a_job_can_still_use_a_thread_pool(tmp_path):
    """As clients of object stores do, for example to look up hosts."""
    program = f"""
from concurrent.futures import ThreadPoolExecutor

def job():
    time.sleep(0.3)
    with ThreadPoolExecutor() as pool:
        pool.submit(os.mkdir, sys.argv[1]).result()

{IMPORTS}
Writer().submit(job)
"""
    assert run(program, tmp_path / "file").stderr == ""
    assert (tmp_path / "file").exists()


def test_a_job_runs_at_once_where_no_thread_can_be_started(monkeypatch):
    def refuse(thread):
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    writer, done = Writer(), []
    message = "can't create new thread at interpreter shutdown"
    writer.submit(lambda: done.append(1))
    assert (done, writer.is_busy) == ([1], False)
    writer.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    message = "can't start new thread"
    with pytest.raises(RuntimeError, match="start new thread"):
        writer.submit(lambda: done.append(2))
    writer.wait()
    assert done == [1]


def test_the_exit_waits_for_a_job_of_another_exit_handler(tmp_path):
    program = f"""
import atexit
{IMPORTS}

def job():
    time.sleep(0.3)
    os.mkdir(sys.argv[1])

atexit.register(lambda: Writer().submit(job))
"""
    assert "Error" not in run(program, tmp_path / "file").stderr
    assert (tmp_path / "file").exists()


def test_at_exit_an_error_that_was_not_raised_is_logged():
    done = run(f"{IMPORTS}\ndef job():\n    raise OSError(28, 'disk full')\nWriter().submit(job)")
    assert (
        "ERROR:ignite.storage.writer.Writer:A job failed after the end of the program"
        in done.stderr
    )
    assert "OSError: [Errno 28] disk full" in done.stderr


def test_at_exit_an_error_that_was_raised_is_not_logged_again():
    program = f"""
{IMPORTS}
writer = Writer()
writer.submit(lambda: 1 / 0)
try:
    writer.wait()
except ZeroDivisionError:
    print("seen")
"""
    done = run(program)
    assert (done.stdout, done.stderr) == ("seen\n", "")


def test_at_exit_a_job_is_abandoned_after_the_limit():
    done = run(f"{IMPORTS}\nWriter(limit_s=0.2).submit(lambda: time.sleep(1000))")
    assert "A job is abandoned because it has not finished within 0.2 s after" in done.stderr
