"""Runs a function in several processes of a gloo group on this machine."""

from __future__ import annotations

import datetime
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ignite import distributed
from ignite._core import clock
from ignite._core.torch_private import quiet_about_sparse

__all__ = ["run_processes"]

_STACK_SIGNAL = getattr(signal, "SIGUSR2", None)  # Windows has none
"""Makes a process write its stack to a file. A signal that job schedulers do not send."""
_STACK_TIMEOUT_S = 2.0
"""Seconds to wait for the stacks."""


def run_processes(
    function: Callable[..., Any], num_processes: int = 2, *args: Any, timeout_s: float = 60.0
) -> list[Any]:
    """Calls ``function(rank, *args)`` in the processes of a group, and returns their results.

    In the processes, ``ignite.distributed`` is initialized with gloo, and PyTorch uses one thread.
    On Linux, they are forked from a server process that has imported torch
    (:func:`multiprocessing.set_forkserver_preload`), so that only the first call takes seconds.
    Elsewhere, each process imports torch. Environment variables are those of the call.

    Args:
        function: a function that can be imported, because processes do not share memory. With
            pytest's ``--import-mode=importlib``, its module must be on the path.
        num_processes: number of processes.
        *args: arguments of the function.
        timeout_s: timeout in seconds, which includes the import of torch.

    Returns:
        The results by rank: numbers, strings, tensors, and containers of these.

    Raises:
        ValueError: ``num_processes`` or ``timeout_s`` is not positive.
        torch.multiprocessing.ProcessRaisedException: a process raised. The message has the
            traceback and rank of the first one; the other processes are terminated.
        torch.multiprocessing.ProcessExitedException: a process ended otherwise, such as by a
            signal.
        TimeoutError: the timeout is over. The message has the stacks of the unfinished ranks, which
            are killed; not on Windows.

    Example:
        In a test, with a function of its module::

            def sum_of_ranks(rank, factor):
                return idist.all_reduce(rank * factor)

            def test_sum():
                assert run_processes(sum_of_ranks, 3, 10) == [30, 30, 30]
    """
    if not timeout_s > 0:
        raise ValueError(f"timeout_s should be positive, but given {timeout_s}")
    deadline = clock.now() + timeout_s
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = distributed.spawn(
            "gloo",
            _work,
            (name, dict(os.environ), function, args),
            nproc_per_node=num_processes,
            join=False,
            start_method=_start_method(),
            timeout=datetime.timedelta(seconds=timeout_s),
        )
        try:
            while not context.join(timeout=max(0.0, deadline - clock.now())):
                if clock.now() >= deadline:
                    raise TimeoutError(_describe_late(context.processes, folder, timeout_s))
        finally:
            _end(context.processes)
        return [_load_result(_result_of(folder, rank), rank) for rank in range(num_processes)]


def _start_method() -> str:
    if sys.platform != "linux":  # elsewhere, libraries that torch loads may not be forked
        return "spawn"
    multiprocessing.set_forkserver_preload(["torch", "ignite.distributed"])
    return "forkserver"


def _work(
    rank: int,
    folder: str,
    environment: dict[str, str],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    os.environ.clear()
    os.environ.update(environment)  # the server has those of its start
    torch.set_num_threads(1)
    with _stack_of(Path(folder), rank).open("w", encoding="utf-8") as stack:
        if _STACK_SIGNAL is not None:
            faulthandler.register(_STACK_SIGNAL, file=stack)
        torch.save(function(rank, *args), _result_of(Path(folder), rank))
        if dist.is_initialized():
            dist.barrier()  # a process that ends during a collective would make the others fail
        if _STACK_SIGNAL is not None:
            faulthandler.unregister(_STACK_SIGNAL)


def _result_of(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.pt"


def _stack_of(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.txt"


def _load_result(path: Path, rank: int) -> Any:
    try:
        with quiet_about_sparse(may_hold=True):
            return torch.load(path, weights_only=True)
    except Exception as error:
        error.add_note(
            "The function should return numbers, strings, tensors or containers of these; "
            f"see rank {rank}"
        )
        raise


def _describe_late(processes: list[Any], folder: Path, timeout_s: float) -> str:
    late = [rank for rank, process in enumerate(processes) if process.is_alive()]
    stacks = {rank: _stack_of(folder, rank) for rank in late}
    for stack in stacks.values():
        # Before the file exists, the signal would end the process.
        if _STACK_SIGNAL is not None and stack.exists():
            os.kill(processes[int(stack.stem)].pid, _STACK_SIGNAL)
    give_up = clock.now() + (_STACK_TIMEOUT_S if _STACK_SIGNAL is not None else 0.0)
    while clock.now() < give_up and not all(map(_is_written, stacks.values())):
        threading.Event().wait(0.01)
    lines = [f"After {timeout_s} s, ranks {late} of {len(processes)} had not finished"]
    for rank, stack in stacks.items():
        shown = (
            stack.read_text(encoding="utf-8", errors="replace")
            if _is_written(stack)
            else "its stack is unknown"
        )
        lines.append(f"Rank {rank}: {shown}")
    return "\n".join(lines)


def _is_written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _end(processes: list[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()
