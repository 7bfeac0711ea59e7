"""How busy GPUs are."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ignite._core.optional import import_optional
from ignite.engine import Engine, EventEnum, Events
from ignite.metrics.metric import Metric

__all__ = ["GpuInfo"]


class GpuInfo(Metric):
    """Used memory and utilisation of each GPU, in percent, as ``"gpu:0 mem(%)"`` and ``"gpu:0 util(%)"``.

    Needs NVIDIA GPUs and the package ``pynvml``: ``pip install "reignition[gpu]"``.

    Raises:
        ModuleNotFoundError: ``pynvml`` is not installed.
        RuntimeError: there is no GPU.

    Example:
        >>> trainer = __import__("ignite").engine.Engine(lambda engine, batch: None)
        >>> GpuInfo().attach(trainer, name="gpu")  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._nvml = _started_nvml()
        super().__init__()

    def reset(self) -> None:
        """Does nothing: there is nothing to accumulate."""

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Does nothing: outputs do not matter."""

    def compute(self) -> list[dict[str, Any]]:
        """For each GPU, ``{"mem": percent, "util": percent}``, with None for what its driver does not tell."""
        nvml = self._nvml
        found = []
        for i in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(i)
            found.append(
                {"mem": self._ask(_memory, handle), "util": self._ask(_utilisation, handle)}
            )
        return found

    def _ask(self, question: Any, handle: Any) -> int | None:
        try:
            return int(question(self._nvml, handle))
        except self._nvml.NVMLError:
            return None

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Puts the values of each GPU into ``engine.state.metrics``; warns about those that are not known."""
        for i, values in enumerate(self.compute()):
            for key, words in (("mem", "memory"), ("util", "utilisation")):
                if values[key] is None:
                    warnings.warn(f"No GPU {words} information available for GPU {i}", stacklevel=2)
                else:
                    engine.state.metrics[f"{name}:{i} {key}(%)"] = values[key]

    def attach(  # type: ignore[override]
        self,
        engine: Engine[Any, Any],
        name: str = "gpu",
        event_name: str | EventEnum = Events.ITERATION_COMPLETED,
    ) -> None:
        """Looks at the GPUs at each ``event_name`` of ``engine``.

        Args:
            engine: into whose ``state.metrics`` the values go.
            name: what their names begin with.
            event_name: when to look.
        """
        engine.add_event_handler(event_name, self.completed, name)

    def __getstate__(self) -> dict[str, Any]:
        """Without the module, which cannot be pickled."""
        return {name: value for name, value in super().__getstate__().items() if name != "_nvml"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _nvml=_started_nvml())


def _started_nvml() -> Any:
    """The module, ready to be asked in this process."""
    nvml = import_optional("pynvml", extra="gpu")
    if not torch.cuda.is_available():
        raise RuntimeError(
            "This contrib module requires available GPU, but torch.cuda.is_available() is False"
        )
    nvml.nvmlInit()
    return nvml


def _memory(nvml: Any, handle: Any) -> float:
    info = nvml.nvmlDeviceGetMemoryInfo(handle)
    percent: float = 100 * info.used / info.total
    return percent


def _utilisation(nvml: Any, handle: Any) -> float:
    percent: float = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
    return percent
