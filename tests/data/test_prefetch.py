import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite.data import ArrayLoader, resumable
from ignite.data.arrays import prefetched
from support.interrupted_runs import run_until


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "ignite-prefetch"]


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(0, 3))
@settings(deadline=None)
def test_the_batches_are_those_without(num_samples, batch_size, num_ahead, shuffle, epoch):
    data = {"x": torch.arange(float(num_samples + 1)), "y": (torch.arange(num_samples + 1),)}
    found, expected = (
        [
            (batch["x"].tolist(), batch["y"][0].tolist())
            for batch in ArrayLoader(
                data, batch_size, shuffle=shuffle, seed=1, prefetch=ahead
            ).batches(epoch)
        ]
        for ahead in (num_ahead, 0)
    )
    assert found == expected
    assert threads() == []


@pytest.mark.parametrize("num_taken", [0, 1, 3, 7])
def test_the_position_counts_what_was_handed_over(num_taken):
    def loader(prefetch):
        return resumable(ArrayLoader(torch.arange(20), 3, shuffle=True, seed=1, prefetch=prefetch))

    first = loader(4)
    batches = iter(first)
    taken = [next(batches).tolist() for _ in range(num_taken)]
    state = first.state_dict()
    second = loader(2)
    second.load_state_dict(state)
    rest = [batch.tolist() for batch in second] if num_taken < 7 else []
    assert [*taken, *rest] == [batch.tolist() for batch in loader(0)]


def test_a_run_left_by_an_exception_continues_exactly(tmp_path):
    def program(fail_at, folder):
        loader = ArrayLoader(torch.arange(20), 3, shuffle=True, seed=1, prefetch=3)
        return run_until(fail_at, loader, folder, max_epochs=2)

    whole = program(1000, tmp_path / "whole")
    parts = program(10, tmp_path / "parts") + program(1000, tmp_path / "parts")
    assert parts == whole
    gc.collect()
    assert threads() == []


def test_an_error_comes_in_the_place_of_its_batch():
    def batches():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    found = prefetched(batches(), 3)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone") as info:
        next(found)
    assert info.traceback[-1].name == "batches"
    assert threads() == []


@pytest.mark.parametrize("num_ahead", [1, 3])
@pytest.mark.parametrize("num_taken", [1, 2])
def test_an_iterator_that_is_left_takes_its_thread_along(num_ahead, num_taken):
    found = prefetched(iter(range(1000)), num_ahead)
    for _ in range(num_taken):
        next(found)
    assert len(threads()) == 1
    del found
    assert threads() == []


def test_no_thread_before_the_first_batch():
    found = prefetched(iter(range(3)), 1)
    assert threads() == []
    assert list(found) == [0, 1, 2]


def test_few_batches_are_alive_at_once():
    class Batch:
        pass

    alive, most = weakref.WeakSet(), 0

    def batches():
        nonlocal most
        for _ in range(50):
            one = Batch()
            alive.add(one)
            most = max(most, len(alive))
            yield one
            del one

    for _ in prefetched(batches(), 2):
        pass
    assert most <= 2 + 1 + 1  # waiting, in the hands of the thread, and that of the loop


def test_no_random_number_is_drawn_and_gradients_are_as_the_program_has_it():
    weights = torch.arange(6.0, requires_grad=True)
    state = torch.get_rng_state()
    assert all(batch.requires_grad for batch in ArrayLoader(weights, 2, shuffle=True, prefetch=1))
    with torch.no_grad():
        assert not any(
            batch.requires_grad for batch in ArrayLoader(weights, 2, shuffle=True, prefetch=1)
        )
    assert (torch.get_rng_state() == state).all()


def test_each_array_is_pinned_by_the_thread_where_there_is_an_accelerator(monkeypatch):
    pinned = []

    def pin(tensor):
        pinned.append((threading.current_thread().name, tensor.tolist()))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    loader = ArrayLoader((torch.arange(4), torch.arange(4.0)), 2, prefetch=1, pin_memory=True)
    list(loader)
    assert pinned == []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    list(loader)
    assert [values for _, values in pinned] == [[0, 1], [0.0, 1.0], [2, 3], [2.0, 3.0]]
    assert {name for name, _ in pinned} == {"ignite-prefetch"}


@pytest.mark.skipif(
    not torch.accelerator.is_available(), reason="pinned memory needs an accelerator"
)
def test_pinned_batches():
    assert all(
        batch.is_pinned() for batch in ArrayLoader(torch.arange(8), 2, prefetch=2, pin_memory=True)
    )


@pytest.mark.parametrize("prefetch", [-1, 1.5, "2"])
def test_bad_numbers(prefetch):
    with pytest.raises(ValueError, match="prefetch should be a number of batches"):
        ArrayLoader(torch.arange(3), prefetch=prefetch)


def run_program(text):
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)


MIDDLE = (
    "import os, sys, torch\nfrom ignite.data import ArrayLoader\n"
    "it = iter(ArrayLoader(torch.randn(5000, 784), 64, shuffle=True, prefetch=2))\nnext(it)\n"
)


@pytest.mark.slow
def test_a_program_that_ends_in_the_middle_of_a_pass_ends_well():
    results = [run_program(MIDDLE) for _ in range(6)]
    assert [(one.returncode, one.stderr) for one in results] == [(0, "")] * 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_gets_an_error_and_does_not_hang():
    child = "try:\n    next(it)\nexcept RuntimeError as error:\n    print(error, flush=True)\n    os._exit(0)\n"
    text = (
        MIDDLE
        + "pid = os.fork()\nif pid == 0:\n"
        + "".join(f"    {line}\n" for line in child.splitlines())
    )
    result = run_program(text + "os.waitpid(pid, 0)\nnext(it)\n")
    assert result.returncode == 0
    assert "was forked" in result.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_ends_without_a_word_to_a_thread_that_it_has_not():
    # Python 3.12 and later warn of os.fork beside threads.
    code = "import warnings\nwarnings.filterwarnings('ignore', '.* is multi-threaded')\n"
    code += "import ignite.data.arrays as room\n" + MIDDLE
    code += "worker = next(iter(room._WORKERS))\nworker.ready.mutex.acquire()\npid = os.fork()\n"
    code += "if pid == 0:\n    sys.exit(7)\nworker.ready.mutex.release()\n"
    result = run_program(code + "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7\n")
    assert (result.returncode, result.stderr) == (0, "")
