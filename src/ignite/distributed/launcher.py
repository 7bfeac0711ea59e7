"""Runs a function in a distributed configuration, whoever starts the processes."""

from __future__ import annotations

import builtins
import inspect
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import torch.distributed as dist

from ignite._core.logs import visible_logger
from ignite._core.optional import LazyModule
from ignite.distributed._elastic import Plan, failures_in_order, run_elastic
from ignite.distributed._launch import available_backends, finalize, initialize
from ignite.distributed._process_group import get_local_rank, get_rank, get_world_size

__all__ = ["Parallel"]

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

    Processes that it starts run on PyTorch's elastic agent, as those of torchrun do. If one fails
    or is killed, all are ended. With ``max_restarts``, they are started again, and the function is
    called anew: it should resume from its last checkpoint. After the last attempt, the exception
    names the rank that failed first, its traceback or its signal, and a file with the details.

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

    def __enter__(self) -> Parallel:
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
    accepted = {*_OF_AGENT, *inspect.signature(dist.init_process_group).parameters}
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
