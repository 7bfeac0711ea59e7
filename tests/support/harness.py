"""Runs a function in k processes that form a gloo group, and gives back what each returned."""

import multiprocessing
import os
import socket

import torch.distributed as dist
import torch.multiprocessing as mp

# Processes are forked from a server that has imported what takes seconds.
multiprocessing.set_forkserver_preload(["torch", "ignite.engine", "ignite.metrics", "support"])


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _work(rank, num_processes, port, environment, function, results):
    os.environ.update(environment)  # the server has those of its start
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=num_processes)
    try:
        results[rank] = function(rank)
    finally:
        dist.destroy_process_group()


def run(function, num_processes=2):
    """``[function(rank) for rank in range(num_processes)]``, each in a process of its own. It must be importable."""
    with mp.Manager() as manager:
        results = manager.dict()
        arguments = (num_processes, free_port(), dict(os.environ), function, results)
        mp.start_processes(_work, arguments, num_processes, start_method="forkserver")
        return [results[rank] for rank in range(num_processes)]
