"""Handlers that only some processes have: no process waits for one without them."""

from pathlib import Path

import pytest

from ignite import handlers
from ignite.testing import run_processes
from support import attached_processes
from support.attached_processes import CASES, EPOCH_LENGTH, NEEDED_BY_ALL, NUM_EPOCHS

NOT_HERE = {
    "BaseParamScheduler", "ParamScheduler", "StateParamScheduler", "CyclicalScheduler",  # bases
    # TrackerLoggers, whose clients are not installed, or take seconds to begin
    "AimLogger", "ClearMLLogger", "ClearMLSaver", "CometLogger", "MLflowLogger", "NeptuneLogger",
    "NeptuneSaver", "PolyaxonLogger", "SwanLabLogger", "TrackioLogger", "VisdomLogger", "WandBLogger",
    "global_step_from_engine",
    # tested with its client in test_optuna_handler.py; the other is no handler
    "OptunaHandler", "retry_killed_trials",
}  # fmt: skip


def test_all_handlers_are_here():
    source = Path(attached_processes.__file__).read_text()
    used = {name for name in handlers.__all__ if f"{name}(" in source.partition("CASES = {}")[2]}
    assert set(handlers.__all__) - NOT_HERE - used == set()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("num_processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_attached_on_one_process_on_the_last_and_on_all_a_run_ends_as_without(
    num_processes, tmp_path
):
    results = run_processes(
        attached_processes.all_cases, num_processes, list(CASES), str(tmp_path), timeout_s=100.0
    )
    expected = (NUM_EPOCHS, NUM_EPOCHS * EPOCH_LENGTH, 4.0)  # batches of four zeros, ones, twos
    wrong = [
        (rank, key, value)
        for rank, found in enumerate(results)
        for key, value in found.items()
        if value != expected
    ]
    assert wrong == []
    assert all(len(found) == 3 * len(CASES) for found in results)


def test_a_range_test_goes_by_all_losses_or_by_its_own():
    assert (
        run_processes(attached_processes.lr_finders, 2) == [{"first": 6, "last": 6, "all": 6}] * 2
    )


@pytest.mark.slow
def test_what_stops_all_does_so_where_all_have_it():
    first, second = run_processes(attached_processes.stops, 2)
    assert first == {
        "all": 2, "first": 5, "last": 5, "in two epochs": (2, 6), "failed": "failed", "evaluator of the first": (2, 1),
        "scores of their own": 3,
    }  # fmt: skip
    assert second == {
        "all": 2, "first": 5, "last": 2, "in two epochs": (2, 7), "failed": 10, "evaluator of the first": (2, 0),
        "scores of their own": 3,
    }  # fmt: skip


def test_what_needs_all_processes_names_the_one_that_is_missing(tmp_path):
    first, second = run_processes(attached_processes.needs, 2, str(tmp_path))
    for name in NEEDED_BY_ALL:
        assert first[name, "first"] == (
            f"{name} should be attached to the engine on all ranks, but rank 1 does not have it"
        )
        assert second[name, "first"] == first[name, "all"] == second[name, "all"] == 2
