"""What the files of real clients hold, also of a run that was killed and resumed."""

import json
import subprocess
import sys

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


def run_twice(name, folder, *run_id, **variables):
    """A process that is killed, and one that resumes its run."""
    result = subprocess.run(
        [sys.executable, "-m", "support.tracked_run", name, str(folder), *run_id],
        cwd=folder,
        env={
            **servers.environment(),
            "WANDB_SILENT": "true",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize(("name", "read", "lr"), CASES)
def test_a_run_that_was_killed_and_resumed_has_each_step_once(name, read, lr, tmp_path):
    servers.skip_without(name)
    check(read(tmp_path, run_twice(name, tmp_path)), lr)


@pytest.mark.parametrize(("name", "read", "lr"), CASES)
def test_a_resumed_run_that_the_program_names_has_each_step_once(name, read, lr, tmp_path):
    servers.skip_without(name)
    check(read(tmp_path, run_twice(name, tmp_path, "0123456789abcdef0123456789abcdef")), lr)


def check(found, lr):
    """Whether ``found`` has the losses and learning rates of an undisturbed run, each once."""
    losses = tracked_run.losses()
    expected = sorted(
        [("train/loss", step, loss) for step, loss in losses]
        + [(lr, step, 0.125) for step, _ in losses]
    )
    found = sorted(found)
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected])
