from typing import ClassVar

import pytest
import torch

from ignite.handlers._trackers import scalars
from ignite.handlers._trackers.scalars import HostCopy, HostQueue, stacked


class Slow(HostCopy):
    """A copy that takes as long as the test wants."""

    made: ClassVar = []

    def __init__(self, tensor):
        self.ready, self.content = False, tensor.tolist()
        self.made.append(self)

    def is_ready(self):
        return self.ready

    def value(self):
        self.ready = True
        return self.content


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(scalars, "HostCopy", Slow)
    monkeypatch.setattr(Slow, "made", [])
    return Slow.made


def test_what_is_on_the_cpu_is_read_as_it_is_now():
    tensor = torch.tensor(1.0, requires_grad=True)
    copy = HostCopy(tensor)
    with torch.no_grad():
        tensor.fill_(5.0)
    assert (copy.is_ready(), copy.value()) == (True, 1.0)


def test_entries_come_in_order_and_wait_for_nothing(slow):
    line = HostQueue()
    assert list(line.add([(("a",), torch.tensor(1.0))], 1)) == []
    assert list(line.add([(("b",), 2.0)], 2)) == []  # behind the one that waits
    assert not slow[0].ready
    slow[0].ready = True
    assert list(line.add([(("c",), torch.tensor([3.0, 4.0]))], 3)) == [
        ([(("a",), 1.0)], 1),
        ([(("b",), 2.0)], 2),
    ]
    assert list(line.take_all()) == [([(("c", "0"), 3.0), (("c", "1"), 4.0)], 3)]


def test_too_many_entries_make_the_oldest_be_waited_for(slow, monkeypatch):
    monkeypatch.setattr(scalars, "_MAX_QUEUED", 2)
    line, given = HostQueue(), []
    for step in range(5):
        given += [number for _, number in line.add([(("a",), torch.tensor(float(step)))], step)]
    assert given == [0, 1, 2]
    assert [copy.ready for copy in slow] == [True, True, True, False, False]


def test_numbers_of_one_device_are_copied_together(slow, monkeypatch):
    monkeypatch.setattr(scalars, "_ASYNC_DEVICE_TYPES", ("cpu",))
    values = [
        ("a", torch.tensor(1.0)),
        ("b", 2),
        ("c", torch.tensor(3.0)),
        ("d", torch.tensor(4)),
        ("e", torch.ones(2)),
    ]
    found = list(stacked(values))
    assert [name for name, _ in found] == list("abcde")
    assert [copy.content for copy in slow] == [[1.0, 3.0], [4]]
    assert not any(copy.ready for copy in slow)
    assert [value.value() for name, value in found if name in "acd"] == [1.0, 3.0, 4]
    assert found[4][1] is values[4][1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: copies beside the stream")
def test_a_gpu_is_not_waited_for():
    tensor = torch.ones(4096, 4096, device="cuda")
    for _ in range(50):
        tensor = tensor @ tensor / 4096
    copy = HostCopy(tensor[0, 0])
    assert not copy.is_ready()
    assert copy.value() == 1.0
