"""Runs over several processes: each has its own random state, and all see the same order of samples."""

from itertools import chain

import pytest
import torch

from ignite.testing import run_processes
from support import saving_processes

NUM_SAMPLES = saving_processes.NUM_SAMPLES


def in_order(results):
    """What all processes have seen together, one global batch after the other."""
    return [
        sorted(chain.from_iterable(batches))
        for batches in zip(*(one["seen"] for one in results), strict=True)
    ]


def run(function, num_processes, *arguments):
    """In processes of their own, or a single one in this one, which is quicker."""
    return (
        [function(0, *arguments)]
        if num_processes == 1
        else run_processes(function, num_processes, *arguments)
    )


def test_a_run_over_two_processes_is_resumed_exactly(tmp_path):
    for by_steps in run_processes(saving_processes.whole_and_cut, 2, str(tmp_path)):
        for steps, (whole, cut) in by_steps.items():
            for stop_at, (first, second) in cut.items():
                # In the midst of a window each process has gradients of its own, and nothing is saved.
                resumed_at = stop_at if steps == 1 else {1: 0, 3: 3, 4: 3}[stop_at]
                assert first["seen"][:resumed_at] + second["seen"] == whole["seen"]
                assert torch.equal(second["weights"], whole["weights"])
                assert second["mean"] == whole["mean"]
                assert second["random"] == whole["random"]


@pytest.mark.parametrize(
    ("before", "after"), [((2, 4), (1, 8)), pytest.param((1, 8), (2, 4), marks=pytest.mark.slow)]
)
def test_with_the_same_global_batch_the_number_of_processes_may_change(tmp_path, before, after):
    whole = in_order(run(saving_processes.begin, 1, str(tmp_path / "whole"), 8, None))
    first = run(saving_processes.begin, before[0], str(tmp_path / "cut"), before[1], 2)
    second = run(saving_processes.go_on, after[0], str(tmp_path / "cut"), after[1])
    assert in_order(first) + in_order(second) == whole
    assert second[0]["iteration"] == len(whole)


@pytest.mark.slow
def test_with_another_global_batch_no_sample_is_lost_and_none_seen_twice(tmp_path):
    first = run(saving_processes.begin, 2, str(tmp_path), 4, 2)
    second = run(saving_processes.go_on, 1, str(tmp_path), 4)
    seen = list(chain.from_iterable(in_order(first) + in_order(second)))
    assert len(seen) == 2 * NUM_SAMPLES
    assert sorted(seen[:NUM_SAMPLES]) == sorted(seen[NUM_SAMPLES:]) == list(range(NUM_SAMPLES))
    assert second[0]["iteration"] == 12


def test_a_save_that_fails_on_one_process_fails_on_all_and_names_it(tmp_path):
    first, second = run_processes(saving_processes.fail_to_write, 2, str(tmp_path))
    assert first.startswith("OSError: [Errno 28] No space left on device")
    assert second.startswith("CheckpointError: ")
    assert "rank 0 raised OSError: [Errno 28]" in second


def test_all_processes_take_the_newest_that_each_of_them_can_read(tmp_path):
    assert run_processes(saving_processes.see_other_files, 2, str(tmp_path)) == [(6, 3), (6, 3)]
