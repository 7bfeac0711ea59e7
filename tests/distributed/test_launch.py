import builtins
import functools
import multiprocessing
import os
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ignite import distributed as idist
from ignite.distributed import _launch
from support import harness, launched

VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
)


@pytest.fixture
def environment(monkeypatch):
    """Without a launcher's variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def written(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name.isdigit()}


@pytest.mark.parametrize("num_processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_spawned_processes_form_a_group(tmp_path, num_processes):
    idist.spawn(
        "gloo",
        launched.writes_its_place,
        (tmp_path,),
        {"word": "hello"},
        nproc_per_node=num_processes,
    )
    total = num_processes * (num_processes + 1) // 2
    assert written(tmp_path) == {
        f"{i}": f"hello {total} {(i, num_processes, 1, 0)}" for i in range(num_processes)
    }


@pytest.mark.parametrize("scheme", ["tcp", pytest.param("file", marks=pytest.mark.slow)])
def test_spawned_processes_rendezvous_at_the_given_address(tmp_path, scheme):
    place = (
        f"tcp://127.0.0.1:{harness.free_port()}"
        if scheme == "tcp"
        else f"file://{tmp_path}/meeting"
    )
    idist.spawn(
        "gloo",
        launched.writes_its_place,
        (tmp_path,),
        nproc_per_node=2,
        init_method=place,
        start_method=harness.START_METHOD,
        timeout=timedelta(seconds=60),
        daemon=True,
    )
    assert written(tmp_path) == {f"{rank}": f"none 3 {(rank, 2, 1, 0)}" for rank in range(2)}


def test_spawned_processes_of_two_nodes_form_a_group(tmp_path):
    start = functools.partial(
        idist.spawn,
        nnodes=2,
        master_addr="127.0.0.1",
        master_port=harness.free_port(),
        start_method=harness.START_METHOD,
    )
    nodes = [
        start("gloo", launched.writes_its_place, (tmp_path,), node_rank=node_rank, join=False)
        for node_rank in range(2)
    ]
    for node in nodes:
        while not node.join():
            continue
    assert written(tmp_path) == {f"{rank}": f"none 2 {(rank, 1, 2, rank)}" for rank in range(2)}


def test_a_rank_that_raises_ends_the_others_within_seconds_and_is_named(tmp_path):
    with pytest.raises(ProcessRaisedException) as raised:
        idist.spawn(
            "gloo",
            launched.one_fails,
            (str(tmp_path),),
            {"failing": 2},
            nproc_per_node=4,
            start_method=harness.START_METHOD,
        )
    assert time.monotonic() - float(Path(tmp_path, "failed at").read_text()) < 15
    assert "Process 2 terminated" in str(raised.value)
    assert "OSError: no space left\nRaised on rank 2 of 4, local rank 2, on " in str(raised.value)
    assert multiprocessing.active_children() == []


def test_a_rank_of_another_node_is_named_as_the_group_counts(tmp_path):
    start = functools.partial(
        idist.spawn,
        nnodes=2,
        master_port=harness.free_port(),
        join=False,
        start_method=harness.START_METHOD,
    )
    first, second = (
        start("gloo", launched.one_fails, (str(tmp_path),), node_rank=node_rank)
        for node_rank in range(2)
    )
    with pytest.raises(
        ProcessRaisedException, match="no space left\nRaised on rank 1 of 2, local rank 0"
    ):
        second.join()
    with pytest.raises(
        ProcessRaisedException, match="Raised on rank 0 of 2"
    ):  # which has lost the other
        first.join()
    assert (
        time.monotonic() - float(Path(tmp_path, "failed at").read_text())
        < _launch._TERMINATION_TIMEOUT_S
    )


def test_a_rank_that_is_killed_ends_the_others_and_is_named():
    with pytest.raises(ProcessExitedException, match="process 1 terminated with signal SIGKILL"):
        idist.spawn(
            "gloo", launched.one_is_killed, (), nproc_per_node=2, start_method=harness.START_METHOD
        )


def test_only_the_first_process_that_fails_raises_immediately(monkeypatch):
    waits = []
    monkeypatch.setattr(
        _launch.threading.Event, "wait", lambda event, seconds: waits.append(seconds)
    )
    first_failed = multiprocessing.RawValue("i", -1)
    for local_rank in (1, 0):
        _launch._wait_for_first_failure(local_rank, first_failed)
    assert (first_failed.value, waits) == (1, [_launch._TERMINATION_TIMEOUT_S])


def test_a_notebook_forks_as_its_functions_can_not_be_imported(monkeypatch):
    def start_nothing(*args, start_method, **kwargs):
        methods.append(start_method)
        return SimpleNamespace(join=lambda grace_period: True)

    methods = []
    monkeypatch.setattr(_launch, "start_processes", start_nothing)
    idist.spawn("gloo", launched.one_is_killed, ())
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    idist.spawn("gloo", launched.one_is_killed, ())
    idist.spawn("gloo", launched.one_is_killed, (), start_method="forkserver")
    assert methods == ["spawn", "fork", "forkserver"]


@pytest.mark.parametrize(
    ("backend", "numbers", "words"),
    [
        ("pigeon", {}, "Backend should be one of .* but given 'pigeon'"),
        ("gloo", {"nproc_per_node": 0}, "nproc_per_node should be positive, but given 0"),
        ("gloo", {"nnodes": -1}, "nnodes should be positive, but given -1"),
        ("gloo", {"nnodes": 2, "node_rank": 2}, "node_rank should be between 0 and 1, but given 2"),
    ],
)
def test_what_cannot_be_spawned_is_refused(backend, numbers, words):
    with pytest.raises(ValueError, match=words):
        idist.spawn(backend, print, (), **numbers)


def test_without_a_launcher_defaults_are_set_and_taken_back(environment):
    before = dict(os.environ)
    _launch._complete_environment()
    added = {name: value for name, value in os.environ.items() if name not in before}
    _launch._restore_environment()
    assert added == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "15000",
    }
    assert dict(os.environ) == before


def test_with_a_place_to_meet_ranks_are_those_of_the_launcher(environment, tmp_path):
    place = f"file://{tmp_path}/meeting"
    with pytest.raises(ValueError, match="rank parameter missing"):
        idist.initialize("gloo", init_method=place)
    for name, value in {"RANK": "0", "LOCAL_RANK": "3", "WORLD_SIZE": "1"}.items():
        environment.setenv(name, value)
    idist.initialize("gloo", init_method=place)
    try:
        assert (idist.get_rank(), idist.get_local_rank(), idist.get_world_size()) == (0, 3, 1)
    finally:
        idist.finalize()


def test_a_group_of_the_users_own_is_found_at_once(environment):
    address = f"tcp://127.0.0.1:{harness.free_port()}"
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    try:
        idist.set_local_rank(4)
        idist.sync(temporary=True)
        assert (idist.model_name(), idist.get_local_rank()) == ("native-dist", 4)
    finally:
        idist.finalize()
    assert (idist.model_name(), idist.get_local_rank()) == ("serial", 0)


def test_nccl_wants_a_gpu(environment):
    environment.setattr(_launch, "available_backends", lambda: ("nccl",))
    environment.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="Nccl backend is required but no cuda capable devices"):
        idist.initialize("nccl")


def test_without_a_launcher_a_process_is_its_own_group_and_the_environment_is_restored(
    environment,
):
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


def test_a_group_that_cannot_be_made_leaves_the_environment_unchanged(environment):
    environment.setenv("MASTER_PORT", "no port")
    before = dict(os.environ)
    with pytest.raises(ValueError, match="no port"):
        idist.initialize("gloo")
    assert dict(os.environ) == before


def test_slurm_determines_the_rank_of_a_process(environment):
    before, job = (
        dict(os.environ),
        str(os.getpid()),
    )  # so that other runs of the tests do not meet this one
    for name, value in {
        "SLURM_JOB_ID": job,
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_JOB_NUM_NODES": "1",
    }.items():
        environment.setenv(name, value)
    idist.initialize("gloo")
    try:
        assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == (
            "localhost",
            str(15000 + int(job[-4:])),
        )
        assert idist.get_world_size() == 1
    finally:
        idist.finalize()
    assert {
        name: value for name, value in os.environ.items() if not name.startswith("SLURM")
    } == before
