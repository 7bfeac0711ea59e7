"""The interface of a computation model, and the model of a single process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ignite.distributed import _process_group

__all__ = ["ComputationModel"]


class ComputationModel(ABC):
    """How processes of a program find and reach each other.

    Programs use the functions of :mod:`ignite.distributed` instead. A subclass implements the
    abstract methods; the collectives check their arguments and call ``_do_*`` with tensors.
    """

    name: str
    available_backends: tuple[str, ...] = ()
    _ext_local_rank: int | None = None

    def __init__(self) -> None:
        self._backend: str | None = None

    @abstractmethod
    def get_local_rank(self) -> int:
        """Returns the rank within the machine."""

    @abstractmethod
    def get_rank(self) -> int:
        """Returns the rank."""

    @abstractmethod
    def get_world_size(self) -> int:
        """Returns the number of processes."""

    @abstractmethod
    def get_nproc_per_node(self) -> int:
        """Returns the number of processes on this machine."""

    @abstractmethod
    def get_nnodes(self) -> int:
        """Returns the number of machines."""

    @abstractmethod
    def get_node_rank(self) -> int:
        """Returns the rank of this machine."""

    @abstractmethod
    def device(self) -> torch.device:
        """Returns the device of this process."""

    @abstractmethod
    def backend(self) -> str | None:
        """Returns the name of the backend, or None."""

    @abstractmethod
    def finalize(self) -> None:
        """Ends the communication between processes."""

    @staticmethod
    @abstractmethod
    def create_from_context() -> ComputationModel | None:
        """Returns a model of what the program has set up already; None if there is nothing."""

    @staticmethod
    @abstractmethod
    def create_from_backend(backend: str, **kwargs: Any) -> ComputationModel:
        """Sets up the communication and returns its model."""

    @staticmethod
    @abstractmethod
    def spawn(*args: Any, **kwargs: Any) -> None:
        """Runs a function in new processes."""

    @abstractmethod
    def barrier(self) -> None:
        """Waits for all processes."""

    @abstractmethod
    def _compute_nproc_per_node(self) -> int: ...

    @abstractmethod
    def _rank_not_in_group(self, group: Any) -> bool: ...

    @abstractmethod
    def _do_all_reduce(self, tensor: Tensor, op: str = "SUM", group: Any = None) -> Tensor: ...

    @abstractmethod
    def _do_all_gather(self, tensor: Tensor, group: Any = None) -> Tensor: ...

    @abstractmethod
    def _do_all_gather_object(self, tensor: Any, group: Any = None) -> list[Any]: ...

    @abstractmethod
    def _do_broadcast(self, tensor: Tensor, src: int) -> Tensor: ...

    @abstractmethod
    def _do_new_group(self, ranks: list[int], **kwargs: Any) -> Any: ...

    def all_reduce(
        self, tensor: Tensor | float, op: str = "sum", group: Any = None
    ) -> Tensor | float:
        """Reduces a tensor or number over all processes."""
        _check_type(tensor, Tensor, int, float)
        if self._rank_not_in_group(group):
            return tensor
        if isinstance(tensor, Tensor):
            return self._do_all_reduce(tensor, op.upper(), group)
        number: float = self._do_all_reduce(self._as_tensor(tensor), op.upper(), group).item()
        return number

    def all_gather(self, tensor: Any, group: Any = None) -> Any:
        """Gathers tensors, numbers or objects of all processes."""
        if self._rank_not_in_group(group):
            return tensor
        if isinstance(tensor, Tensor):
            return self._do_all_gather(tensor.reshape(tensor.shape or (1,)), group)
        return self._do_all_gather_object(tensor, group)

    def broadcast(
        self,
        tensor: Tensor | float | str | Path | None,
        src: int = 0,
        safe_mode: bool = False,
    ) -> Tensor | float | str | Path:
        """Sends a value of one process to all. Strings and ``safe_mode`` are sent as objects."""
        if safe_mode or isinstance(tensor, str | Path):
            sent = tensor if self.get_rank() == src else None
            value: Tensor | float | str | Path = self._do_all_gather_object(sent)[src]
            return value
        _check_type(tensor, Tensor, int, float)
        if isinstance(tensor, Tensor):
            return self._do_broadcast(tensor, src)
        number: float = self._do_broadcast(self._as_tensor(tensor), src).item()
        return number

    def new_group(self, ranks: list[int], **kwargs: Any) -> Any:
        """Creates a group of some ranks.

        Raises:
            ValueError: ``ranks`` is not a list of integers.
        """
        if not isinstance(ranks, list) or not all(isinstance(rank, int) for rank in ranks):
            raise ValueError(f"Argument ranks should be list of int, but given {ranks!r}")
        return self._do_new_group(ranks, **kwargs)

    def _as_tensor(self, number: Any) -> Tensor:
        dtype = torch.float64 if isinstance(number, float) else torch.int64
        return torch.tensor(number, dtype=dtype, device=self.device())


def _check_type(value: Any, *kinds: type) -> None:
    if not isinstance(value, kinds):
        raise TypeError(
            "Unhandled input type: tensor should be a tensor or a number, "
            f"but given {type(value).__name__}"
        )


class _SerialModel(ComputationModel):
    """A single process."""

    name = "serial"

    def __init__(self, _backend: str | None = None, **kwargs: Any) -> None:
        super().__init__()

    def get_local_rank(self) -> int:
        return 0

    def get_rank(self) -> int:
        return 0

    def get_world_size(self) -> int:
        return 1

    def get_nproc_per_node(self) -> int:
        return 1

    def get_nnodes(self) -> int:
        return 1

    def get_node_rank(self) -> int:
        return 0

    def device(self) -> torch.device:
        return _process_group.device()

    def backend(self) -> str | None:
        return None

    def finalize(self) -> None:
        """Does nothing."""

    @staticmethod
    def create_from_context() -> _SerialModel:
        return _SerialModel()

    @staticmethod
    def create_from_backend(backend: str | None = None, **kwargs: Any) -> _SerialModel:
        return _SerialModel()

    @staticmethod
    def spawn(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("Serial computation model does not implement spawn method")

    def barrier(self) -> None:
        """Does nothing."""

    def all_reduce(
        self, tensor: Tensor | float, op: str = "SUM", group: Any = None
    ) -> Tensor | float:
        return tensor

    def _compute_nproc_per_node(self) -> int:
        return 1

    def _rank_not_in_group(self, group: Any) -> bool:
        return False

    def _do_all_reduce(self, tensor: Tensor, op: str = "SUM", group: Any = None) -> Tensor:
        return tensor

    def _do_all_gather(self, tensor: Tensor, group: Any = None) -> Tensor:
        return tensor

    def _do_all_gather_object(self, tensor: Any, group: Any = None) -> list[Any]:
        return [tensor]

    def _do_broadcast(self, tensor: Tensor, src: int) -> Tensor:
        return tensor

    def _do_new_group(self, ranks: list[int], **kwargs: Any) -> list[int]:
        return ranks


def missing_names(module: str, names: tuple[str, ...], instead: str) -> Callable[[str], Any]:
    """Returns a ``__getattr__`` for a module whose backend is not supported."""

    def look_up(name: str) -> Any:
        reason = f", because its backend is not supported: {instead}" if name in names else ""
        raise AttributeError(f"module {module!r} has no attribute {name!r}{reason}")

    return look_up
