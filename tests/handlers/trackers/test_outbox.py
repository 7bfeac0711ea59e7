import gc
import logging
import socket
import threading
import weakref

import pytest

from ignite._core import clock
from ignite.handlers._trackers import outbox as module
from ignite.handlers._trackers.outbox import Outbox
from support import harness


class RefusedError(Exception):
    pass


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.002)


def make(send, **options):
    return Outbox(send, lambda error: isinstance(error, RefusedError), "ignite.test", **options)


def test_all_is_sent_in_order_by_another_thread():
    sent, threads = [], set()

    def send(items):
        threads.add(threading.current_thread())
        sent.extend(items)

    box = make(send, max_batch_size=7)
    for number in range(100):
        box.put(number)
    assert box.close()
    assert sent == list(range(100))
    assert threading.current_thread() not in threads


def test_a_server_that_is_down_gets_everything_when_it_is_back(caplog):
    sent, failures, is_up = [], [], threading.Event()
    has_failed = threading.Event()

    def send(items):
        if not is_up.is_set():
            failures.append(len(items))
            if len(failures) >= 5:
                has_failed.set()
            raise ConnectionError("refused")
        sent.extend(items)

    with caplog.at_level(logging.INFO, "ignite.test"):
        box = make(send)
        for number in range(10):
            box.put(number)
        assert has_failed.wait(30)
        is_up.set()
        assert box.close()
    assert sent == list(range(10))
    told = [record.getMessage() for record in caplog.records]
    assert (
        len([text for text in told if "Cannot reach the server; training continues" in text]) == 1
    )  # in a minute
    assert "The server is reachable again" in told


def test_warnings_come_once_a_minute(monkeypatch, caplog):
    box = make(lambda items: None)
    time = [0.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    for time[0] in (0.0, 59.0, 61.0):
        box._warn(ConnectionError("refused"), 3)
    assert [record.getMessage() for record in caplog.records] == [
        "Cannot reach the server; training continues with 3 queued entries: ConnectionError: refused"
    ] * 2


def test_values_that_the_server_refuses_are_dropped_and_reported(caplog):
    sent = []

    def send(items):
        if "bad" in items:
            raise RefusedError("name")
        sent.extend(items)

    box = make(send)
    with box._changed:  # all are there before the first is sent
        for item in ("a", "bad", "b", "c"):
            box.put(item)
    assert not box.close()
    assert sent == ["a", "b", "c"]
    assert "Dropped an entry that the server refuses: RefusedError: name" in caplog.text
    assert "1 entries were not sent to the server" in caplog.text


def test_memory_is_bounded_and_the_oldest_go(caplog):
    sent, is_up, tried = [], threading.Event(), threading.Event()

    def send(items):
        tried.set()
        if not is_up.is_set():
            raise ConnectionError
        sent.extend(items)

    box = make(send, capacity=3, max_batch_size=1)
    box.put(0)
    assert tried.wait(30)
    for number in range(1, 50):
        box.put(number)
    assert len(box._items) <= 4
    is_up.set()
    assert not box.close()
    assert sent[-3:] == [47, 48, 49]
    assert sent == sorted(sent)
    assert f"{50 - len(sent)} entries were not sent" in caplog.text


def test_closing_ends_at_its_deadline(caplog):
    def send(items):
        raise ConnectionError

    box = make(send)
    box.put(1)
    assert not box.close(timeout_s=0.05)
    assert "1 entries were not sent to the server" in caplog.text
    with pytest.raises(RuntimeError, match="after close"):
        box.put(2)


def test_nothing_to_send_starts_no_thread():
    box = make(lambda items: None)
    assert box._thread is None
    assert box.close()


def test_an_outbox_without_references_ends_its_thread():
    box = make(lambda items: None)
    box.put(1)
    thread, reference = box._thread, weakref.ref(box)
    del box
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
    assert reference() is None


@pytest.fixture
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield f"127.0.0.1:{one.getsockname()[1]}"


def test_a_server_that_listens_is_reachable(no_proxy, server):
    assert module.why_unreachable(f"http://{server}/path") is None
    assert module.why_unreachable(f"https://{server}") is None


def test_why_a_server_is_unreachable(no_proxy):
    url = f"http://127.0.0.1:{harness.free_port()}"
    reason = module.why_unreachable(url)
    assert reason.startswith(f"{url}: ")
    assert "Connection refused" in reason
    assert module.why_unreachable("localhost") == "'localhost' has no host"


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_server_behind_a_proxy_is_reachable_if_the_proxy_is(
    no_proxy, server, monkeypatch, scheme
):
    monkeypatch.setenv("https_proxy", scheme + server)
    assert module.why_unreachable("https://does-not-exist.invalid") is None
    monkeypatch.setenv("https_proxy", f"{scheme}127.0.0.1:{harness.free_port()}")
    assert "Connection refused" in module.why_unreachable("https://does-not-exist.invalid")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert module.why_unreachable(f"https://{server}") is None


def test_waiting_ends_when_all_is_sent_or_the_server_is_down():
    sent = []
    box = Outbox(sent.extend, lambda error: False, "test")
    assert box.wait(0)
    box.put(1)
    assert box.wait()
    assert sent == [1]
    assert box.close()

    def fail(items):
        raise ConnectionError("down")

    box = Outbox(fail, lambda error: False, "test")
    box.put(1)
    assert not box.wait()
    box.close(0)
