"""What differs between the processes of a run is saved for each of them, and given back to each."""

import logging

import pytest
import torch

from ignite.engine.resume.by_rank import states_of_rank
from ignite.testing import run_processes
from support import differing_processes


def test_a_run_in_which_processes_differ_is_resumed_exactly_on_each(tmp_path):
    for found in run_processes(differing_processes.all_stopped_and_resumed, 2, str(tmp_path)):
        assert len(found) == 3 * len(differing_processes.PROGRAMS)
        assert [key for key, is_equal in found.items() if not is_equal] == []


SAVED = {
    "model": {"weight": 1, "mean": 2},
    "number": 3,
    "accumulated": {"w": torch.tensor([2.0])},
    "by_rank": {
        "model": [{"mean": 2}, {"mean": 4}],
        "number": [3, 5],
        "only_there": [None, {"a": 1}],
        "accumulated": [{"w": torch.tensor([2.0])}, {"w": torch.tensor([4.0])}],
    },
}


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (0, {"model": {"weight": 1, "mean": 2}, "number": 3}),
        (1, {"model": {"weight": 1, "mean": 4}, "number": 5, "only_there": {"a": 1}}),
    ],
)
def test_each_process_gets_its_own(rank, expected):
    found = states_of_rank(SAVED, rank, 2)
    assert found.pop("accumulated") == {"w": torch.tensor([2.0 + 2 * rank])}
    assert found == expected


def test_another_number_of_processes_is_told_and_the_gradient_stays_the_same(caplog):
    with caplog.at_level(logging.WARNING):
        found = [states_of_rank(SAVED, rank, 3) for rank in range(3)]
    assert [one["model"]["mean"] for one in found] == [2, 2, 2]
    assert [one["accumulated"]["w"].item() for one in found] == [3, 3, 3]
    assert "differed between 2 processes, and this run has 3" in caplog.text
    assert "accumulated, model, number, only_there" in caplog.text
