"""Runs functions in k processes that form a gloo group, and programs in a separate process, without imports."""

import io
import multiprocessing
import os
import pickle
import socket
import sys
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp

START_METHOD = "forkserver"
"""Processes are forked from a server that has imported what takes seconds."""
multiprocessing.set_forkserver_preload(["torch", "ignite.engine", "ignite.metrics", "support"])


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _work(rank, num_processes, port, environment, function, folder):
    os.environ.update(environment)  # the server has those of its start
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=num_processes)
    try:
        Path(folder, str(rank)).write_bytes(pickle.dumps(function(rank)))
    finally:
        dist.destroy_process_group()


def run(function, num_processes=2):
    """``[function(rank) for rank in range(num_processes)]``, each in a process of its own. It must be importable."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (num_processes, free_port(), dict(os.environ), function, folder)
        mp.start_processes(_work, arguments, num_processes, start_method=START_METHOD)
        return [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(num_processes)]


def _execute(code, arguments, sender):
    sys.argv = ["-c", *arguments]
    warnings.simplefilter("always")
    text = io.StringIO()
    with redirect_stdout(text):
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    sender.send(text.getvalue())


def run_program(code, *arguments):
    """What a program prints that finds torch, ``ignite.engine`` and ``ignite.metrics`` imported, and nothing else."""
    context = multiprocessing.get_context(START_METHOD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_execute, args=(code, arguments, sender))
    process.start()
    sender.close()
    try:
        text = receiver.recv()
    except EOFError:
        raise AssertionError("the program should end well: see its traceback above") from None
    finally:
        process.join()
        receiver.close()
    return text
