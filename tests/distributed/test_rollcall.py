"""Processes exchange which handlers they have: here threads with a store in memory; see handlers/test_attached."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from ignite.distributed import rollcall
from ignite.distributed.rollcall import call_roll

SIZE = 3


@pytest.fixture
def processes(monkeypatch):
    """``call(rank, names)`` begins a run in a process; ``at_once(functions)`` lets processes work side by side."""
    store, own = dist.HashStore(), threading.local()
    groups = [rollcall._Group() for _ in range(SIZE)]
    for group in groups:
        group.number = 1
    monkeypatch.setattr(rollcall, "has_group", lambda: True)
    monkeypatch.setattr(rollcall, "get_world_size", lambda: SIZE)
    monkeypatch.setattr(rollcall, "get_rank", lambda: own.rank)
    monkeypatch.setattr(rollcall, "default_store", lambda: store)
    monkeypatch.setattr(
        rollcall, "_groups", type("Groups", (), {"setdefault": lambda self, *_: groups[own.rank]})()
    )
    monkeypatch.setattr(rollcall, "START_TIMEOUT_S", 0.05)

    def call(rank, names, run="train"):
        own.rank = rank
        return call_roll(run, names)

    return type("Processes", (), {"call": staticmethod(call), "store": store})


def at_once(*functions):
    with ThreadPoolExecutor(len(functions)) as pool:
        return [
            future.result(timeout=20)
            for future in [pool.submit(function) for function in functions]
        ]


def of(rolls, name, stretch, votes):
    """The answers that processes get which vote side by side."""
    return at_once(
        *(lambda r=r, v=v: r.any(name, stretch, v) for r, v in zip(rolls, votes, strict=True))
    )


def test_in_a_single_process_there_is_no_roll():
    assert call_roll("train", ["a"]) is None


def test_without_a_store_there_is_none(processes, monkeypatch):
    monkeypatch.setattr(rollcall, "default_store", lambda: None)
    assert processes.call(0, ["a"]) is None


def test_a_store_that_fails_is_as_none(processes, monkeypatch):
    class Broken:
        def set(self, key, value):
            raise RuntimeError("no such store")

    monkeypatch.setattr(rollcall, "default_store", Broken)
    assert processes.call(0, ["a"]) is None


def test_what_all_have_is_everywhere(processes):
    rolls = [processes.call(rank, ["a", "b"] if rank else ["b", "c"]) for rank in range(SIZE)]
    assert [[name for name in "abc" if roll.is_everywhere(name)] for roll in rolls] == [
        ["b"]
    ] * SIZE


@pytest.mark.parametrize("votes", [(0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 1, 1)])
def test_all_get_one_answer(processes, votes):
    rolls = [processes.call(rank, ["a"]) for rank in range(SIZE)]
    for stretch in (1, 1, 2):
        assert of(rolls, "a", stretch, [vote == 1 for vote in votes]) == [any(votes)] * SIZE


def test_what_some_have_is_decided_by_each(processes):
    rolls = [processes.call(rank, ["a"] if rank < 2 else []) for rank in range(SIZE)]
    assert [
        roll.any("a", 1, vote) for roll, vote in zip(rolls[:2], (True, False), strict=True)
    ] == [True, False]


def test_decisions_of_two_things_and_two_runs_are_apart(processes):
    first = [processes.call(rank, ["a", "b"]) for rank in range(SIZE)]
    assert of(first, "a", 1, [True, False, False]) == [True] * SIZE
    assert of(first, "b", 1, [False] * SIZE) == [False] * SIZE
    second = [processes.call(rank, ["a"]) for rank in range(SIZE)]
    assert of(second, "a", 1, [False] * SIZE) == [False] * SIZE
    other = [processes.call(rank, ["a"], "validate") for rank in range(SIZE)]
    assert of(other, "a", 1, [False] * SIZE) == [False] * SIZE


@pytest.mark.parametrize("has_voted", [True, False])
def test_no_process_waits_in_a_stretch_for_one_that_has_left_it(processes, has_voted):
    rolls = [processes.call(rank, ["a"]) for rank in range(SIZE)]
    if has_voted:
        assert of(rolls, "a", 1, [False] * SIZE) == [False] * SIZE
    rolls[0].leave("a", 1)
    for _ in range(2):
        assert of(rolls[1:], "a", 1, [True, False]) == [True, False]
    assert of(rolls, "a", 2, [False, True, False]) == [True] * SIZE


def test_one_that_waits_already_is_let_go(processes):
    rolls = [processes.call(rank, ["a"]) for rank in range(SIZE)]
    answers = at_once(
        lambda: rolls[0].any("a", 1, False),
        lambda: rolls[1].any("a", 1, True),
        lambda: rolls[2].leave("a", 1),
    )
    assert answers[:2] == [False, True]


@pytest.mark.parametrize("stretch", [3, 4])
def test_no_process_waits_for_one_whose_run_is_over(processes, stretch):
    rolls = [processes.call(rank, ["a"]) for rank in range(SIZE)]
    assert of(rolls, "a", 3, [False] * SIZE) == [False] * SIZE
    rolls[2].leave("a", 3)
    rolls[2].end({"a": 3})
    assert of(rolls[:2], "a", stretch, [True, False]) == [True, False]
    assert of(rolls[:2], "a", 4, [False, True]) == [False, True]
    assert of(rolls[:2], "a", 9, [False, True]) == [False, True], "it has gone for good"


def test_one_that_does_not_begin_is_waited_for_once(processes, caplog):
    rolls = [processes.call(rank, ["a"]) for rank in (0, 1)]
    assert rolls[0].any("a", 1, True)
    assert "train should be run on all ranks, but ranks [2] have not started it" in caplog.text
    assert rolls[1].any("a", 1, False) is False
    late = processes.call(2, ["a"])
    assert late.any("a", 1, False) is False, "it sees that the others have gone on alone"
    caplog.clear()
    assert processes.call(0, ["a"]).any("a", 1, True)
    assert caplog.text == ""


def test_one_that_does_not_come_to_a_decision_is_given_up(processes, caplog, monkeypatch):
    monkeypatch.setattr(rollcall, "VOTE_TIMEOUT_S", 0.05)
    rolls = [processes.call(rank, ["a"]) for rank in range(SIZE)]
    assert of(rolls[:2], "a", 1, [True, False]) == [True, False]
    assert "not all ranks have voted" in caplog.text
    monkeypatch.setattr(rollcall, "VOTE_TIMEOUT_S", 60.0)
    assert rolls[2].any("a", 1, False) is True, "all have voted now"
    assert [rolls[2].any("a", stretch, False) for stretch in (1, 1, 2)] == [False] * 3, (
        "it does not wait for the others"
    )


def test_what_is_needed_names_who_has_it_not(processes):
    first, _, _ = [processes.call(rank, ["a"] if rank < 2 else ["b"]) for rank in range(SIZE)]
    with pytest.raises(
        RuntimeError,
        match=r"Saver should be attached .* on all ranks, .*but rank 2 does not have it \(train\)",
    ):
        first.require("a", "Saver")


def test_what_is_needed_names_who_does_not_come(processes, caplog):
    first = processes.call(0, ["a"])
    processes.store.set_timeout(rollcall.datetime.timedelta(seconds=0.1))
    with pytest.raises(RuntimeError, match="but rank 1 does not run the engine"):
        first.require("a", "Saver")
    assert "Saver needs all ranks: waiting for ranks [1, 2]" in caplog.text


def test_what_is_needed_waits_for_one_that_is_late(processes):
    first = processes.call(0, ["a"])
    processes.call(1, ["a"])
    processes.store.set_timeout(rollcall.datetime.timedelta(seconds=20))
    at_once(lambda: first.require("a", "Saver"), lambda: processes.call(2, ["a"]))


def test_the_store_does_not_grow(processes):
    rolls = [processes.call(rank, ["a"]) for rank in range(SIZE)]
    for _ in range(20):
        of(rolls, "a", 1, [False] * SIZE)
    before = processes.store.num_keys()
    for _ in range(20):
        of(rolls, "a", 1, [False] * SIZE)
    assert processes.store.num_keys() == before
    for _ in range(rollcall._KEPT_RUNS):
        processes.call(0, ["a"])
    before = processes.store.num_keys()
    for _ in range(20):
        processes.call(0, ["a"])
    assert processes.store.num_keys() == before


def test_a_run_ends_without_an_error_where_the_process_that_keeps_the_store_has_ended_before(
    processes, monkeypatch
):
    roll = processes.call(1, ["a"])

    class Gone:
        def set(self, key, value):
            raise dist.DistNetworkError("connection reset by peer")

    monkeypatch.setattr(roll, "_store", Gone())
    roll.end({"a": 1})
    assert roll.any("a", 1, True) is True
