import gc
import logging
import threading

import pytest

from ignite.data import _passes
from ignite.data._passes import Wait, watch


class Waiter:
    def __init__(self, limit_s):
        self.wait = Wait(limit_s)

    def describe_wait(self):
        return "batch 3"


def thread():
    return next((t for t in threading.enumerate() if t.name == "ignite-watchdog"), None)


class Texts(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts, self.came = [], threading.Event()

    def emit(self, record):
        self.texts.append(record.getMessage())
        self.came.set()


@pytest.fixture
def texts():
    handler = Texts()
    logging.getLogger("ignite.data._passes").addHandler(handler)
    yield handler
    logging.getLogger("ignite.data._passes").removeHandler(handler)


def test_a_wait_is_reported_once_with_its_cause(texts):
    waiter = Waiter(0.05)
    watch(waiter, waiter.wait)
    waiter.wait.begin()
    assert texts.came.wait(10)
    texts.came.clear()
    assert not texts.came.wait(0.2)
    assert "for batch 3. A worker hangs, or is slow" in texts.texts[0]
    waiter.wait.since = None
    waiter.wait.begin()  # another wait, reported anew
    assert texts.came.wait(10)
    waiter.wait.stop()
    thread().join(10)


def test_the_thread_ends_with_the_wait_and_with_the_one_who_waits():
    waiter = Waiter(60)
    watch(waiter, waiter.wait)
    running = thread()
    waiter.wait.stop()
    running.join(10)
    assert not running.is_alive()

    waiter = Waiter(60)
    watch(waiter, waiter.wait)
    running = thread()
    del waiter
    gc.collect()
    running.join(10)
    assert not running.is_alive()


class Clock:
    """Time that passes as the watchdog sleeps; what happens at each waking is written down beforehand."""

    def __init__(self, wait, happenings):
        self.time = 0.0
        self.slept = []
        self.wait = wait
        self.happenings = happenings

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds
        if not self.happenings:
            return True
        self.wait.since = self.happenings.pop(0)
        return False


class FakeWait:
    limit_s = 10.0
    since = None


def run(happenings, monkeypatch):
    wait = FakeWait()
    clock = Clock(wait, happenings)
    wait.sleep = clock.sleep
    monkeypatch.setattr(_passes.clock, "now", lambda: clock.time)
    waiter = Waiter(0)
    _passes._watch(lambda: waiter, wait)
    return clock.slept


def test_a_wait_younger_than_the_limit_is_looked_at_again_when_it_is_due(monkeypatch, texts):
    # It wakes at 10; the wait began at 4 and is due at 14. There it is reported, and nothing else for a whole limit.
    assert run([4.0, 4.0], monkeypatch) == [10.0, 4.0, 10.0]
    assert len(texts.texts) == 1


def test_without_a_long_wait_nothing_is_said(monkeypatch, texts):
    assert run([None, 15.0, 21.0], monkeypatch) == [10.0, 10.0, 5.0, 6.0]
    assert texts.texts == []
