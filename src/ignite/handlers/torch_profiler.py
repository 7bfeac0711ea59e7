"""PyTorch's profiler around some iterations of a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

from ignite import distributed as idist
from ignite._core.systems import on_disk
from ignite._core.trees import replaced
from ignite.engine import Engine, Events
from ignite.handlers._profilers.timings import RunProfilerBase

__all__ = ["TorchProfiler"]

_FORMATS = ("chrome", "tensorboard")


class TorchProfiler(RunProfilerBase):
    """Records the operators and kernels of some iterations, and writes them as traces.

    Each run skips its first ``skip_first`` iterations; each of the following ``repeat`` cycles then
    skips ``wait`` iterations, discards ``warmup`` recorded ones, and writes ``active`` recorded
    ones. A run that ends earlier, for example by an exception, writes the partial cycle. Recording
    slows down iterations considerably; :class:`RunProfiler` is fast enough to stay on.

    Args:
        dirname: the folder for the traces; created when needed.
        wait: iterations to skip in each cycle.
        warmup: iterations to record and discard in each cycle. PyTorch warns about 0.
        active: iterations to record in each cycle.
        repeat: number of cycles; 0 for no limit.
        skip_first: iterations to skip before the first cycle.
        activities: what to record; by default the CPU and, if available, the accelerator.
        format: "chrome" for files that https://ui.perfetto.dev shows, "tensorboard" for
            TensorBoard's plugin.
        **options: further options of :class:`torch.profiler.profile`, such as
            ``record_shapes=True``.

    Raises:
        ValueError: a number is negative, ``active`` is 0, or the format unknown.

    Distributed:
        Each process writes its own traces, with its rank in the name.

    Example:
        >>> import tempfile
        >>> trainer = Engine(lambda engine, batch: torch.ones(2) + batch)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     profiler = TorchProfiler(folder, wait=1, warmup=1, active=2)
        ...     profiler.attach(trainer)
        ...     _ = trainer.run(range(6))
        ...     [path.name for path in profiler.traces]
        ['trace_rank0_00000004.json']
    """

    def __init__(
        self,
        dirname: str | Path,
        *,
        wait: int = 1,
        warmup: int = 1,
        active: int = 3,
        repeat: int = 1,
        skip_first: int = 0,
        activities: Iterable[ProfilerActivity] | None = None,
        format: str = "chrome",
        **options: Any,
    ) -> None:
        numbers = {
            "wait": wait,
            "warmup": warmup,
            "active": active,
            "repeat": repeat,
            "skip_first": skip_first,
        }
        for name, value in numbers.items():
            if not isinstance(value, int) or value < (name == "active"):
                least = "a positive" if name == "active" else "zero or a positive"
                raise ValueError(f"{name} should be {least} integer, but given {value!r}")
        if format not in _FORMATS:
            raise ValueError(f"format should be one of {_FORMATS}, but given {format!r}")
        self.dirname = on_disk(dirname)
        self.traces: list[Path] = []
        """Written traces, oldest first; empty with format="tensorboard"."""
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self._cycle = {"wait": wait, "warmup": warmup, "active": active}
        self._repeat, self._skip_first = repeat, skip_first
        self._activities = None if activities is None else list(activities)
        self._format = format
        self._options = options
        self._profile: profile | None = None
        self._is_written = False
        self._num_left: float = 0

    @contextmanager
    def _frame(self, engine: Engine[Any, Any], is_beginning: bool) -> Iterator[None]:
        write, self._num_left = self._writer(engine), self._repeat or math.inf
        self._begin_cycle(write, self._skip_first)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step, write, priority=-math.inf)
        try:
            yield
        finally:
            engine.remove_event_handler(self._step, Events.ITERATION_COMPLETED)
            ended, self._profile = self._profile, None
            if ended is not None:
                ended.stop()

    @contextmanager
    def dry_run_in(self, folder: Path) -> Iterator[Callable[[], None]]:
        """In a dry run: writes traces to ``folder``."""
        with replaced(self, dirname=folder):
            yield lambda: None

    def _begin_cycle(self, write: Callable[[profile], None], skip_first: int) -> None:
        # Uses one profile per cycle, because PyTorch's own repetition warns about dropped events,
        # which fails if warnings are errors.
        self._is_written = False
        self._profile = profile(
            activities=_available_activities() if self._activities is None else self._activities,
            schedule=schedule(**self._cycle, repeat=1, skip_first=skip_first),
            on_trace_ready=write,
            **self._options,
        )
        self._profile.start()

    def _step(self, write: Callable[[profile], None]) -> None:
        if self._profile is None:
            return
        self._profile.step()
        if self._is_written:
            self._profile.stop()
            self._profile = None
            self._num_left -= 1
            if self._num_left > 0:
                self._begin_cycle(write, 0)

    def _writer(self, engine: Engine[Any, Any]) -> Callable[[profile], None]:
        rank = idist.get_rank()
        write_tensorboard = tensorboard_trace_handler(str(self.dirname), f"rank{rank}")

        def write(profiled: profile) -> None:
            self._is_written = True
            if self._format == "tensorboard":
                write_tensorboard(profiled)
                return
            path = self.dirname / f"trace_rank{rank}_{engine.state.iteration:08d}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            profiled.export_chrome_trace(str(path))
            self.traces.append(path)
            self.logger.info(
                "Saved the trace of the iterations up to %d in %s", engine.state.iteration, path
            )

        return write


def _available_activities() -> list[ProfilerActivity]:
    kinds = {"cuda": ProfilerActivity.CUDA, "xpu": ProfilerActivity.XPU}
    return [
        ProfilerActivity.CPU,
        *(kind for name, kind in kinds.items() if getattr(torch, name).is_available()),
    ]
