"""Runs a function in k processes on this machine that form a gloo group."""

from __future__ import annotations

import datetime
import faulthandler
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ignite import distributed
from ignite._core import clock

__all__ = ["run_processes"]

_STACK_SIGNAL = signal.SIGUSR2
"""Makes a process write down where it is. Not one of those that schedulers send."""
_PATIENCE_S = 2.0
"""How long processes that are late get for that."""


def run_processes(
    function: Callable[..., Any], num_processes: int = 2, *args: Any, timeout_s: float = 60.0
) -> list[Any]:
    """Calls ``function(rank, *args)`` in processes that form a group, and returns what they returned.

    Args:
        function: one that can be imported, as the processes do not share this one's memory: with
            pytest's ``--import-mode=importlib``, that of a module which is on the path. In them,
            ``ignite.distributed`` is initialised with gloo, and torch computes with one thread.
        num_processes: how many.
        *args: for the function.
        timeout_s: how long all of it may take; a process takes some seconds to import torch.

    Returns:
        For each rank what the function returned. It travels in a file: numbers, strings, tensors,
        and containers of these.

    Raises:
        ValueError: ``num_processes`` or ``timeout_s`` is not positive.
        torch.multiprocessing.ProcessRaisedException: a process has raised. The message has the
            traceback of the one that did first, and its rank; the others are ended.
        torch.multiprocessing.ProcessExitedException: a process has ended otherwise, such as by a
            signal.
        TimeoutError: time is over. The message says which ranks were not done, and where they were;
            they are ended.

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
            "gloo", _work, (name, function, args), nproc_per_node=num_processes, join=False,
            timeout=datetime.timedelta(seconds=timeout_s),
        )  # fmt: skip
        try:
            while not context.join(timeout=max(0.0, deadline - clock.now())):
                if clock.now() >= deadline:
                    raise TimeoutError(_describe_late(context.processes, folder, timeout_s))
        finally:
            _end(context.processes)
        return [_load_result(_result_of(folder, rank), rank) for rank in range(num_processes)]


def _work(rank: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    with _stack_of(Path(folder), rank).open("w") as stack:
        faulthandler.register(_STACK_SIGNAL, file=stack)
        torch.save(function(rank, *args), _result_of(Path(folder), rank))
        if dist.is_initialized():
            dist.barrier()  # a process that ends while others talk to it would make them fail
        faulthandler.unregister(_STACK_SIGNAL)


def _result_of(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.pt"


def _stack_of(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.txt"


def _load_result(path: Path, rank: int) -> Any:
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        error.add_note(
            f"The function should return numbers, strings, tensors or containers of these; see rank {rank}"
        )
        raise


def _describe_late(processes: list[Any], folder: Path, timeout_s: float) -> str:
    late = [rank for rank, process in enumerate(processes) if process.is_alive()]
    stacks = {rank: _stack_of(folder, rank) for rank in late}
    for stack in stacks.values():
        if stack.exists():  # else the signal would end the process, which has not begun yet
            os.kill(processes[int(stack.stem)].pid, _STACK_SIGNAL)
    give_up = clock.now() + _PATIENCE_S
    while clock.now() < give_up and not all(map(_is_written, stacks.values())):
        threading.Event().wait(0.01)
    lines = [f"After {timeout_s} s, ranks {late} of {len(processes)} were not done"]
    for rank, stack in stacks.items():
        lines.append(
            f"Rank {rank}: {stack.read_text() if _is_written(stack) else 'where it was is not known'}"
        )
    return "\n".join(lines)


def _is_written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _end(processes: list[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()
