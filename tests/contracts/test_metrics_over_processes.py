"""Metrics over k processes equal metrics over one: for every metric, uneven shares, and a process without examples."""

import pytest

from support import harness, ranks
from support.cases import CASES, as_plain, close
from support.effort import slow_but
from support.ranks import SHARES, in_halves, pieces_of

TOLERANCES = {"Loss": 1e-6}  # the user's function computes in float32


def alone(case, batches):
    metric = case.make()
    for batch in batches:
        metric.update(batch)
    return as_plain(metric.compute())


@pytest.mark.parametrize("num_processes", slow_but([2, 4], 2))
def test_every_metric_over_processes_equals_that_over_one(num_processes):
    found = harness.run(ranks.every_metric, num_processes)
    for case in CASES.values():
        for shares in SHARES[num_processes]:
            pieces = [
                piece for piece, share in zip(pieces_of(case, shares), shares, strict=True) if share
            ]
            everything = alone(case, pieces)
            for values in found:
                first, value = values[case.name, tuple(shares)]
                assert value == close(everything, TOLERANCES.get(case.name, 1e-9)), (
                    case.name,
                    shares,
                )
                if first is not None:
                    halves = alone(case, [in_halves(piece)[0] for piece in pieces])
                    assert first == close(halves, TOLERANCES.get(case.name, 1e-9)), (
                        case.name,
                        shares,
                    )


def test_without_an_example_on_any_process_all_raise_what_one_does():
    for found in harness.run(ranks.nobody_saw_anything, 2):
        for case in CASES.values():
            if case.empty_value is None:
                assert found[case.name] == "NotComputableError", case.name


@pytest.mark.parametrize("num_processes", slow_but([2, 4], 4))
def test_attached_metrics_are_reduced_together(num_processes):
    cases = [case for case in CASES.values() if case.examples is CASES["Accuracy"].examples]
    shares = SHARES[num_processes][-1]
    pieces = [
        piece for piece, share in zip(pieces_of(cases[0], shares), shares, strict=True) if share
    ]
    for metrics, calls in harness.run(ranks.attached, num_processes):
        for case in cases:
            assert metrics[case.name] == close(
                alone(case, pieces), TOLERANCES.get(case.name, 1e-9)
            ), case.name
        largest, counts = metrics["own"]
        assert (largest, sum(counts)) == (4.0, sum(shares))
        # A process without examples does not know what it will hold, so that all tell each other what they have; then
        # comes one collective for everything, or two, if it is the first time that so much is sent. In two epochs.
        once, more = ["all_gather", "all_gather_object", "all_gather"], ["all_gather"]
        assert calls in (once + once, once + more + once)


def test_seven_metrics_take_one_collective():
    for calls in harness.run(ranks.seven, 2):
        assert calls == ["all_gather"]


def test_processes_with_different_metrics_all_say_so():
    for message in harness.run(ranks.different_metrics, 2):
        assert "rank 0 has" in message
        assert "rank 1 has" in message


def test_one_process_continues_from_the_state_of_two():
    saved = harness.run(ranks.saved_by_two, 2)[0]
    for case in CASES.values():
        pieces = pieces_of(case, SHARES[2][0])
        metric = case.make()
        metric.load_state_dict(saved[case.name])
        assert as_plain(metric.compute()) == close(
            alone(case, pieces), TOLERANCES.get(case.name, 1e-9)
        ), case.name
