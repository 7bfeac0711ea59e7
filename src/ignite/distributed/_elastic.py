"""Runs a function in processes that PyTorch's elastic agent starts, watches and restarts."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import torch

from ignite._core.calls import name_of
from ignite._core.optional import LazyModule
from ignite.distributed._launch import finalize, initialize, store_of_attempt
from ignite.distributed._process_group import get_world_size, hostname

_launcher = LazyModule("torch.distributed.launcher.api")
_processes = LazyModule("torch.distributed.elastic.multiprocessing")

_WAIT_AFTER_FAILURE_S = 1.0
"""Seconds that a failed process keeps its group open before it exits.

If its error is a consequence of another process's failure, the agent notices that one meanwhile,
names it, and ends this process.
"""
_MEETING_TIMEOUT_S = 900
"""Seconds that the agents of several machines wait for each other."""
_numbers = itertools.count()
"""Numbers the runs of this program, so that they do not meet each other in one store."""
_SIGNALS_VARIABLE = "TORCHELASTIC_SIGNALS_TO_HANDLE"


class Plan(NamedTuple):
    """What to start on this machine, and where all machines meet."""

    backend: str
    nproc_per_node: int
    nnodes: int
    node_rank: int
    master_addr: str | None
    master_port: int | None
    init_method: str | None
    start_method: str
    max_restarts: int
    monitor_interval: float
    log_dir: str | None
    options: dict[str, Any]
    """Arguments of ``init_process_group``."""

    @property
    def meets_in_file(self) -> bool:
        """Whether processes of several machines find each other through a file."""
        return (
            self.nnodes > 1
            and self.init_method is not None
            and self.init_method.startswith("file://")
        )


def run_elastic(
    plan: Plan, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Runs ``func(local_rank, *args, **kwargs)`` in the processes of a plan.

    Raises:
        TypeError: ``func`` or an argument cannot be sent to a new process.
        ChildFailedError: a process failed more often than ``max_restarts``.
    """
    if plan.start_method != "fork":
        check_sendable(func, args, kwargs)
    folder = plan.log_dir or tempfile.mkdtemp(prefix="ignite_parallel_")
    work = _Work(plan, next(_numbers), func, args, kwargs)
    with _signals_of_the_program():
        _launcher.elastic_launch(_config(plan, folder), work)()
    if plan.log_dir is None:  # after a failure, the files say why
        shutil.rmtree(folder, ignore_errors=True)


def _config(plan: Plan, folder: str) -> Any:
    nnodes = 1 if plan.meets_in_file else plan.nnodes
    meeting: dict[str, Any] = {
        # The agent itself finds a free port.
        "rdzv_backend": "c10d",
        "rdzv_endpoint": "localhost:0",
        "local_addr": "127.0.0.1",
    }
    if nnodes > 1 or plan.master_port is not None:
        meeting = {
            "rdzv_backend": "static",
            "rdzv_endpoint": f"{plan.master_addr or '127.0.0.1'}:{plan.master_port}",
            "rdzv_configs": {"rank": plan.node_rank, "timeout": _MEETING_TIMEOUT_S},
        }
    return _launcher.LaunchConfig(
        min_nodes=nnodes,
        max_nodes=nnodes,
        nproc_per_node=plan.nproc_per_node,
        run_id="ignite",
        role="ignite",
        max_restarts=plan.max_restarts,
        monitor_interval=plan.monitor_interval,
        start_method=plan.start_method,
        logs_specs=_processes.DefaultLogsSpecs(log_dir=folder),
        **meeting,
    )


@contextmanager
def _signals_of_the_program() -> Iterator[None]:
    """Restores the program's signal handlers, which the agent replaces.

    The agent raises an exception at a signal. Here, it becomes what the signal does to a Python
    program: KeyboardInterrupt, or an exit with status 128 + n.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers} if in_main_thread else {}
    before = os.environ.get(_SIGNALS_VARIABLE)
    try:
        yield
    except _processes.SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise SystemExit(128 + error.sigval) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if before is None:
            os.environ.pop(_SIGNALS_VARIABLE, None)
        else:
            os.environ[_SIGNALS_VARIABLE] = before


class _Work:
    """What each process does. Has the name of the user's function, which errors show."""

    def __init__(
        self,
        plan: Plan,
        number: int,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.plan, self.number = plan, number
        self.func, self.args, self.kwargs = func, args, kwargs
        self.__name__ = self.__qualname__ = name_of(func)

    def __call__(self) -> None:
        plan, options = self.plan, dict(self.plan.options)
        if plan.meets_in_file:
            _take_place(plan, os.environ)
            # A file can be used once: each attempt needs a new one.
            attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
            options["init_method"] = f"{plan.init_method}.{self.number}.{attempt}"
        else:
            options |= store_of_attempt(f"run_{self.number}", options.get("timeout"))
        with failures_in_order():
            initialize(plan.backend, **options)
            self.func(int(os.environ["LOCAL_RANK"]), *self.args, **self.kwargs)
            finalize()


def _take_place(plan: Plan, environment: Any) -> None:
    """Sets the place among all machines: the agent knows its own machine only."""
    rank = plan.node_rank * plan.nproc_per_node + int(environment["LOCAL_RANK"])
    environment.update(
        RANK=str(rank),
        WORLD_SIZE=str(plan.nnodes * plan.nproc_per_node),
        GROUP_RANK=str(plan.node_rank),
        GROUP_WORLD_SIZE=str(plan.nnodes),
    )


@contextmanager
def failures_in_order() -> Iterator[None]:
    """Adds the rank to an exception, and lets the agent see the first failure first.

    A process that fails ends its group, so that the others fail, too. All wait before they exit:
    the first one exits first, and the agent ends the others while they wait.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        error.add_note(
            f"Raised on rank {rank} of {size}, "
            f"local rank {os.environ.get('LOCAL_RANK', '0')}, on {hostname()}"
        )
        if "TORCHELASTIC_RUN_ID" in os.environ and get_world_size() > 1:
            threading.Event().wait(_WAIT_AFTER_FAILURE_S)
        raise


def check_sendable(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checks that a function and its arguments can be sent to a new process, without copying.

    Raises:
        TypeError: one of them cannot.
    """
    name = name_of(func)
    main = sys.modules["__main__"]
    if getattr(func, "__module__", None) == "__main__" and not hasattr(main, "__file__"):
        raise TypeError(
            f"func should be defined in a file, because new processes import it, but given {name} "
            "of an interactive session: write it to a module"
        )
    named: dict[str, Any] = {"func": func}
    named |= {f"argument {i}": value for i, value in enumerate(args)}
    named |= {f"argument {key!r}": value for key, value in kwargs.items()}
    for what, value in named.items():
        try:
            # A RuntimeError is that of queues and locks, which only a starting process may pickle.
            with suppress(RuntimeError):
                _Probe(_Nowhere()).dump(value)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            given = f"{name}" if value is func else f"{type(value).__name__} for {name}"
            raise TypeError(
                f"{what} should be something that can be pickled, because it is sent to new "
                f"processes, but given {given}: {error}. Define functions and classes at the top "
                "level of a module and create other objects inside the function, or start the "
                "program with torchrun and leave out nproc_per_node"
            ) from error


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


class _Probe(ForkingPickler):
    """Pickles as for a new process, but leaves out the content of tensors."""

    def persistent_id(self, obj: Any) -> str | None:
        return "tensor" if isinstance(obj, torch.Tensor | torch.UntypedStorage) else None
