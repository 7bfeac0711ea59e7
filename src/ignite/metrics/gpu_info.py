"""Memory use and utilization of GPUs."""

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
    """Used memory and utilization of each GPU, in percent.

    Puts them into ``state.metrics`` under names such as "gpu:0 mem(%)" and "gpu:0 util(%)". Needs
    NVIDIA GPUs and the package ``nvidia-ml-py``: ``pip install "reignition[gpu]"``.

    Raises:
        ModuleNotFoundError: ``nvidia-ml-py`` is not installed.
        RuntimeError: there is no GPU.

    Example:
        >>> from ignite.engine import Engine
        >>> trainer = Engine(lambda engine, batch: None)
        >>> GpuInfo().attach(trainer, name="gpu")  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._nvml = _started_nvml()
        super().__init__()

    def reset(self) -> None:
        """Does nothing: the metric accumulates nothing."""

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Does nothing: the metric ignores outputs."""

    def compute(self) -> list[dict[str, Any]]:
        """Returns ``{"mem": percent, "util": percent}`` for each GPU; None for missing values."""
        nvml = self._nvml
        found = []
        for i in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(i)
            found.append(
                {"mem": self._query(_memory, handle), "util": self._query(_utilization, handle)}
            )
        return found

    def _query(self, function: Any, handle: Any) -> int | None:
        try:
            return int(function(self._nvml, handle))
        except self._nvml.NVMLError:
            return None

    def completed(self, engine: Engine[Any, Any], name: str) -> None:
        """Puts the values of each GPU into ``engine.state.metrics``; warns about missing values."""
        for i, values in enumerate(self.compute()):
            for key, text in (("mem", "memory"), ("util", "utilisation")):
                if values[key] is None:
                    warnings.warn(f"No GPU {text} information available for GPU {i}", stacklevel=2)
                else:
                    engine.state.metrics[f"{name}:{i} {key}(%)"] = values[key]

    def attach(  # type: ignore[override]
        self,
        engine: Engine[Any, Any],
        name: str = "gpu",
        event_name: str | EventEnum = Events.ITERATION_COMPLETED,
    ) -> None:
        """Reads the GPUs at each ``event_name`` of ``engine``.

        Args:
            engine: gets the values in its ``state.metrics``.
            name: prefix of the names of the values.
            event_name: event at which to read.
        """
        engine.add_event_handler(event_name, self.completed, name)

    def __getstate__(self) -> dict[str, Any]:
        """Omits the module, which cannot be pickled."""
        return {name: value for name, value in super().__getstate__().items() if name != "_nvml"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _nvml=_started_nvml())


def _started_nvml() -> Any:
    """Imports and initializes ``pynvml``, the module of the package ``nvidia-ml-py``."""
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


def _utilization(nvml: Any, handle: Any) -> float:
    percent: float = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
    return percent
