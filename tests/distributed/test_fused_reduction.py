import logging
import threading

import numpy as np
import pytest
import torch

from ignite.distributed import fused_reduction
from ignite.distributed.fused_reduction import Part, combine
from support import harness, workers


def test_in_one_process_values_stay_as_they_are():
    tensor = torch.ones(2)
    assert combine([Part("SUM", tensor), Part("ROWS", None)]) == [tensor, None]


@pytest.fixture(scope="module", params=[workers.combined, workers.combined_as_if_large])
def found(request):
    return harness.run(request.param, 2)


def test_values_of_all_kinds_are_combined_exactly(found):
    for everything, _ in found:
        assert everything == [
            2**54 + 1,
            -3,
            pytest.approx(0.3, rel=1e-15),
            [2**62, -(2**41) - 1],
            [True, True],
            [[1.0, 1.0], [1.0, 1.0]],
            [2 + 4j],
            [1, 0],
            0.0,
            float("-inf"),
            6,
            [[1.0, 1.0]],
            [0, 1, 2, 0, 1],
            "binary",
        ]
        assert isinstance(everything[0], int)


def test_what_a_process_does_not_know_takes_the_form_that_others_have(found):
    for _, unknown in found:
        assert unknown == [[1, 2], [0.5, 1.5], 3.5, [-3], 7, [[1.0] * 3] * 2, 5, None, None]


def test_what_does_not_go_together_is_an_error_of_all_processes_that_names_them():
    for shapes, kinds, names, counts in harness.run(workers.misfits, 2):
        assert "rank 0 has for SUM of sums: torch.float32 of shape (2,)" in shapes
        assert "rank 1 has for SUM of sums: torch.float32 of shape (3,)" in shapes
        assert "rank 0 has for SAME of kind: 'binary'" in kinds
        assert "rank 0 has for SUM of apples" in names
        assert "rank 1 has for SUM of pears" in names
        assert "rank 0 has 1, rank 1 has 2" in counts


def test_any_number_of_tensors_is_gathered():
    assert harness.run(workers.many_rows, 2) == [[[i] * 3 for i in range(20)]] * 2


def test_values_of_any_size_and_range_are_combined_exactly_with_at_most_two_collectives():
    of_ranks = harness.run(workers.many_combined, 3)
    numbers = []
    for calls in zip(*of_ranks, strict=True):
        sums = np.sum([np.array(own[0]) for _, own, _ in calls], axis=0).tolist()
        rows = [row for _, own, _ in calls for row in own[1]]
        for values, _, _ in calls:
            assert values == [sums, 2, rows][: len(values)]
        (number,) = {number for *_, number in calls}
        numbers.append(number)
    assert set(numbers) <= {1, 2, 3}, "three only where a rank has no value"
    assert numbers.count(1) > len(numbers) / 2


class Heard(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self):
        super().__init__()
        self.lines, self.event = [], threading.Event()

    def emit(self, record):
        self.lines.append(record.getMessage())
        self.event.set()


def test_a_rank_that_waits_for_others_says_for_what_once(monkeypatch):
    """As if a metric were attached, or an engine run, on one rank only."""
    monkeypatch.setattr(fused_reduction, "WAIT_WARNING_S", 0.02)
    heard, watchdog = Heard(), fused_reduction._Watchdog()
    fused_reduction.logger.addHandler(heard)
    try:
        watchdog.begin([Part("SUM", 1, "Accuracy.num_correct"), Part("SUM", 1, "Accuracy.total")])
        assert heard.event.wait(30)
        watchdog.end()
    finally:
        fused_reduction.logger.removeHandler(heard)
    assert len(heard.lines) == 1
    assert "Rank 0 has been waiting for the other ranks" in heard.lines[0]
    assert "to reduce Accuracy.num_correct, Accuracy.total" in heard.lines[0]
    assert "attach them on all ranks" in heard.lines[0]
