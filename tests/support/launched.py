"""Process functions for tests of ``spawn``."""

import os
import signal
import time
from pathlib import Path

import torch

from ignite import distributed as idist


def writes_its_place(local_rank, folder, word="none"):
    total = idist.all_reduce(local_rank + 1)
    place = (
        idist.get_rank(),
        idist.get_nproc_per_node(),
        idist.get_nnodes(),
        idist.get_node_rank(),
    )
    Path(folder, f"{idist.get_rank()}").write_text(f"{word} {total} {place}")


def one_fails(local_rank, folder, failing=1):
    signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # as programs do that save what they have when they are ended
    if idist.get_rank() == failing:
        Path(folder, "failed at").write_text(str(time.monotonic()))
        raise OSError("no space left")
    idist.all_reduce(torch.ones(2))  # never comes true


def one_is_killed(local_rank):
    if local_rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    idist.barrier()
