"""Runs a function in a distributed configuration, whoever starts the processes."""

from __future__ import annotations

import builtins
import itertools
import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import torch.distributed as dist

from ignite._core.calls import name_of, signature_of
from ignite._core.logs import visible_logger
from ignite._core.optional import LazyModule
from ignite._core.pickles import check_picklable
from ignite.distributed._launch import available_backends, finalize, initialize, store_of_attempt
from ignite.distributed._process_group import get_local_rank, get_rank, get_world_size, hostname

__all__ = [
    "Parallel",
]

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
            check_picklable(value)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            given = f"{name}" if value is func else f"{type(value).__name__} for {name}"
            raise TypeError(
                f"{what} should be something that can be pickled, because it is sent to new "
                f"processes, but given {given}: {error}. Define functions and classes at the top "
                "level of a module and create other objects inside the function, or start the "
                "program with torchrun and leave out nproc_per_node"
            ) from error


_errors = LazyModule("torch.distributed.elastic.multiprocessing.errors")

_OF_AGENT = ("daemon", "join", "log_dir", "max_restarts", "monitor_interval", "start_method")


class Parallel:
    """Context manager that runs a function in a distributed configuration.

    The same program runs in three ways:

    - without ``backend``: the function is called in this process.
    - with ``backend``: a launcher, such as torchrun or Slurm, has started the processes. The
      process group is created at the start of the block and destroyed at its end.
    - with ``backend`` and ``nproc_per_node``: :meth:`run` starts the processes on this machine and
      waits for them. With several machines, start the program on each one.

    Processes that it starts run on PyTorch's elastic agent, like those of torchrun. If one fails
    or is killed, all are ended. With ``max_restarts``, they are started again, and the function is
    called again, and should resume from its last checkpoint. After the last attempt, the exception
    gives the rank that failed first, its traceback or its signal, and a file with the details.

    Args:
        backend: one of :func:`~ignite.distributed.available_backends`; None for this process only.
        nproc_per_node: number of processes to start on this machine; None if a launcher has started
            them. Machines may start different numbers, unless ``init_method`` is a file.
        nnodes: number of machines. Without ``nproc_per_node``, it is that of the launcher.
        node_rank: rank of this machine, from 0; required with several machines.
        master_addr: address of machine 0; required with several machines.
        master_port: a free port of machine 0; required with several machines. On a single machine,
            a free port is found.
        init_method: where processes meet, instead of ``master_addr`` and ``master_port``:
            "tcp://address:port", or "file:///path" to a new file that all machines share.
        **spawn_kwargs: with ``nproc_per_node``: ``max_restarts`` (default 0); ``monitor_interval``,
            the seconds between checks of the processes (0.1); ``log_dir``, the folder for failure
            files (a temporary one); ``start_method`` ("spawn", or "fork" in IPython, because
            functions of a notebook cannot be imported). Others, such as ``timeout``, are arguments
            of ``torch.distributed.init_process_group``.

    Raises:
        ValueError: the backend is not available, or the arguments do not fit together.

    Example:
        >>> def train(local_rank, epochs):
        ...     return f"{epochs} epochs on local rank {local_rank}"
        >>> with Parallel() as parallel:
        ...     parallel.run(train, 10)

        In a script, with 4 processes that survive 3 failures::

            def train(local_rank, folder):
                ...
                checkpoint = Checkpoint.of(trainer, folder, model=model, optimizer=optimizer)
                trainer.run(loader, max_epochs=10, resume="latest")

            if __name__ == "__main__":
                with idist.Parallel("gloo", nproc_per_node=4, max_restarts=3) as parallel:
                    parallel.run(train, "checkpoints")
    """

    def __init__(
        self,
        backend: str | None = None,
        nproc_per_node: int | None = None,
        nnodes: int | None = None,
        node_rank: int | None = None,
        master_addr: str | None = None,
        master_port: int | None = None,
        init_method: str | None = None,
        **spawn_kwargs: Any,
    ) -> None:
        given = {
            "nproc_per_node": nproc_per_node,
            "nnodes": nnodes,
            "node_rank": node_rank,
            "master_addr": master_addr,
            "master_port": master_port,
        }
        if backend is None:
            for name, value in given.items():
                if value is not None:
                    raise ValueError(
                        f"If backend is None, argument '{name}' should be also None, "
                        f"but given {value}"
                    )
        elif backend not in available_backends():
            raise ValueError(
                f"Unknown backend '{backend}'. Available backends: {available_backends()}"
            )
        _check_spawn_kwargs(spawn_kwargs)
        self.backend = backend
        self.init_method = init_method
        self._options = {k: v for k, v in spawn_kwargs.items() if k not in _OF_AGENT}
        self._spawn_params: dict[str, Any] | None = None
        self._plan: Plan | None = None
        self._logger: logging.Logger | None = None
        self._is_open = False
        if backend is not None and nproc_per_node is not None:
            self._spawn_params = self._setup_spawn_params(
                nproc_per_node,
                nnodes,
                node_rank,
                master_addr,
                master_port,
                init_method,
                **spawn_kwargs,
            )
            self._plan = _plan(backend, self._spawn_params, self._options)

    @staticmethod
    def _setup_spawn_params(
        nproc_per_node: int,
        nnodes: int | None = None,
        node_rank: int | None = None,
        master_addr: str | None = None,
        master_port: int | None = None,
        init_method: str | None = None,
        **spawn_kwargs: Any,
    ) -> dict[str, Any]:
        """Returns the parameters of the processes to start, without those that are None."""
        nnodes = 1 if nnodes is None else nnodes
        for name, number in (("nproc_per_node", nproc_per_node), ("nnodes", nnodes)):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"Argument {name} should positive, but given {number!r}")
        if node_rank is None:
            if nnodes > 1:
                raise ValueError(
                    "If number of nodes larger than one, arguments node_rank should be given, "
                    f"but given nnodes={nnodes} and node_rank=None"
                )
            node_rank = 0
        if not isinstance(node_rank, int) or not 0 <= node_rank < nnodes:
            raise ValueError(
                f"Argument node_rank should be between 0 and {nnodes - 1}, but given {node_rank}"
            )
        if nnodes > 1 and init_method in (None, "env://") and None in (master_addr, master_port):
            raise ValueError(
                "If number of nodes larger than one, arguments master_addr and master_port or "
                f"init_method should be specified, but given master_addr={master_addr}, "
                f"master_port={master_port} and init_method={init_method}."
            )
        parameters = {
            "nproc_per_node": nproc_per_node,
            "nnodes": nnodes,
            "node_rank": node_rank,
            "master_addr": master_addr,
            "master_port": master_port,
            "init_method": init_method,
            **spawn_kwargs,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def run(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Calls ``func(local_rank, *args, **kwargs)`` in each process.

        Args:
            func: the function. If processes are started, it is sent to them by its name, and should
                be defined at the top level of a module.
            *args: positional arguments after the local rank.
            **kwargs: keyword arguments.

        Raises:
            TypeError: processes are started, and the function or an argument cannot be pickled.
            RuntimeError: a launcher has started the processes, and the ``with`` block has not been
                entered.
            torch.distributed.elastic.multiprocessing.errors.ChildFailedError: a process that this
                method has started failed more often than ``max_restarts``.
        """
        logger = self._logger or self._make_logger()
        if self._plan is not None:
            logger.info("Spawn function '%s' in %s processes", func, self._plan.nproc_per_node)
            run_elastic(self._plan, func, args, kwargs)
        else:
            if self.backend is not None and not self._is_open:
                raise RuntimeError(
                    "run should be called inside a with block, which creates the process group: "
                    f"with Parallel(backend={self.backend!r}) as parallel: parallel.run(...)"
                )
            logger.info("- Run '%s' in %s processes", func, get_world_size())
            _call(func, args, kwargs)
        logger.info("End of run")

    def __enter__(self) -> Self:
        if self.backend is not None and self._plan is None:
            init_method = {} if self.init_method is None else {"init_method": self.init_method}
            initialize(self.backend, **init_method, **self._options)
            self._is_open = True
            self._logger = self._make_logger()
            self._logger.info("Initialized processing group with backend: '%s'", self.backend)
            return self
        self._logger = self._make_logger()
        if self._plan is not None:
            _warn_if_nested(self._plan.nproc_per_node)
            lines = "\n\t".join(f"{k}: {v}" for k, v in (self._spawn_params or {}).items())
            self._logger.info("Initialized distributed launcher with backend: '%s'", self.backend)
            self._logger.info("- Parameters to spawn processes: \n\t%s", lines)
        return self

    def __exit__(self, *args: Any, **kwargs: Any) -> None:
        if self._is_open:
            self._is_open = False
            finalize()
            if self._logger is not None:
                self._logger.info("Finalized processing group with backend: '%s'", self.backend)

    def _make_logger(self) -> logging.Logger:
        return visible_logger(f"{__name__}.{type(self).__name__}", get_rank())


def _call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if "TORCHELASTIC_RUN_ID" not in os.environ or get_world_size() == 1:
        func(get_local_rank(), *args, **kwargs)
        return
    with failures_in_order():
        try:
            func(get_local_rank(), *args, **kwargs)
        except Exception as error:
            # torchrun then shows the traceback of the rank that failed first.
            _errors.get_error_handler().record_exception(error)
            raise


def _check_spawn_kwargs(spawn_kwargs: dict[str, Any]) -> None:
    accepted = {*_OF_AGENT, *signature_of(dist.init_process_group).parameters}
    accepted -= {"backend", "rank", "world_size", "store", "init_method"}
    for name in spawn_kwargs:
        if name not in accepted:
            raise ValueError(f"spawn_kwargs should be among {sorted(accepted)}, but given {name!r}")
    if not spawn_kwargs.get("join", True):
        raise ValueError(
            "join should be True, because run waits for the processes, but given "
            f"{spawn_kwargs['join']}: use ignite.distributed.spawn(..., join=False)"
        )
    max_restarts = spawn_kwargs.get("max_restarts", 0)
    if not isinstance(max_restarts, int) or max_restarts < 0:
        raise ValueError(f"max_restarts should be an integer >= 0, but given {max_restarts!r}")
    interval = spawn_kwargs.get("monitor_interval", 0.1)
    if not interval > 0:
        raise ValueError(f"monitor_interval should be positive, but given {interval}")


def _plan(backend: str, parameters: dict[str, Any], options: dict[str, Any]) -> Plan:
    init_method = parameters.get("init_method")
    address, port = parameters.get("master_addr"), parameters.get("master_port")
    if init_method is not None and init_method.startswith("tcp://"):
        place = urlsplit(init_method)
        if place.hostname is None or place.port is None:
            raise ValueError(
                f"init_method should be 'tcp://address:port', but given {init_method!r}"
            )
        address, port = place.hostname, place.port
    elif init_method not in (None, "env://") and not str(init_method).startswith("file://"):
        raise ValueError(
            "init_method should begin with 'env://', 'tcp://' or 'file://', "
            f"but given {init_method!r}"
        )
    fork = hasattr(builtins, "__IPYTHON__")
    return Plan(
        backend=backend,
        nproc_per_node=parameters["nproc_per_node"],
        nnodes=parameters["nnodes"],
        node_rank=parameters["node_rank"],
        master_addr=address,
        master_port=None if port is None else int(port),
        init_method=init_method,
        start_method=parameters.get("start_method") or ("fork" if fork else "spawn"),
        max_restarts=parameters.get("max_restarts", 0),
        monitor_interval=parameters.get("monitor_interval", 0.1),
        log_dir=parameters.get("log_dir"),
        options=options,
    )


def _warn_if_nested(nproc_per_node: int) -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        warnings.warn(
            f"Parallel starts {nproc_per_node} processes in each process of torchrun: "
            "nproc_per_node should be None under torchrun",
            stacklevel=3,
        )
