"""Faults to inject into a run: a kill, a signal, an exception, NaN, a damaged file, a slow rank."""

from __future__ import annotations

import math
import os
import signal as signals
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ignite._core.trees import tree_map
from ignite.engine import Engine

__all__ = [
    "Fault",
    "Kill",
    "Nan",
    "Raise",
    "Signal",
    "Slow",
    "TornFile",
    "tear",
]

Damage = Literal["truncate", "flip", "zero"]

_BLOCK_BYTES = 4096


class Fault(ABC):
    """Base of all faults. Subclasses implement ``strike``."""

    fired: int = 0
    """Number of times that the fault has struck in this process."""

    @abstractmethod
    def strike(self, engine: Engine[Any, Any]) -> None:
        """Causes the fault; called as a handler of ``engine``."""


class Kill(Fault):
    """Ends this process with SIGKILL: nothing is written, closed or cleaned up.

    Windows has no SIGKILL; there, ``os.kill`` ends a process at once with any signal.

    Args:
        signal: the signal; it must end the process.
    """

    def __init__(self, signal: int | None = None) -> None:
        self.signal = getattr(signals, "SIGKILL", signals.SIGTERM) if signal is None else signal

    def strike(self, engine: Engine[Any, Any]) -> None:
        """Ends this process."""
        os.kill(os.getpid(), self.signal)


class Signal(Fault):
    """Sends a signal to this process, as a job scheduler or a user does; the run continues."""

    def __init__(self, signal: int = signals.SIGTERM) -> None:
        self.signal = signal

    def strike(self, engine: Engine[Any, Any]) -> None:
        """Sends the signal."""
        signals.raise_signal(self.signal)  # os.kill would end a process on Windows


class Raise(Fault):
    """Raises an exception in a handler.

    Args:
        error: the exception, or its class.
    """

    def __init__(self, error: BaseException | type[BaseException] = RuntimeError) -> None:
        self.error = error

    def strike(self, engine: Engine[Any, Any]) -> None:
        """Raises the exception."""
        raise self.error if isinstance(self.error, BaseException) else self.error("injected")


class Slow(Fault):
    """Delays the run, as a slow disk, network or processor does.

    Pass ``rank`` to ``inject`` to slow down a single rank.

    Args:
        seconds: the delay at each strike.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def strike(self, engine: Engine[Any, Any]) -> None:
        """Waits."""
        time.sleep(self.seconds)


class Nan(Fault):
    """Replaces numbers with NaN.

    Args:
        where: "batch" replaces all floating point numbers of ``engine.state.batch``, so that loss
            and gradients become NaN (at GET_BATCH_COMPLETED or ITERATION_STARTED); the data itself
            is not changed. "output" replaces those of ``engine.state.output`` (at
            ITERATION_COMPLETED), for handlers and metrics; the model is not affected. A module:
            fills the gradients of its parameters (at ``BackpropEvents.BACKWARD_COMPLETED``).
        value: the replacement, such as infinity, or a number that makes the loss jump.

    Raises:
        ValueError: ``where`` is something else; or, when it strikes, there is no number to replace.
    """

    def __init__(
        self,
        where: Literal["batch", "output"] | torch.nn.Module = "batch",
        *,
        value: float = math.nan,
    ) -> None:
        if where not in ("batch", "output") and not isinstance(where, torch.nn.Module):
            raise ValueError(f"where should be 'batch', 'output' or a module, but given {where!r}")
        self.where = where
        self.value = value

    def strike(self, engine: Engine[Any, Any]) -> None:
        """Replaces numbers."""
        self._num_replaced = 0
        if isinstance(self.where, torch.nn.Module):
            for parameter in self.where.parameters():
                if parameter.grad is not None:
                    self._num_replaced += 1
                    parameter.grad.fill_(self.value)
        else:
            setattr(
                engine.state, self.where, tree_map(self._replace, getattr(engine.state, self.where))
            )
        if self._num_replaced == 0:
            what = (
                f"engine.state.{self.where}"
                if isinstance(self.where, str)
                else "the gradients of the module"
            )
            raise ValueError(
                f"{what} should have floating point numbers to replace with {self.value}, "
                "but there are none"
            )

    def _replace(self, leaf: Any, key: Any) -> Any:
        is_tensor = isinstance(leaf, Tensor) and leaf.is_floating_point()
        if not is_tensor and not isinstance(leaf, float):
            return leaf
        self._num_replaced += 1
        return torch.full_like(leaf, self.value) if isinstance(leaf, Tensor) else self.value


class TornFile(Fault):
    """Damages a file, as a power cut or a failing disk does.

    Args:
        path: the file, or a folder for its newest file. A checkpoint that is written in the
            background may not exist yet.
        how: see :func:`tear`.
    """

    def __init__(self, path: str | os.PathLike[str], how: Damage = "truncate") -> None:
        _check_how(how)
        self.path = Path(path)
        self.how = how

    def strike(self, engine: Engine[Any, Any]) -> None:
        """Damages the file."""
        tear(self.path, self.how)


def tear(path: str | os.PathLike[str], how: Damage = "truncate", *, place: float = 0.5) -> Path:
    """Damages a file in place, as power cuts and failing disks do.

    Args:
        path: the file, or a folder for its newest file.
        how: "truncate" truncates the file, "flip" flips one bit, "zero" overwrites up to 4096 bytes
            with zeros.
        place: the position of the damage, as a fraction of the length in [0, 1).

    Returns:
        The file.

    Raises:
        ValueError: ``how`` or ``place`` is invalid, or the file is empty.
        FileNotFoundError: there is no such file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "model.pt").write_bytes(b"AAAA")
        ...     tear(folder, "flip").read_bytes()
        b'AA@A'
    """
    _check_how(how)
    if not 0 <= place < 1:
        raise ValueError(f"place should be at least 0 and less than 1, but given {place}")
    file = _newest_in(Path(path)) if Path(path).is_dir() else Path(path)
    size = file.stat().st_size
    if size == 0:
        raise ValueError(f"{file} should not be empty, but has no byte to damage")
    position = int(size * place)
    with file.open("r+b") as stream:
        if how == "truncate":
            stream.truncate(position)
            return file
        stream.seek(position)
        found = stream.read(1 if how == "flip" else _BLOCK_BYTES)
        stream.seek(position)
        stream.write(bytes([found[0] ^ 1]) if how == "flip" else bytes(len(found)))
    return file


def _check_how(how: str) -> None:
    if how not in ("truncate", "flip", "zero"):
        raise ValueError(f"how should be 'truncate', 'flip' or 'zero', but given {how!r}")


def _newest_in(folder: Path) -> Path:
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    if not files:
        raise FileNotFoundError(f"{folder} should have a file to damage, but there is none")
    return max(files, key=lambda path: path.stat().st_mtime_ns)
