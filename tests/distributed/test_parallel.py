import functools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from ignite import distributed as idist
from support import harness, parallel_processes

SCRIPT = parallel_processes.__file__
OF_LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE")


@pytest.fixture
def environment(monkeypatch):
    """Without a launcher's variables."""
    for name in list(os.environ):
        if name in OF_LAUNCHERS or name.startswith(("SLURM_", "TORCHELASTIC_", "LOCAL_", "MASTER")):
            monkeypatch.delenv(name)
    return monkeypatch


def written(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name.isdigit()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nproc_per_node": 2}, "If backend is None, argument 'nproc_per_node' .* but given 2"),
        ({"master_port": 1}, "If backend is None, argument 'master_port' .* but given 1"),
        ({"backend": "pigeon"}, "Unknown backend 'pigeon'. Available backends: .*'gloo'"),
        ({"backend": "gloo", "nproc_per_node": 0}, "nproc_per_node should positive, but given 0"),
        ({"backend": "gloo", "nproc_per_node": "2"}, "nproc_per_node should positive, .* '2'"),
        (
            {"backend": "gloo", "nproc_per_node": 2, "nnodes": 0},
            "Argument nnodes should positive, but given 0",
        ),
        (
            {"backend": "gloo", "nproc_per_node": 2, "nnodes": 2},
            "arguments node_rank should be given, but given nnodes=2",
        ),
        (
            {"backend": "gloo", "nproc_per_node": 2, "nnodes": 2, "node_rank": 2},
            "node_rank should be between 0 and 1, but given 2",
        ),
        (
            {"backend": "gloo", "nproc_per_node": 2, "nnodes": 2, "node_rank": 1},
            "master_addr and master_port or init_method should be specified, but given "
            "master_addr=None, master_port=None and init_method=None",
        ),
        (
            {"backend": "gloo", "nproc_per_node": 2, "init_method": "tcp://here"},
            "init_method should be 'tcp://address:port', but given 'tcp://here'",
        ),
        (
            {"backend": "gloo", "nproc_per_node": 2, "init_method": "smoke"},
            "init_method should begin with .* but given 'smoke'",
        ),
        ({"backend": "gloo", "speed": 3}, r"spawn_kwargs should be among \[.*but given 'speed'"),
        ({"backend": "gloo", "join": False}, "join should be True.* but given False: use .*spawn"),
        ({"backend": "gloo", "max_restarts": -1}, "max_restarts should be .* but given -1"),
        ({"backend": "gloo", "monitor_interval": 0}, "monitor_interval should be .* but given 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        idist.Parallel(**options)


def test_without_a_backend_the_function_runs_in_this_process(caplog):
    caplog.set_level(logging.INFO)
    calls = []
    with idist.Parallel() as parallel:
        parallel.run(lambda *args, **kwargs: calls.append((args, kwargs)), 5, word="a")
    assert calls == [((0, 5), {"word": "a"})]
    assert [record.name for record in caplog.records] == [
        "ignite.distributed.launcher.Parallel"
    ] * 2
    assert caplog.messages[0].endswith(" in 1 processes")
    assert caplog.messages[1] == "End of run"


def test_log_lines_are_seen_without_a_logging_setup():
    program = "from ignite.distributed import Parallel\nwith Parallel() as p: p.run(abs)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = [line.split(" ", 2)[2] for line in shown.stderr.splitlines()]
    assert lines == [
        "ignite.distributed.launcher.Parallel INFO: - Run '<built-in function abs>' in 1 processes",
        "ignite.distributed.launcher.Parallel INFO: End of run",
    ]


def test_under_a_launcher_the_group_lives_as_long_as_the_block(environment, caplog):
    caplog.set_level(logging.INFO)
    environment.setenv("MASTER_PORT", str(harness.free_port()))
    parallel = idist.Parallel("gloo")
    with pytest.raises(RuntimeError, match="run should be called inside a with block"):
        parallel.run(print)
    found = []
    with parallel:
        parallel.run(lambda local_rank: found.append((local_rank, idist.model_name())))
    with pytest.raises(KeyError, match="lost"), parallel:
        raise KeyError("lost")
    assert (found, idist.model_name()) == ([(0, "native-dist")], "serial")
    assert caplog.messages[0] == "Initialized processing group with backend: 'gloo'"
    assert caplog.messages[3] == "Finalized processing group with backend: 'gloo'"


class Holder:
    def method(self, local_rank): ...


@pytest.mark.parametrize(
    ("func", "arguments", "words"),
    [
        (lambda local_rank: None, (), "func should be something that can be pickled, .*<lambda>"),
        (print, (1, threading.Lock()), "argument 1 should be .* but given lock for print: .*lock"),
        (functools.partial(print, iter), (lambda: 0,), "argument 0 should be .*function"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_what_to_do(func, arguments, words):
    parallel = idist.Parallel("gloo", nproc_per_node=2)
    with pytest.raises(TypeError, match=words) as raised:
        parallel.run(func, *arguments)
    assert "create other objects inside the function, or start the program with torchrun" in str(
        raised.value
    )


def test_a_keyword_argument_that_cannot_be_sent_is_named():
    with pytest.raises(TypeError, match="argument 'score' should be something that can be pickled"):
        idist.Parallel("gloo", nproc_per_node=2).run(print, score=lambda: 0)


def test_checking_what_is_sent_does_not_copy_tensors_and_accepts_queues():
    from ignite.distributed.launcher import check_sendable

    shared_before = torch.ones(2).is_shared()
    tensor, queue = torch.ones(2), multiprocessing.get_context("spawn").Queue()
    check_sendable(Holder().method, (tensor, {"x": torch.nn.Linear(2, 2)}, queue), {})
    assert tensor.is_shared() == shared_before
    queue.close()


def test_a_function_of_an_interactive_session_is_refused():
    program = (
        "from ignite.distributed import Parallel\ndef f(local_rank): ...\n"
        "Parallel('gloo', nproc_per_node=1).run(f)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "TypeError: func should be defined in a file, because new processes" in shown.stderr
    assert "but given f of an interactive session" in shown.stderr


def test_started_processes_form_a_group_and_the_program_keeps_its_signals(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    before, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
    port = harness.free_port()
    with idist.Parallel(
        "gloo", nproc_per_node=2, init_method=f"tcp://127.0.0.1:{port}"
    ) as parallel:
        parallel.run(parallel_processes.writes_place, tmp_path, word="hello")
    assert written(tmp_path) == {
        f"{rank}": f"hello 0 {[rank, rank, 2, 0, 1, 3]}" for rank in range(2)
    }
    assert signal.getsignal(signal.SIGTERM) is before
    assert dict(os.environ) == environment
    assert "- Parameters to spawn processes: \n\tnproc_per_node: 2" in caplog.messages[1]
    assert caplog.messages[2].startswith("Spawn function '<function writes_place")
    assert caplog.messages[2].endswith("in 2 processes")


def test_a_process_that_raises_is_named_with_its_traceback(tmp_path):
    parallel = idist.Parallel(
        "gloo", nproc_per_node=3, log_dir=str(tmp_path), start_method=harness.START_METHOD
    )
    with pytest.raises(ChildFailedError, match="second_raises FAILED") as raised:
        parallel.run(parallel_processes.second_raises)
    rank, failure = raised.value.get_first_failure()
    assert (rank, list(raised.value.failures)) == (1, [1])
    assert "OSError: no space left" in str(raised.value)
    assert "Raised on rank 1 of 3, local rank 1, on " in str(raised.value)
    assert Path(failure.error_file).is_relative_to(tmp_path)
    assert "no space left" in Path(failure.error_file).read_text()


def test_a_process_that_is_killed_is_named_and_not_those_that_lose_it():
    with pytest.raises(ChildFailedError, match="second_is_killed FAILED") as raised:
        idist.Parallel("gloo", nproc_per_node=2, start_method=harness.START_METHOD).run(
            parallel_processes.second_is_killed
        )
    rank, failure = raised.value.get_first_failure()
    assert (rank, failure.exitcode, list(raised.value.failures)) == (1, -signal.SIGKILL, [1])


@pytest.mark.parametrize(
    ("scheme", "sizes"),
    [
        pytest.param("address", (1, 2), id="address"),
        pytest.param("file", (1, 1), id="file", marks=pytest.mark.slow),
    ],
)
def test_two_machines_meet_also_with_different_numbers_of_processes(tmp_path, scheme, sizes):
    meeting = {"master_addr": "127.0.0.1", "master_port": harness.free_port()}
    if scheme == "file":
        meeting = {"init_method": f"file://{tmp_path}/meeting"}
    context = multiprocessing.get_context(harness.START_METHOD)
    nodes = [
        context.Process(target=parallel_processes.start_node, args=(i, sizes[i], tmp_path, meeting))
        for i in range(2)
    ]
    for node in nodes:
        node.start()
    for node in nodes:
        node.join()
    assert [node.exitcode for node in nodes] == [0, 0]
    places = {
        (1, 2): ([0, 0, 1, 0, 2, 6], [1, 0, 2, 1, 2, 6], [2, 1, 2, 1, 2, 6]),
        (1, 1): ([0, 0, 1, 0, 2, 3], [1, 0, 1, 1, 2, 3]),
    }[sizes]
    assert written(tmp_path) == {f"{p[0]}": f"again 0 {list(p)}" for p in places}


def torchrun(*options, nproc=1, folder, what):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in OF_LAUNCHERS and not name.startswith(("LOCAL_", "MASTER_", "TORCHELASTIC_"))
    }
    # As if started by sbatch on one node with one task.
    environment |= {
        "SLURM_JOB_ID": "17",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NODELIST": "elsewhere",
        "SLURM_JOB_NUM_NODES": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "torch.distributed.run", *options, f"--nproc-per-node={nproc}"]
    return subprocess.Popen(
        [*command, SCRIPT, str(folder), what], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_torchrun_in_a_slurm_allocation_is_torchrun_also_with_uneven_machines(tmp_path):
    address = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={harness.free_port()}")
    nodes = [
        torchrun(*address, f"--node-rank={i}", nproc=nproc, folder=tmp_path, what="place")
        for i, nproc in enumerate((2, 1))
    ]
    said = [node.communicate()[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert written(tmp_path) == {
        "0": f"none 0 {[0, 0, 2, 0, 2, 6]}",
        "1": f"none 0 {[1, 1, 2, 0, 2, 6]}",
        "2": f"none 0 {[2, 0, 1, 1, 2, 6]}",
    }


def test_a_group_that_torchrun_restarts_meets_again_and_the_traceback_of_the_first_failure_is_shown(
    tmp_path,
):
    agent = torchrun(
        "--standalone", "--max-restarts=1", nproc=2, folder=tmp_path, what="kill, then raise"
    )
    said = agent.communicate()[1]
    assert written(tmp_path) == {f"{i}": f"none 1 {[i, i, 2, 0, 1, 3]}" for i in range(2)}, said
    assert agent.returncode == 1
    root = said.partition("Root Cause")[2]
    assert "rank      : 1 (local_rank: 1)" in root
    assert "OSError: no space left" in root


def test_starting_processes_under_torchrun_warns(environment):
    environment.setenv("TORCHELASTIC_RUN_ID", "1")
    with (
        pytest.warns(UserWarning, match="starts 2 processes in each process of torchrun: nproc"),
        idist.Parallel("gloo", nproc_per_node=2),
    ):
        ...
