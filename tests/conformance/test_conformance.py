"""The same scenarios, run on pytorch-ignite once (traces.json) and on this library now."""

import json
import logging
from pathlib import Path

import pytest

from conformance.scenarios import SCENARIOS

RECORD = json.loads(Path(__file__).with_name("traces.json").read_text())["traces"]

AFTER_ERROR = "after an exception that went on, the next run of pytorch-ignite returns at once without doing anything"
FRESH_PASS = "an epoch given up to an exception is followed by a fresh pass over the data, not by the rest of it"
RESUMED = "the epoch after the rest of an epoch begins at the beginning of the data, not in the middle of a pass"
DEVIATIONS = {
    **{
        f"{verb} at {event}": AFTER_ERROR
        for verb in ("terminate_epoch", "terminate_epoch skip")
        for event in ("STARTED 1", "EPOCH_STARTED 1", "EPOCH_STARTED 2")
    },
    **{
        f"error at {event}, taken over": FRESH_PASS
        for event in (
            "GET_BATCH_STARTED 2", "GET_BATCH_COMPLETED 1", "GET_BATCH_COMPLETED 2", "ITERATION_STARTED 1",
            "ITERATION_STARTED 2", "ITERATION_COMPLETED 1", "ITERATION_COMPLETED 2", "step 1", "step 2",
        )
    },
    **{
        f"interrupt at DATALOADER_STOP_ITERATION {count}": "a run that was paused fires GET_BATCH_STARTED only once"
        for count in (1, 2)
    },
    "load: inside": RESUMED,
    "load: max_iters": RESUMED,
    "run: iterator too short for its epoch": "what is missing is reported in the last epoch, too",
    **{
        f"batches: {name}, 0 workers, resumed": "resumed within a pass, with the batches of the uninterrupted run"
        for name in ("shuffled", "shuffled, last batch dropped", "weighted", "with replacement", "own sampler")
    },
    "batches: shuffled, epoch cut short, 3 epochs": "after an epoch that ended early, two epochs have the same order",
    "again: other epoch_length": "a refused call of run leaves the state as it was",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def run(name):
    return json.loads(json.dumps(SCENARIOS[name]()))


@pytest.mark.parametrize("name", [name for name in RECORD if name not in DEVIATIONS])
def test_programs_see_what_they_saw_in_ignite(name):
    assert run(name) == RECORD[name]


@pytest.mark.parametrize("name", DEVIATIONS)
def test_decided_deviations_are_still_deviations(name):
    assert run(name) != RECORD[name], (
        "no longer different: take it out of DEVIATIONS and docs/compatibility.md"
    )


def test_all_scenarios_are_recorded():
    assert list(SCENARIOS) == list(RECORD)
