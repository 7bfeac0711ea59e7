"""Offline files written by real clients, also for a run that was killed and resumed."""

import pytest

from support import servers, tracked_run, tracker_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of the clients and of what they are made of
]


CASES = [
    pytest.param("wandb", tracker_files.read_wandb, "lr/group_0", id="wandb"),
    pytest.param("neptune", tracker_files.read_neptune, "lr/group_0", id="neptune"),
    pytest.param("polyaxon", tracker_files.read_polyaxon, "lr/group_0", id="polyaxon"),
]


@pytest.mark.parametrize(("name", "read", "lr"), CASES)
def test_a_run_that_was_killed_and_resumed_has_each_step_once(name, read, lr, tmp_path):
    servers.skip_without(name)
    tracked_run.check(read(tmp_path, tracked_run.run_twice(name, tmp_path)), lr)


@pytest.mark.slow  # two processes with a client each
@pytest.mark.parametrize(("name", "read", "lr"), CASES)
def test_a_resumed_run_that_the_program_names_has_each_step_once(name, read, lr, tmp_path):
    servers.skip_without(name)
    run_id = "0123456789abcdef0123456789abcdef"
    tracked_run.check(read(tmp_path, tracked_run.run_twice(name, tmp_path, run_id)), lr)
