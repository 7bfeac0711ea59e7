"""Importable functions with which processes are started."""

import os
import threading

import torch

from ignite import distributed as idist


def add_ranks(rank, factor):
    return {
        "rank": rank,
        "sum": idist.all_reduce(torch.tensor([float(rank * factor)])),
        "threads": torch.get_num_threads(),
    }


def fail_on_rank_one(rank):
    if rank == 1:
        raise OSError("no disk")
    idist.barrier()


def die_on_rank_one(rank):
    if rank == 1:
        os._exit(3)
    idist.barrier()


def hang_on_rank_one(rank):
    if rank == 1:
        threading.Event().wait()


def return_a_class(rank):
    return threading.Event
