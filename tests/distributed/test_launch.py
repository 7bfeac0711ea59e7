import os
import sys
from pathlib import Path

import pytest
from torch.multiprocessing import ProcessRaisedException

from ignite import distributed as idist

sys.path.insert(0, str(Path(__file__).parent))
import harness
import workers

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID")


@pytest.fixture
def environment(monkeypatch):
    """Without a launcher's variables, and with a port that is free."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("num_processes", [2, 4])
def test_spawned_processes_form_a_group(tmp_path, num_processes):
    idist.spawn("gloo", workers.spawned, (tmp_path,), {"word": "hello"}, nproc_per_node=num_processes)
    total = num_processes * (num_processes + 1) // 2
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {f"{rank}": f"hello {total} {rank} {num_processes}" for rank in range(num_processes)}


def test_a_process_that_raises_ends_the_others_and_is_named():
    with pytest.raises(ProcessRaisedException, match=r"Process 1 terminated[\s\S]*no space left on rank 1"):
        idist.spawn("gloo", workers.spawned_one_fails, (), nproc_per_node=2)


def test_unknown_backends_are_refused():
    with pytest.raises(ValueError, match="Backend should be one of .* but given 'pigeon'"):
        idist.spawn("pigeon", print, ())


def test_without_a_launcher_a_process_is_a_group_of_its_own_and_the_environment_is_put_back(environment):
    environment.setenv("MASTER_PORT", str(harness.free_port()))
    before = dict(os.environ)
    idist.initialize("gloo")
    try:
        assert (idist.get_rank(), idist.get_world_size(), idist.backend()) == (0, 1, "gloo")
        assert os.environ["MASTER_ADDR"] == "127.0.0.1"
    finally:
        idist.finalize()
    assert dict(os.environ) == before
    assert idist.backend() is None


def test_variables_of_a_launcher_are_all_there_or_none(environment):
    environment.setenv("RANK", "0")
    environment.setenv("WORLD_SIZE", "1")
    before = dict(os.environ)
    with pytest.raises(RuntimeError, match="should define env variables 'LOCAL_RANK'"):
        idist.initialize("gloo")
    assert dict(os.environ) == before


def test_a_group_that_cannot_be_made_leaves_the_environment_as_it_was(environment):
    environment.setenv("MASTER_PORT", "no port")
    before = dict(os.environ)
    with pytest.raises(ValueError, match="no port"):
        idist.initialize("gloo")
    assert dict(os.environ) == before


def test_slurm_says_who_a_process_is(environment):
    for name, value in {
        "SLURM_JOB_ID": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_JOB_NUM_NODES": "1",
    }.items():
        environment.setenv(name, value)
    idist.initialize("gloo")
    try:
        assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("localhost", "15001")
        assert idist.get_world_size() == 1
    finally:
        idist.finalize()
    assert "MASTER_ADDR" not in os.environ
