import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader

from ignite.testing.resume import call_in_child


def test_sent_and_returned_values_arrive():
    def work(tell):
        tell("a", torch.ones(1000, 100))
        tell("b", {"c": [1.5]})
        return {"pid": os.getpid()}

    (first, second), result = call_in_child(work)
    assert (first[0], float(first[1].sum())) == ("a", 100_000.0)
    assert second == ("b", {"c": [1.5]})
    assert result["pid"] != os.getpid()


def test_values_that_a_killed_child_has_sent_arrive():
    def work(tell):
        tell("a", 1)
        os.kill(os.getpid(), signal.SIGKILL)

    assert call_in_child(work, is_killed=True) == ([("a", 1)], None)


def test_a_child_that_should_have_been_killed_and_was_not_is_an_error():
    with pytest.raises(RuntimeError, match="should end with exit code -9, but ended with 0"):
        call_in_child(lambda tell: None, is_killed=True)


def test_an_exception_in_the_child_comes_with_its_traceback():
    def work(tell):
        raise OSError("no disk")

    with pytest.raises(RuntimeError, match=r"(?s)failed:\nTraceback.*in work\n.*OSError: no disk"):
        call_in_child(work)


def test_a_child_that_takes_too_long_is_ended():
    started = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"took longer than 0\.2 s"):
        call_in_child(lambda tell: time.sleep(60), timeout_s=0.2)
    assert time.perf_counter() - started < 10


def test_workers_of_a_killed_child_end_with_it():
    def work(tell):
        for batch in DataLoader(range(100), batch_size=1, num_workers=2):
            if int(batch) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    started = time.perf_counter()
    call_in_child(work, is_killed=True)
    # By themselves, workers look every five seconds whether their process is still there.
    assert time.perf_counter() - started < 4
